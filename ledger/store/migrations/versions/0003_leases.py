"""Which process leads, where no file can be locked."""

import sqlalchemy as sa
from alembic import op

from ledger.store.migrations import reached

revision = "3"
down_revision = "2"


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    reached(3)
