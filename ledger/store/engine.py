"""Opening the database, its transactions and its locks.

SQLite runs in WAL mode with `synchronous=FULL`: when a write transaction has returned it survives a power
cut, and readers never wait for the writer.  A write transaction takes the write lock when it begins, so that
what it read is still true when it commits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy
from sqlalchemy import Connection as Connection
from sqlalchemy import CursorResult, Engine, event
from sqlalchemy.engine import make_url

from ledger.store import schema

BUSY_TIMEOUT_S = 5.0
TURN_S = 0.001
BEGIN = "run: glassbook init DIR --origin ORIGIN"
CACHE_KIB = 24 * 1024  # a connection's page cache; a process holds one or two connections


_PASSING = {
    "SQLITE_BUSY": "the database is locked",
    "SQLITE_LOCKED": "the database is locked",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk does not read or write",
    "SQLITE_CANTOPEN": "the database file cannot be opened",
    "SQLITE_READONLY": "the database file may not be written",
    "SQLITE_NOMEM": "memory is short",
}

Rows: TypeAlias = CursorResult[*tuple[Any, ...]]


class StoreBusy(Exception):
    """The database cannot take this now (locked, disk full, unreachable); nothing was written. Try again."""


class StoreUnusable(Exception):
    """The database is not one this version can work with; the message says why and what to do."""


class Store:
    """One database, shared by the threads of a process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> Store:
        """Open the database at an SQLAlchemy URL, `sqlite:////absolute/path` or another engine's.

        With `create` the tables are made; there is no row in `state` until the log is begun
        (`ledger.sequencer.begin`).  Raises StoreUnusable when it is missing or of another version.
        """
        parsed = make_url(url)
        missing = not parsed.database or not Path(parsed.database).is_file()
        if parsed.get_backend_name() == "sqlite" and missing and not create:
            raise StoreUnusable(f"{parsed.database}: no database there; {BEGIN}")
        store = cls(_engine(url))
        if create:
            with store.write() as db:
                schema.metadata.create_all(db)
        else:
            store.bring_up_to_date()
            store.check_version()
        return store

    def bring_up_to_date(self) -> None:
        """Give a database of schema 1 what schema 2 has more, in one transaction; leave any other alone.

        Entries that were accepted before carry no time. They count as accepted now: no promise was given for them.
        """
        if self._version() != 1:
            return
        with self.write() as db:
            if run(db, "SELECT schema_version FROM state WHERE id = 1").scalar() != 1:
                return  # another process was quicker
            schema.metadata.create_all(db)
            run(db, "INSERT INTO acceptances (first, accepted) VALUES (0, ?)", (int(time.time()),))
            run(db, "UPDATE state SET schema_version = 2 WHERE id = 1")

    def _version(self) -> int | None:
        try:
            with self.read() as db:
                found = run(db, "SELECT schema_version FROM state WHERE id = 1").scalar()
        except sqlalchemy.exc.DBAPIError:
            return None  # check_version says what it is
        return None if found is None else int(found)

    def check_version(self) -> None:
        """Raise StoreUnusable unless the tables are there and of SCHEMA_VERSION."""
        try:
            with self.read() as db:
                row = run(db, "SELECT schema_version FROM state WHERE id = 1").first()
        except sqlalchemy.exc.DBAPIError as error:
            raise StoreUnusable(
                f"{self.engine.url.database}: holds no glassbook tables or is damaged"
                f" ({type(error.orig).__name__}); put the right file there, or a backup that is not older"
                " than the published checkpoint"
            ) from None
        if row is None:
            raise StoreUnusable(f"the database holds no log yet; {BEGIN}")
        if row[0] != schema.SCHEMA_VERSION:
            raise StoreUnusable(
                f"the database has schema {row[0]}, this program reads {schema.SCHEMA_VERSION}"
            )

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout.  Raises StoreBusy."""
        with _busy(), self.engine.connect() as db, db.begin():
            yield db

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: durable when the block ends, leaving nothing when it raises.  Raises StoreBusy."""
        with _busy(), self.engine.connect() as db:
            db.execution_options(glassbook_write=True)
            with db.begin():
                yield db

    @contextlib.contextmanager
    def exclusive(self, role: str) -> Iterator[bool]:
        """Hold the lock of a role (`sequencer`, `publisher`) that one process at a time may have.

        Yields False when another process has it.  It ends with the process, however that ends.
        """
        url = self.engine.url
        if url.get_backend_name() == "sqlite":
            handle = os.open(f"{url.database}.{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True
            finally:
                os.close(handle)
        else:
            number = int.from_bytes(role.encode()[:7].ljust(7, b"\0"), "big")
            with self.engine.connect() as db:
                held = bool(run(db, "SELECT pg_try_advisory_lock(?)", (number,)).scalar())
                try:
                    yield held
                finally:
                    if held:
                        run(db, "SELECT pg_advisory_unlock(?)", (number,))

    def forget_traces(self) -> bool:
        """Empty SQLite's write-ahead log, where deleted rows may still be read; False when a reader is in the way.

        Then whoever writes next overwrites it, sooner or later.  Another engine has its own ways (VACUUM).
        """
        if self.engine.url.get_backend_name() != "sqlite":
            return True
        with _busy():
            connection = self.engine.raw_connection()
            try:
                row = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
        return bool(row is not None and row[0] == 0)

    def close(self) -> None:
        self.engine.dispose()


def run(db: Connection, sql: str, params: Sequence[Any] = ()) -> Rows:
    """One statement written with `?`, in the style of placeholder the driver wants."""
    return db.exec_driver_sql(_placed(db, sql), tuple(params))


def run_many(db: Connection, sql: str, rows: list[tuple[Any, ...]]) -> int:
    """One statement for many rows (the driver's executemany); the number of rows changed."""
    if not rows:
        return 0
    return db.exec_driver_sql(_placed(db, sql), rows).rowcount


def _placed(db: Connection, sql: str) -> str:
    return sql if db.dialect.paramstyle == "qmark" else sql.replace("?", "%s")


def _begin_write(db: Connection) -> None:
    """Take SQLite's write lock, waiting for it up to BUSY_TIMEOUT_S.

    SQLite's own waiting sleeps up to 100 ms at a time while the lock is long free again; the sequencer and the
    service, which take turns many times a second, would lose most of that.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    db.exec_driver_sql("PRAGMA busy_timeout = 0").close()
    try:
        while True:
            try:
                db.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except sqlalchemy.exc.OperationalError as error:
                if _passing(error) != _PASSING["SQLITE_BUSY"] or time.monotonic() > deadline:
                    raise
            time.sleep(TURN_S)
    finally:
        db.exec_driver_sql(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}").close()


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return sqlalchemy.create_engine(url, hide_parameters=True)
    # hide_parameters: an exception's text may end up in a log.
    engine = sqlalchemy.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        for pragma in (
            "page_size=8192",  # three envelopes of 2 KiB in a page; pages of 4,096 bytes hold one
            "journal_mode=WAL",
            "synchronous=FULL",
            f"cache_size=-{CACHE_KIB}",
            "wal_autocheckpoint=8000",  # 62 MiB: a page touched by several batches is written back once
            f"journal_size_limit={256 << 20}",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @event.listens_for(engine, "begin")
    def begin(db: Connection) -> None:
        if db.get_execution_options().get("glassbook_write"):
            _begin_write(db)
        else:
            db.exec_driver_sql("BEGIN")

    return engine


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """Turn what may pass (a lock, a full disk, a lost connection) into StoreBusy; the rest is a fault."""
    try:
        yield
    except sqlalchemy.exc.OperationalError as error:
        why = _passing(error)
        if why is None:
            raise
        raise StoreBusy(why) from None
    except sqlalchemy.exc.TimeoutError:
        raise StoreBusy("no connection to the database is free") from None


def _passing(error: sqlalchemy.exc.OperationalError) -> str | None:
    """What may pass by itself, in words; None when the statement or the database itself is at fault."""
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is None:  # another engine: its connection is lost, or it asks to try again
        return f"the database does not answer ({type(error.orig).__name__})"
    return next((words for code, words in _PASSING.items() if name.startswith(code)), None)
