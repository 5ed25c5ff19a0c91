"""Settled labels as schemas 4 to 6 have them: a row for those that begin with the same 18 bits."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from ledger.store.statements import among, insert_rows, run

BITS = 18
_CHUNK = 500

metadata = sa.MetaData()

label_buckets = sa.Table(
    "label_buckets",
    metadata,
    sa.Column("prefix", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),  # label[32] ‖ u64 index each, in order
)


def bucket_of(label: bytes) -> int:
    """The first 18 bits of a label."""
    return int.from_bytes(label[:3], "big") >> 24 - BITS


def read_buckets(db: sa.Connection, prefixes: list[int]) -> dict[int, bytes]:
    """The buckets under these prefixes that hold anything."""
    found = {}
    for start in range(0, len(prefixes), _CHUNK):
        those, params = among(db, "prefix", prefixes[start : start + _CHUNK])
        rows = run(db, f"SELECT prefix, data FROM label_buckets WHERE {those}", params)
        found.update({prefix: bytes(data) for prefix, data in rows.all()})
    return found


def write_buckets(db: sa.Connection, buckets: Iterable[tuple[int, bytes]]) -> None:
    """Put buckets."""
    conflict = "ON CONFLICT (prefix) DO UPDATE SET data = excluded.data"
    insert_rows(db, label_buckets, list(buckets), conflict=conflict)
