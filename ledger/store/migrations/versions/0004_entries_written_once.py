"""Entries are written once, under their number, and batches say which leaves they are.

Takes about a minute for a million entries; nothing of what older programs wrote is lost, and they refuse the database
from then on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op

from ledger.core.merkle import leaf_hash
from ledger.store import schema
from ledger.store.acceptances import Run
from ledger.store.keys import short_key
from ledger.store.migrations import buckets18, reached
from ledger.store.migrations.buckets18 import bucket_of
from ledger.store.statements import insert_rows, run

revision = "4"
down_revision = "3"

STEP = 10_000

# Tables that schema 5 has no more, and below two that schema 6 has no more.
metadata = sa.MetaData()
recent_labels = sa.Table(
    "recent_labels",
    metadata,
    sa.Column("label", sa.LargeBinary, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


def _keys(name: str) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


recent_leaf_keys, recent_fetch_keys = _keys("recent_leaf_keys"), _keys("recent_fetch_keys")
leaf_keys, fetch_keys = _keys("leaf_keys"), _keys("fetch_keys")


def upgrade() -> None:
    db = op.get_bind()
    op.drop_index("ix_entries_leaf_key", "entries")
    op.rename_table("entries", "entries_3")
    schema.metadata.create_all(db, [schema.entries, schema.batches])
    buckets18.metadata.create_all(db)
    metadata.create_all(db)
    op.add_column("state", sa.Column("last", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column(
        "acceptances", sa.Column("registrations", sa.BigInteger, nullable=False, server_default="0")
    )
    last = int(run(db, "SELECT COALESCE(MAX(deposit), 0) FROM entries_3").scalar_one())
    run(db, "UPDATE state SET last = ? WHERE id = 1", (last,))
    _move_log(db)
    _move_labels(db)
    _move_inbox(db)
    _note_fetches(db, last)
    for table in ("entries_3", "inbox", "labels"):
        op.drop_table(table)
    op.drop_index("ix_envelopes_fetch_key", "envelopes")
    op.drop_column("envelopes", "fetch_key")
    reached(4)


def _rows(db: sa.Connection, sql: str, first: int) -> Iterator[Any]:
    """Rows of a SELECT that names its first column ≥ ?, is in its order, and ends in LIMIT ?; a piece at a time."""
    while True:
        rows = run(db, sql, (first, STEP)).all()
        yield from rows
        if len(rows) < STEP:
            return
        first = rows[-1][0] + 1


def _move_log(db: sa.Connection) -> None:
    sql = "SELECT idx, deposit, entry FROM entries_3 WHERE idx >= ? ORDER BY idx LIMIT ?"
    entries: list[tuple[int, bytes]] = []
    keys: list[tuple[int, int]] = []
    span: list[int] = []  # start, first, width of the batch being read

    def close(root: bytes | None) -> None:
        if span or root is not None:
            batches.append((*(span or (index, 0, 0)), root or b"", 0))
            span.clear()

    batches: list[tuple[int, int, int, bytes, int]] = []
    for index, number, entry in _rows(db, sql, 0):
        if number == 0:  # an index root
            close(bytes(entry))
            continue
        if span and number != span[1] + span[2]:
            close(None)
        if not span:
            span[:] = [index, number, 0]
        span[2] += 1
        entries.append((number, bytes(entry)))
        keys.append((short_key(leaf_hash(bytes(entry))), number))
        if len(entries) >= STEP:
            insert_rows(db, schema.entries, entries)
            insert_rows(db, leaf_keys, sorted(keys))
            entries, keys = [], []
    close(None)
    insert_rows(db, schema.entries, entries)
    insert_rows(db, leaf_keys, sorted(keys))
    insert_rows(db, schema.batches, batches)


def _move_labels(db: sa.Connection) -> None:
    buckets: list[tuple[int, bytes]] = []
    after = b""
    while True:
        rows = run(
            db, "SELECT label, idx FROM labels WHERE label > ? ORDER BY label LIMIT ?", (after, STEP)
        ).all()
        whole = rows
        if len(rows) == STEP:  # the last bucket may go on behind what was read
            cut = bucket_of(bytes(rows[-1][0]))
            whole = [row for row in rows if bucket_of(bytes(row[0])) != cut]
        for prefix, several in groupby(whole, lambda row: bucket_of(bytes(row[0]))):
            data = b"".join(bytes(label) + index.to_bytes(8, "big") for label, index in several)
            buckets.append((prefix, data))
        insert_rows(db, buckets18.label_buckets, buckets)
        if len(rows) < STEP:
            return
        buckets, after = [], bytes(whole[-1][0])


def _move_inbox(db: sa.Connection) -> None:
    rows = run(db, "SELECT number, label, leaf_hash, entry, registrations FROM inbox ORDER BY number").all()
    insert_rows(db, schema.entries, [(number, bytes(entry)) for number, _, _, entry, _ in rows])
    insert_rows(db, recent_labels, [(bytes(label), number) for number, label, _, _, _ in rows])
    keys = [(short_key(bytes(leaf)), number) for number, _, leaf, _, _ in rows]
    insert_rows(db, recent_leaf_keys, sorted(keys))
    if not rows:
        return
    times = run(db, "SELECT first, accepted FROM acceptances ORDER BY first").all()
    run(db, "DELETE FROM acceptances WHERE first >= ?", (rows[0][0],))
    runs: list[Run] = []
    for number, _, _, _, registrations in rows:
        accepted = next((at for first, at in reversed(times) if first <= number), int(time.time()))
        if not runs or runs[-1][1:] != (accepted, registrations):
            runs.append(Run(number, accepted, registrations))
    insert_rows(db, schema.acceptances, runs)


def _note_fetches(db: sa.Connection, last: int) -> None:
    sql = 'SELECT number, "fetch" FROM envelopes WHERE number >= ? ORDER BY number LIMIT ?'
    settled: list[tuple[int, int]] = []
    recent: list[tuple[int, int]] = []
    for number, fetch in _rows(db, sql, 0):
        (settled if number <= last else recent).append((short_key(bytes(fetch)), number))
    insert_rows(db, fetch_keys, sorted(settled))
    insert_rows(db, recent_fetch_keys, sorted(recent))
