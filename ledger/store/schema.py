"""The tables.  Hashes are 32 raw bytes, days are days since 1970-01-01, sizes and indices are leaf numbers.

An accepted entry gets the next *number* and is written once, into `entries`: those above `state.last` are the inbox.
Sequencing moves nothing.  It writes one row of `batches`, which says that the entries of so many numbers are so many
leaves, and the index root that closes them.

What is looked up by a hash (a label, a leaf, a fetch token) would land on another page of a large table for each
entry, and each page is written whole.  So it is packed into one row of `recents` for all that are accepted together,
and moves on a range at a time, sorted: labels to `label_parts`, where then many fall on one page, keys to
`leaf_chunks` and `fetch_chunks`, a row for many of them (settling.py).

Only `state`, `publication`, `witnesses`, `leases`, `deposits`, `day_counts`, `index_pages`, `label_parts`, `settled`
and the rightmost `tree_tiles` are ever rewritten, small rows of `recents` joined, and many of `leaf_chunks` and
`fetch_chunks` merged (keyruns.py); a row of `registrations` gets its leaf when that is sequenced. `recents` leave
when they have settled, `acceptances` when what they date is published, `index_changes` when they are old, `entries`
when the public files have them and they are older than the operator keeps them (retention.py), `envelopes` when they
are erased. Of `tree_tiles` those of leaf hashes leave behind the log's end, and come back when the entries leave
(treetiles.py).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

SCHEMA_VERSION = 7  # the newest of migrations/versions

metadata = MetaData()

# One row, id 1: the log as sequenced.  Whoever changes it names the size it expects (compare-and-swap).
state = Table(
    "state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),  # leaves; the last one is always an index root
    Column("root", LargeBinary, nullable=False),  # MTH over all `size` leaves (RFC 6962 §2.1)
    Column("labels", BigInteger, nullable=False),  # labels in the index over all `size` leaves
    Column("index_root", LargeBinary, nullable=False),  # of the index over all `size` leaves
    Column("registrations", BigInteger, nullable=False),  # registry entries among the leaves
    Column("pages_covers", BigInteger, nullable=False),  # index_pages hold the buckets over this many leaves
    Column("last", BigInteger, nullable=False),  # the highest number sequenced; what is above it waits
)

# Every accepted entry, in the order of acceptance.
entries = Table(
    "entries",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
)

# Leaves start … start+width−1 are the entries numbered first … first+width−1; then comes the index root.
batches = Table(
    "batches",
    metadata,
    Column("start", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("first", BigInteger, nullable=False, index=True),
    Column("width", BigInteger, nullable=False),
    Column(
        "root", LargeBinary, nullable=False
    ),  # the index root entry at leaf start+width; empty where there is none
    Column("closed", BigInteger, nullable=False),  # when it was sequenced, Unix seconds
)

# By what the entries numbered first … last are looked up, those that wait and those that were sequenced lately, packed
# in the order of their numbers: recents.py.
recents = Table(
    "recents",
    metadata,
    Column("first", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("leaves", LargeBinary, nullable=False),  # the first 6 bytes of each leaf hash
    Column("fetches", LargeBinary, nullable=False),  # and of each H(fetch_token)
    Column("labels", LargeBinary, nullable=False),  # index labels (formats §5), 32 bytes each
)

# Up to which number they have settled: 16 slices of the labels, then 16 of the keys, by their first four bits.
settled = Table(
    "settled",
    metadata,
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
)

# The labels that have settled, as the index reads them: those that begin with the same 20 bits, in order, each
# label[32] ‖ u64 index of its leaf.
label_parts = Table(
    "label_parts",
    metadata,
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)


def _chunks(name: str) -> Table:
    """Numbers of entries by the first six bytes of a hash, those that have settled: keys.py.

    Rows lie in the order in which they are written (on SQLite by their rowid), so that new ones touch few pages.
    """
    return Table(
        name,
        metadata,
        # What all keys in it begin with: keys.chunk_of
        Column("chunk", BigInteger, primary_key=True, autoincrement=False),
        # Tells rows of a chunk apart: the log's highest number when the newest of these keys settled
        Column("last", BigInteger, primary_key=True, autoincrement=False),
        Column("data", LargeBinary, nullable=False),  # in order, each key[6] ‖ u48 number
    )


leaf_chunks, fetch_chunks = _chunks("leaf_chunks"), _chunks("fetch_chunks")

# The hashes at depth TOP_BITS of the index, 1,024 a page: their hashes, 32 bytes each, then the u32 numbers of labels.
index_pages = Table(
    "index_pages",
    metadata,
    Column("page", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# What a batch changed in the index: the buckets it touched, each u32 prefix, 32 bytes of hash, u32 labels.
# Whoever follows the index applies them in order; those that index_pages hold for long are dropped.
index_changes = Table(
    "index_changes",
    metadata,
    # The log's size after the batch
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# Hash tiles of the whole tree (tlog-tiles), the partial ones at the right edge included and rewritten.  Of full ones at
# level 0 those near the log's end, and where entries have left: elsewhere the entries say the same (treetiles.py).
tree_tiles = Table(
    "tree_tiles",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("n", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),  # 32 bytes a hash, up to 256
    sqlite_with_rowid=False,
)

# Every registry entry ever accepted, in order: the register as log + inbox see it.
registrations = Table(
    "registrations",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 …
    Column("idx", BigInteger),  # NULL while it waits in the inbox
    Column("entry", LargeBinary, nullable=False),
)

# Records in the log per source and day: what a coverage entry must say.
day_counts = Table(
    "day_counts",
    metadata,
    Column("source", BigInteger, primary_key=True, autoincrement=False),
    Column("day", BigInteger, primary_key=True, autoincrement=False),
    Column("records", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One row, id 1: the next number an accepted entry gets.  Taking it also puts acceptances into one order.
deposits = Table(
    "deposits",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("next", BigInteger, nullable=False),
)

# Entries numbered `first` and above, up to the next row: when they were accepted, which is what their promises say,
# and against how many registry entries they were checked.
acceptances = Table(
    "acceptances",
    metadata,
    Column("first", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("accepted", BigInteger, nullable=False),  # Unix seconds
    Column("registrations", BigInteger, nullable=False),
)

envelopes = Table(
    "envelopes",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("fetch", LargeBinary, nullable=False),  # H(fetch_token), as the source deposited it
    Column("body", LargeBinary, nullable=False),
)

# One row, id 1: the last checkpoint signed by the log's keys, and the one the public sees.
publication = Table(
    "publication",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("signed_size", BigInteger, nullable=False),  # 0: nothing signed yet
    Column("signed_note", LargeBinary, nullable=False),  # with the log's own signatures at least
    Column("published_size", BigInteger, nullable=False),  # 0: nothing published yet
    Column("published_note", LargeBinary, nullable=False),  # as it stands at /checkpoint
    Column("published_time", BigInteger, nullable=False),  # Unix seconds of its newest cosignature
)

# How far each witness of policy.txt has come, and since when it gives no cosignature: what outlives a restart.
witnesses = Table(
    "witnesses",
    metadata,
    Column("vkey", Text, primary_key=True),
    Column("confirmed", BigInteger, nullable=False),  # the size it cosigned last, as far as it told us
    Column("cosigned", BigInteger, nullable=False),  # Unix seconds of its last cosignature; 0: never
    Column("standing", Text, nullable=False),  # cosigns, missing, behind or refuses
    Column("since", BigInteger, nullable=False),  # Unix seconds; 0 while it cosigns
    Column("why", Text, nullable=False),  # for the operator; empty while it cosigns
    sqlite_with_rowid=False,
)

# Which process leads a role, on engines other than SQLite: ledger/store/leases.py.
leases = Table(
    "leases",
    metadata,
    Column("role", Text, primary_key=True),  # sequencer, publisher
    Column("holder", Text, nullable=False),  # host, process and chance
    Column("term", BigInteger, nullable=False),  # counts up at each take-over
    Column("expires", BigInteger, nullable=False),  # milliseconds since 1970 by the database's clock
    sqlite_with_rowid=False,
)
