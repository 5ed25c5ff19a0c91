"""SQLite: WAL mode and `synchronous=FULL`, so that a write transaction that has returned survives a power cut, and
readers never wait for the writer.  A write transaction takes the write lock when it begins, so that what it read is
still true when it commits.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import sqlite3
import time
from collections.abc import Iterator

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event

from ledger.store.errors import StoreBusy
from ledger.store.statements import PATIENT, WRITE

BUSY_TIMEOUT_S = 5.0
TURN_S = 0.001
CACHE_KIB = 8 * 1024  # a connection's page cache; a process holds one or two connections

_BUSY = "the database is locked"
_PASSING = {
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk does not read or write",
    "SQLITE_CANTOPEN": "the database file cannot be opened",
    "SQLITE_READONLY": "the database file may not be written",
    "SQLITE_NOMEM": "memory is short",
}


def make_engine(url: URL) -> Engine:
    """An engine whose transactions begin as `Store` promises."""
    # hide_parameters: an exception's text may end up in a log.
    engine = sqlalchemy.create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        for pragma in (
            "page_size=16384",  # seven envelopes of 2 KiB in a page; pages of 4,096 bytes hold one
            "journal_mode=WAL",
            "synchronous=FULL",
            f"cache_size=-{CACHE_KIB}",
            "wal_autocheckpoint=4000",  # 62 MiB: a page touched by several batches is written back once
            f"journal_size_limit={256 << 20}",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    @event.listens_for(engine, "begin")
    def begin(db: Connection) -> None:
        options = db.get_execution_options()
        if options.get(WRITE):
            _begin_write(db, math.inf if options.get(PATIENT) else BUSY_TIMEOUT_S)
        else:
            db.exec_driver_sql("BEGIN")

    return engine


def _begin_write(db: Connection, wait_s: float) -> None:
    """Take SQLite's write lock, waiting for it so long at most.

    SQLite's own waiting sleeps up to 100 ms at a time while the lock is long free again; the sequencer and the
    service, which take turns many times a second, would lose most of that.  And the driver itself is asked: an error
    that SQLAlchemy has wrapped costs ten times the question.
    """
    driver = db.connection.driver_connection
    assert driver is not None
    deadline = time.monotonic() + wait_s
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise sqlalchemy.exc.OperationalError("BEGIN IMMEDIATE", None, error) from None
            time.sleep(TURN_S)
    finally:
        driver.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")


def passing(error: sqlalchemy.exc.DBAPIError) -> StoreBusy | None:
    """What may pass by itself, in words; None when the statement or the database itself is at fault."""
    words = _words(error)
    return None if words is None else StoreBusy(words)


def _words(error: sqlalchemy.exc.DBAPIError) -> str | None:
    name = getattr(error.orig, "sqlite_errorname", None) or ""
    return next((words for code, words in _PASSING.items() if name.startswith(code)), None)


@contextlib.contextmanager
def hold_lock(path: str) -> Iterator[bool]:
    """Whether this process has the lock of a file for the length of the block; it ends with the process, at the
    latest.  Raises OSError."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


def forget_traces(engine: Engine) -> bool:
    """Empty the write-ahead log, where deleted rows may still be read; False when a reader is in the way."""
    connection = engine.raw_connection()
    try:
        row = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.close()
    return bool(row is not None and row[0] == 0)
