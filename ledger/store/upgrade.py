"""The tables of a new database, and those of an older one made up to date with alembic.

Each revision in migrations/ has the number of the schema that it leads to, and writes it into `state`, where every
program looks first: alembic itself is imported for a new or an older database only.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import Connection

from ledger.store import schema
from ledger.store.errors import StoreUnusable
from ledger.store.statements import run

OLDEST = 1
"""The first schema that was ever used."""


def version(db: Connection) -> int | None:
    """The schema of the log in this database; None when there is no log."""
    found = run(db, "SELECT schema_version FROM state WHERE id = 1").scalar()
    return None if found is None else int(found)


def is_older(found: int | None) -> bool:
    """Whether `upgrade` has something to do."""
    return found is not None and OLDEST <= found < schema.SCHEMA_VERSION


def create(db: Connection) -> None:
    """Make all tables, as of SCHEMA_VERSION; those that an attempt left which went no further will do.

    Raises StoreUnusable when the database is in use.
    """
    from ledger.store.migrations import stamp

    there = set(sqlalchemy.inspect(db).get_table_names())
    if there:
        if not there >= set(schema.metadata.tables):
            raise StoreUnusable("the database is in use by something else; a log needs one of its own")
        if version(db) is not None:
            raise StoreUnusable("the database holds a log already; every log needs its own")
    schema.metadata.create_all(db)
    stamp(db, schema.SCHEMA_VERSION)


def upgrade(db: Connection) -> None:
    """Bring an older database to SCHEMA_VERSION in this transaction, unless another process was quicker."""
    from ledger.store.migrations import migrate, stamp

    if db.dialect.name != "sqlite":
        # The table and not its row: who waited for the row would be in the way of a change of the table.
        run(db, "LOCK TABLE state IN ACCESS EXCLUSIVE MODE")
    found = int(run(db, "SELECT schema_version FROM state WHERE id = 1").scalar_one())
    if not is_older(found):
        return
    if not sqlalchemy.inspect(db).has_table("alembic_version"):
        stamp(db, found)  # made before there were migrations
    migrate(db)
