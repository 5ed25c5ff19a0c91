"""Labels that have settled lie by their first 20 bits, and not by 18; a page of bucket hashes holds these before their
numbers of labels, and not each before its own. Takes seconds for millions of labels.
"""

from __future__ import annotations

from struct import Struct

import sqlalchemy as sa
from alembic import op

from ledger.core.indexparts import PART_BITS, SPLIT_BITS
from ledger.core.indexrows import ROW_BYTES
from ledger.store import schema
from ledger.store.migrations import reached
from ledger.store.migrations.buckets18 import BITS
from ledger.store.statements import insert_rows, run

revision = "7"
down_revision = "6"

STEP = 4096


def upgrade() -> None:
    db = op.get_bind()
    schema.metadata.create_all(db, [schema.label_parts])
    for low in range(0, 1 << BITS, STEP):
        _move(db, low, low + STEP)
    op.drop_table("label_buckets")
    for page, data in run(db, "SELECT page, data FROM index_pages").all():
        run(db, "UPDATE index_pages SET data = ? WHERE page = ?", (_parted(bytes(data)), page))
    reached(7)


def _parted(data: bytes) -> bytes:
    hashes, labels = zip(*Struct(">32s4s").iter_unpack(data), strict=True)
    return b"".join(hashes) + b"".join(labels)


def _move(db: sa.Connection, low: int, high: int) -> None:
    parts: dict[int, bytes] = {}
    rows = run(
        db, "SELECT prefix, data FROM label_buckets WHERE prefix >= ? AND prefix < ?", (low, high)
    ).all()
    for prefix, data in rows:
        for at in range(0, len(data), ROW_BYTES):
            row = bytes(data[at : at + ROW_BYTES])
            part = (
                prefix << SPLIT_BITS
                | int.from_bytes(row[:3], "big") >> 24 - PART_BITS & (1 << SPLIT_BITS) - 1
            )
            parts[part] = parts.get(part, b"") + row
    insert_rows(db, schema.label_parts, sorted(parts.items()))
