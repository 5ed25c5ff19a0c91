"""The tables.  Hashes are 32 raw bytes, days are days since 1970-01-01, sizes and indices are leaf numbers.

Only `state`, `publication`, `witnesses`, `leases`, `deposits`, `day_counts`, `index_pages` and the rightmost
`tree_tiles` are ever rewritten; `entries` and `labels` only grow; `inbox` rows leave when they are sequenced,
`acceptances` when what they date is published, `index_changes` when they are old.

A lookup by hash goes through the hash's first eight bytes as a signed integer (`short_key`): a small,
dense index, and the full hash is compared afterwards.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, Table, Text

SCHEMA_VERSION = 3  # the newest of migrations/versions

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
)

entries = Table(
    "entries",
    metadata,
    Column("idx", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("leaf_key", BigInteger, nullable=False, index=True),  # short_key of the leaf hash
    Column("deposit", BigInteger, nullable=False),  # the number it had in the inbox; 0 for an index root
    Column("entry", LargeBinary, nullable=False),
)

labels = Table(
    "labels",
    metadata,
    Column("label", LargeBinary, primary_key=True),  # index label (formats §5)
    Column("idx", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The hashes at depth TOP_BITS of the index, 1,024 a page, each 32 bytes of hash and u32 labels.
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

# Hash tiles of the whole tree (tlog-tiles), the partial ones at the right edge included and rewritten.
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

inbox = Table(
    "inbox",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("label", LargeBinary, nullable=False, unique=True),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Column("source", BigInteger, nullable=False),
    Column("day", BigInteger, nullable=False),  # -1 unless it is a record
    Column("registrations", BigInteger, nullable=False),  # how many the register had when it was checked
)

# Entries numbered `first` and above were accepted at `accepted`, up to the next row: what their promises say.
acceptances = Table(
    "acceptances",
    metadata,
    Column("first", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("accepted", BigInteger, nullable=False),  # Unix seconds
)

envelopes = Table(
    "envelopes",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("fetch_key", BigInteger, nullable=False, index=True),  # short_key of fetch
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


def short_key(hash32: bytes) -> int:
    """The first eight bytes of a hash as a signed 64-bit integer, which every engine can index."""
    return int.from_bytes(hash32[:8], "big", signed=True)
