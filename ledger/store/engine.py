"""Opening the database, its transactions, and who leads.

errors.py       what goes wrong            statements.py   how SQL is given to an engine
sqlite.py       one machine                postgres.py     many
leadership.py   one process leads a role   leases.py       by a row, where there is no file to lock
upgrade.py      an older database becomes a present one (migrations/)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import sqlalchemy
import tenacity
from sqlalchemy import URL, Engine
from sqlalchemy import Connection as Connection
from sqlalchemy.engine import make_url

from ledger.store import leases, postgres, schema, sqlite, upgrade
from ledger.store.errors import OutcomeUnknown, StoreBusy, StoreContended, StoreUnusable
from ledger.store.leadership import Leadership, lead_by_file, lead_by_lease
from ledger.store.statements import PATIENT, WRITE
from ledger.store.statements import Rows as Rows
from ledger.store.statements import run as run
from ledger.store.statements import run_many as run_many

BEGIN = "run: glassbook init DIR --origin ORIGIN"
ATTEMPTS = 10

T = TypeVar("T")


class Store:
    """One database, shared by the threads of a process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sqlite = engine.dialect.name == "sqlite"
        self._passing = sqlite.passing if self._sqlite else postgres.passing
        self._again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreContended),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=0.005, max=0.25),
            reraise=True,
        )

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> Store:
        """Open the database at `sqlite:////absolute/path` or `postgresql://user@host/database`.

        An older one is brought up to date.  With `create` the tables are made; there is no row in `state` until
        the log is begun (`ledger.sequencer.begin`).  Raises StoreUnusable when it is missing, of a newer version,
        or with `create` in use; StoreBusy.
        """
        parsed = parse_url(url)
        file = parsed.get_backend_name() == "sqlite"
        if file and not create and not (parsed.database and Path(parsed.database).is_file()):
            raise StoreUnusable(f"{parsed.database}: no database there; {BEGIN}")
        store = cls(sqlite.make_engine(parsed) if file else postgres.make_engine(parsed))
        try:
            if create:
                with store.write(patient=True) as db:
                    upgrade.create(db)
            else:
                store.bring_up_to_date()
                store.check_version()
            if not file:
                with store.read() as db:
                    postgres.check_durable(db)
        except BaseException:
            store.close()
            raise
        return store

    def bring_up_to_date(self) -> None:
        """Give an older database what newer ones have, in one transaction; leave any other alone."""
        if not upgrade.is_older(self._version()):
            return
        with self.write(patient=True) as db:
            upgrade.upgrade(db)

    def _version(self) -> int | None:
        try:
            # Patient, as on PostgreSQL another process may be at it, and have the lock.
            with self.read(patient=True) as db:
                return upgrade.version(db)
        except sqlalchemy.exc.DBAPIError:
            return None  # check_version says what it is

    def check_version(self) -> None:
        """Raise StoreUnusable unless the tables are there and of SCHEMA_VERSION."""
        try:
            with self.read() as db:
                found = upgrade.version(db)
        except sqlalchemy.exc.DBAPIError as error:
            raise StoreUnusable(
                f"{self.engine.url.database}: holds no glassbook tables or is damaged"
                f" ({type(error.orig).__name__}); put the right file there, or a backup that is not older"
                " than the published checkpoint"
            ) from None
        if found is None:
            raise StoreUnusable(f"the database holds no log yet; {BEGIN}")
        if found != schema.SCHEMA_VERSION:
            do = (
                "it is taken over at the next start"
                if upgrade.is_older(found)
                else "install a newer glassbook"
            )
            raise StoreUnusable(
                f"the database has schema {found}, this program reads {schema.SCHEMA_VERSION}; {do}"
            )

    @contextlib.contextmanager
    def read(self, *, patient: bool = False) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout.  Raises StoreBusy.

        `patient`: a statement may take two minutes to its first row.
        """
        with self._busy(), self.engine.connect() as db:
            db.execution_options(**{PATIENT: patient})
            with db.begin():
                yield db

    @contextlib.contextmanager
    def write(self, *, patient: bool = False) -> Iterator[Connection]:
        """A transaction: durable when the block ends, leaving nothing when it raises.

        On SQLite nobody else writes meanwhile.  Elsewhere each statement sees what was committed before it began
        (READ COMMITTED), and who needs more than that locks a row first.  `patient` waits for locks without end.
        Raises StoreBusy; StoreContended can be tried again at once, which `change` does.
        """
        committing = False
        with self._busy():
            try:
                with self.engine.connect() as db:
                    db.execution_options(**{WRITE: True, PATIENT: patient})
                    with db.begin():
                        yield db
                        committing = True
            except sqlalchemy.exc.DBAPIError as error:
                if committing and error.connection_invalidated:
                    raise OutcomeUnknown(
                        "the connection to the database was lost in a commit; whether it was written is not known"
                    ) from None
                raise

    def change(self, work: Callable[[Connection], T]) -> T:
        """What `work` gives, done in a write transaction, and done anew when another one was in the way.

        `work` is safe to repeat: it changes nothing but through its connection, or begins anew itself.
        Raises StoreBusy.
        """

        def once() -> T:
            with self.write() as db:
                return work(db)

        return once() if self._sqlite else self._again.copy()(once)

    def lead(self, role: str) -> contextlib.AbstractContextManager[Leadership | None]:
        """Lead a role (`sequencer`, `publisher`) that one process at a time may have, for as long as the block runs.

        Gives None when another process leads.  See `Leadership`; whoever writes as a leader does so through it.
        Raises StoreBusy, OSError.
        """
        if self._sqlite:
            return lead_by_file(self, role, f"{self.engine.url.database}.{role}.lock")
        return lead_by_lease(self, role, lambda: self.lease(role))

    def lease(self, role: str) -> leases.Lease | None:
        """The lease of a role; None when nobody ever had it, and on SQLite, which has none.  Raises StoreBusy."""
        if self._sqlite:
            return None
        with self.read() as db:
            return leases.read_lease(db, role)

    def is_led(self, role: str) -> bool:
        """Whether a process leads this role now.  Raises StoreBusy, OSError."""
        if not self._sqlite:
            lease = self.lease(role)
            return lease is not None and lease.left_ms > 0
        with self.lead(role) as leadership:
            return leadership is None

    def forget_traces(self) -> bool:
        """Empty SQLite's write-ahead log, where deleted rows may still be read; False when a reader is in the way.

        Then whoever writes next overwrites it, sooner or later.  Another engine has its own ways (VACUUM).
        """
        if not self._sqlite:
            return True
        with self._busy():
            return sqlite.forget_traces(self.engine)

    def close(self) -> None:
        self.engine.dispose()

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """Turn what may pass (a lock, a full disk, a lost connection) into StoreBusy; the rest is a fault."""
        try:
            yield
        except sqlalchemy.exc.DBAPIError as error:
            busy = self._passing(error)
            if busy is None:
                raise
            raise busy from None
        except sqlalchemy.exc.TimeoutError:
            raise StoreBusy("no connection to the database is free") from None


def parse_url(url: str) -> URL:
    """A database URL.  Raises StoreUnusable, without a word of it, since it may hold a password."""
    try:
        parsed = make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        parsed = None
    fit = parsed is not None and parsed.drivername in ("sqlite", *postgres.DRIVERS) and parsed.database
    if parsed is None or not fit:
        raise StoreUnusable(
            "the database is not named as sqlite:///FILE or postgresql://USER@HOST/DATABASE; mend the URL"
        )
    return parsed
