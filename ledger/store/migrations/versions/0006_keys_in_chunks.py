"""Keys that have settled lie in chunks, some hundred in a row, where each had a row of its own.

Takes some six seconds for a million entries.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ledger.store import schema
from ledger.store.keyruns import by_chunk, placed
from ledger.store.keys import FIRST_BITS, LAST_LEVEL, ROW_BYTES, STEP_BITS
from ledger.store.migrations import reached
from ledger.store.recents import KEY_BYTES
from ledger.store.statements import insert_rows, run

revision = "6"
down_revision = "5"

STEP = 20_000
MOST = 1024
"""Keys of a chunk on average, at most."""


def upgrade() -> None:
    db = op.get_bind()
    schema.metadata.create_all(db, [schema.leaf_chunks, schema.fetch_chunks])
    _move(db, "leaf_keys", schema.leaf_chunks)
    _move(db, "fetch_keys", schema.fetch_chunks)
    for table in ("leaf_keys", "fetch_keys"):
        op.drop_table(table)
    reached(6)


def _move(db: sa.Connection, source: str, chunks: sa.Table) -> None:
    level = 0
    count = int(run(db, f"SELECT COUNT(*) FROM {source}").scalar_one())
    while level < LAST_LEVEL and count >> FIRST_BITS + STEP_BITS * level > MOST:
        level += 1
    sql = f"SELECT key, number FROM {source} WHERE (key, number) > (?, ?) ORDER BY key, number LIMIT ?"
    after = (-1, 0)
    while rows := run(db, sql, (*after, STEP)).all():
        data = b"".join([(key << 8 * KEY_BYTES | number).to_bytes(ROW_BYTES, "big") for key, number in rows])
        # A chunk that goes on behind what was read becomes two rows, whose highest numbers differ.
        parts = [some for _, some in by_chunk(data, level)]
        insert_rows(db, chunks, [row for some in parts for row in placed(some, level, _highest(some))])
        after = tuple(rows[-1])


def _highest(data: bytes) -> int:
    numbers = (data[at + KEY_BYTES : at + ROW_BYTES] for at in range(0, len(data), ROW_BYTES))
    return int.from_bytes(max(numbers), "big")
