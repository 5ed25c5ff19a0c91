"""PostgreSQL, and what speaks its protocol, through psycopg 3.

Nothing here outlives a transaction on the server, so that a pooler that deals out a connection for each transaction
(pgbouncer) changes nothing: no prepared statements, no advisory locks, no settings but those of the transaction,
which are sent with its BEGIN in one message.  They bound how long a process that was stopped, or whose network was
cut, can be in everybody's way: the server ends its transaction.  How long a silent server can hold up a process is
bounded in silence.py.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from ledger.store import arrays
from ledger.store.errors import StoreBusy, StoreContended, StoreUnusable
from ledger.store.statements import PATIENT, WRITE

DRIVERS = ("postgresql", "postgres", "postgresql+psycopg")
LEAST_VERSION = 13
LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS, IDLE_TIMEOUT_MS = 5_000, 8_000, 5_000
TRANSACTION_TIMEOUT_MS = 7_000
"""Of a write as a whole.  The others do not end one whose process stopped in the middle of a statement it was sending:
to the server that is neither idle nor at work, and its locks would keep off whoever takes over for as long as TCP."""

TRANSACTION_TIMEOUT_FROM = (17,)
ANSWER_S, PING_S, LOADING_S = 10.0, 3.0, 120.0
"""How long a server may say nothing: to a statement; when it is asked whether it is there; while all of a log's end is
read."""

_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
_BOUNDED = (
    f"{_WRITE}; SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}; SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS};"
    f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_TIMEOUT_MS}"
)
_AS_A_WHOLE = f"; SET LOCAL transaction_timeout = {TRANSACTION_TIMEOUT_MS}"

# A cut network is noticed within five seconds: while we wait for an answer by the keepalives (2 + 2 × 1 s), while
# we send by the time that sent bytes may stay unconfirmed.
_CONNECT: dict[str, Any] = {
    "autocommit": True,  # transactions begin where we say, not where the driver guesses
    "prepare_threshold": None,
    "connect_timeout": 3,
    "keepalives": 1,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 2,
    "tcp_user_timeout": 4_000,
    "application_name": "glassbook",
}

_AGAIN = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_PASSING = {
    "53100": "the database server's disk is full",
    "53200": "the database server is short of memory",
    "53300": "the database server takes no more connections",
    "55P03": "the database is locked",  # lock_not_available: lock_timeout
    "57014": "the database took too long",  # query_canceled: statement_timeout
    "57P01": "the database server is restarting",
    "57P02": "the database server crashed and is restarting",
    "57P03": "the database server is starting",
    "57P05": "the database server ended the idle connection",
    "25P03": "the database server ended a transaction that stood still",
    "25P04": "the database server ended a transaction that took too long",
    "25006": "the database server takes no writes: it is a standby",
}
_PASSING_CLASSES = {
    "08": "the connection to the database is lost",
    "53": "the database server is short of something",
    "57": "the database server was told to stop",
    "58": "the database server's disk does not read or write",
}


class Dialect(PGDialect_psycopg):
    """SQLAlchemy's own, for every server that speaks PostgreSQL."""

    supports_statement_cache = True

    def connect(self, *words: Any, **named: Any) -> Any:
        """A connection that does not wait for ever."""
        from ledger.store import silence

        return silence.Connection.connect(*words, **named)

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether a connection that was not in use is of use still."""
        dbapi_connection.patience = PING_S
        return bool(super().do_ping(dbapi_connection))  # type: ignore[no-untyped-call]

    def _get_server_version_info(self, connection: Connection) -> tuple[int, ...]:
        """The version of PostgreSQL that the server is, or is as good as."""
        return version_of(str(connection.exec_driver_sql("SELECT version()").scalar()))


registry.register("postgresql.glassbook", __name__, "Dialect")


def version_of(text: str) -> tuple[int, ...]:
    """From what `version()` gives, `PostgreSQL 18.6 on …`; (13,) for a server that names itself otherwise.

    CockroachDB says `CockroachDB CCL v24.1.0 …`, and SQLAlchemy's own reading stops there.
    """
    found = re.search(r"PostgreSQL (\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part) if found else (LEAST_VERSION,)


def make_engine(url: URL) -> Engine:
    """An engine whose transactions begin as `Store` promises.  Raises StoreUnusable when psycopg is missing."""
    try:
        arrays.register()  # before the dialect takes its copy of what psycopg knows
        # hide_parameters: an exception's text may end up in a log.
        engine = sqlalchemy.create_engine(
            url.set(drivername="postgresql+glassbook"),
            hide_parameters=True,
            connect_args={name: value for name, value in _CONNECT.items() if name not in url.query},
            pool_pre_ping=True,
            pool_timeout=5,
            use_native_hstore=False,  # or each connection would ask the server for a type that nothing here uses
        )
    except ModuleNotFoundError as error:
        raise StoreUnusable(
            f"a PostgreSQL database needs {error.name}; run: pip install 'glassbook[postgres]'"
        ) from None

    @event.listens_for(engine, "begin")
    def begin(db: Connection) -> None:
        options = db.get_execution_options()
        writes, patient = options.get(WRITE), options.get(PATIENT)
        _be_patient(db, ANSWER_S if not patient else None if writes else LOADING_S)
        if not writes:
            db.exec_driver_sql(_READ)
        elif patient:
            db.exec_driver_sql(_WRITE)
        elif (db.dialect.server_version_info or ()) >= TRANSACTION_TIMEOUT_FROM:
            db.exec_driver_sql(_BOUNDED + _AS_A_WHOLE)
        else:
            db.exec_driver_sql(_BOUNDED)

    return engine


def _be_patient(db: Connection, seconds: float | None) -> None:
    connection: Any = db.connection.dbapi_connection
    connection.patience = seconds


def check_durable(db: Connection) -> None:
    """Raise StoreUnusable when a transaction that has returned may still be lost."""
    found = db.exec_driver_sql("SELECT current_setting('synchronous_commit', true)").scalar()
    if found == "off":
        raise StoreUnusable(
            "the database server has synchronous_commit = off, so what was accepted may be lost in a crash; set it to"
            " on for this database or role"
        )


def passing(error: sqlalchemy.exc.DBAPIError) -> StoreBusy | None:
    """What may pass by itself, in words; None when the statement or the database itself is at fault."""
    code = getattr(error.orig, "sqlstate", None)
    if code is None:
        if not isinstance(error, sqlalchemy.exc.OperationalError):
            return None
        return StoreBusy(f"the database does not answer ({_first_line(error)})")
    if code in _AGAIN:
        return StoreContended("the database is asked too much at once")
    words = _PASSING.get(code) or _PASSING_CLASSES.get(code[:2])
    return StoreBusy(f"{words} (SQLSTATE {code})") if words else None


def _first_line(error: sqlalchemy.exc.DBAPIError) -> str:
    """What libpq says of a connection: address, port, user and database, never a password, never a row."""
    return (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0][:200]
