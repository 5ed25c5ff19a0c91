"""When entries were accepted, and how each witness stands.

Entries that were accepted before carry no time. They count as accepted now: no promise was given for them.
"""

import time

import sqlalchemy as sa
from alembic import op

from ledger.store.migrations import reached

revision = "2"
down_revision = "1"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    acceptances = op.create_table(
        "acceptances",
        sa.Column("first", number, primary_key=True, autoincrement=False),
        sa.Column("accepted", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "witnesses",
        sa.Column("vkey", sa.Text, primary_key=True),
        sa.Column("confirmed", sa.BigInteger, nullable=False),
        sa.Column("cosigned", sa.BigInteger, nullable=False),
        sa.Column("standing", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.bulk_insert(acceptances, [{"first": 0, "accepted": int(time.time())}])
    reached(2)
