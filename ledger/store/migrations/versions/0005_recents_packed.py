"""Labels and keys that have not settled are packed, a row for all that were accepted together.

What was sequenced settles here; what waits is packed into one row. Takes seconds for millions of labels.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ledger.core.indexproof import ROW
from ledger.core.indexrows import merged
from ledger.core.merkle import leaf_hash
from ledger.store import recents, schema
from ledger.store.log import index_of
from ledger.store.migrations import reached
from ledger.store.migrations.buckets18 import bucket_of, read_buckets, write_buckets
from ledger.store.statements import run

revision = "5"
down_revision = "4"


def upgrade() -> None:
    db = op.get_bind()
    schema.metadata.create_all(db, [schema.recents, schema.settled])
    last = int(run(db, "SELECT last FROM state WHERE id = 1").scalar_one())
    recents.begin_marks(db, last)
    _settle(db, last)
    _pack_waiting(db, last)
    for table in ("recent_labels", "recent_leaf_keys", "recent_fetch_keys"):
        op.drop_table(table)
    reached(5)


def _settle(db: sa.Connection, last: int) -> None:
    rows = run(db, "SELECT label, number FROM recent_labels WHERE number <= ?", (last,)).all()
    places = index_of(db, {number for _, number in rows})
    buckets = read_buckets(db, sorted({bucket_of(bytes(label)) for label, _ in rows}))
    for label, number in rows:
        prefix = bucket_of(bytes(label))
        buckets[prefix] = merged(buckets.get(prefix), ROW.pack(bytes(label), places[number]))
    write_buckets(db, sorted(buckets.items()))
    for kind in ("leaf", "fetch"):
        run(
            db,
            f"INSERT INTO {kind}_keys (key, number) SELECT key, number FROM recent_{kind}_keys"
            " WHERE number <= ? ORDER BY key, number",
            (last,),
        )


def _pack_waiting(db: sa.Connection, last: int) -> None:
    rows = run(db, "SELECT number, entry FROM entries WHERE number > ? ORDER BY number", (last,)).all()
    if not rows:
        return
    labels = {
        number: bytes(label)
        for label, number in run(db, "SELECT label, number FROM recent_labels WHERE number > ?", (last,))
    }
    fetches = {
        number: bytes(fetch)
        for number, fetch in run(db, 'SELECT number, "fetch" FROM envelopes WHERE number > ?', (last,))
    }
    recents.add(
        db,
        rows[0][0],
        [labels[number] for number, _ in rows],
        [leaf_hash(bytes(entry)) for _, entry in rows],
        [fetches.get(number) for number, _ in rows],
    )
