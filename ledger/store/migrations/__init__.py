"""Revisions of the schema, run by alembic on both engines, in the transaction of whoever opens the database.

To change the schema: change schema.py, count its SCHEMA_VERSION up, and add versions/NNNN_what.py with
`revision = "N"` and `down_revision = "N-1"`, whose upgrade() ends with `reached(N)`.  A test compares what all
revisions make of a database of schema 1 with what schema.py makes anew.  There is no way back: a log's database is
restored from a backup, and never to before what was published.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, text


def stamp(db: Connection, version: int) -> None:
    """Note that the tables are those of this version."""
    command.stamp(_config(db), str(version))


def migrate(db: Connection) -> None:
    """Run the revisions that the database lacks."""
    command.upgrade(_config(db), "head")


def reached(version: int) -> None:
    """Write the schema's number where every program looks first; older ones then refuse the database."""
    op.execute(text("UPDATE state SET schema_version = :version WHERE id = 1").bindparams(version=version))


def _config(db: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = db
    return config
