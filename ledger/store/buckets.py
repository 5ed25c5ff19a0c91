"""The index over the store: label rows for `ledger.core.index.PrefixTree`, and its bucket hashes persisted.

A process that starts loads the bucket hashes and applies what batches changed in them since, so that a million
labels cost neither memory nor minutes; a process that follows another's index applies the changes alone.  Both are
shortcuts: whoever takes them compares the root, and what they lack can always be computed from the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from ledger.core.entries import decode_entry, index_label
from ledger.core.index import TOP_BITS, Bucket, PrefixTree, Row
from ledger.store.engine import Connection, run
from ledger.store.labels import read_changes, read_pages, write_pages
from ledger.store.log import read_entries, read_state
from ledger.store.statements import ranges

PAGES_EVERY = 131_072
"""Leaves after which all changed pages are written anew; changes are kept for as many again."""
PAGE = 1024  # buckets a page
CHUNK = 100
STEP = 5_000  # entries read at once
_BUCKET = Struct(">32sI")  # hash ‖ u32 labels
_CHANGE = Struct(">I32sI")  # u32 prefix ‖ hash ‖ u32 labels
_PAST_ALL = b"\xff" * 33


class StoredRows:
    """The labels of the first `covers` leaves, read through the transaction `db` that its owner has open.

    What a tree adds is kept in `added` until the owner writes it, in the transaction that makes it true.
    """

    def __init__(self, covers: int) -> None:
        self.covers = covers
        self.db: Connection | None = None
        self.added: list[Row] = []

    def _open(self) -> Connection:
        if self.db is None:
            raise RuntimeError("StoredRows needs an open transaction: set db first")
        return self.db

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterator[Sequence[Row]]:
        """See `ledger.core.index.IndexRows`."""
        db, shift = self._open(), 24 - bits
        for start in range(0, len(prefixes), CHUNK):
            part = prefixes[start : start + CHUNK]
            lows = [(prefix << shift).to_bytes(3, "big") for prefix in part]
            ends = [(prefix + 1) << shift for prefix in part]
            highs = [end.to_bytes(3, "big") if end < 1 << 24 else _PAST_ALL for end in ends]
            want, params = ranges(db, lows, highs)
            found: dict[int, list[Row]] = {}
            # CROSS JOIN: the few ranges outside, the primary key of labels inside.
            rows = run(
                db,
                f"WITH want (low, high) AS ({want}) SELECT label, idx FROM want CROSS JOIN labels"
                " WHERE label >= low AND label < high AND idx < ?",
                [*params, self.covers],
            )
            for label, index in rows.all():  # one call for all rows is half the cost of one each
                found.setdefault(int.from_bytes(label[:3], "big") >> shift, []).append((bytes(label), index))
            for prefix in part:
                yield sorted(found.get(prefix, ()))

    def add(self, rows: Sequence[Row]) -> None:
        """See `ledger.core.index.IndexRows`."""
        self.added += rows


class BucketPages:
    """The persisted bucket hashes as they are in the database: 36 bytes a bucket, PAGE to a page."""

    def __init__(self, pages: dict[int, bytes] | None = None) -> None:
        self._pages = {page: bytearray(data) for page, data in (pages or {}).items()}
        self._dirty: set[int] = set()

    def __iter__(self) -> Iterator[Bucket]:
        for page, data in self._pages.items():
            for slot, (digest, labels) in enumerate(_BUCKET.iter_unpack(data)):
                if labels:
                    yield Bucket(page * PAGE + slot, digest, labels)

    def update(self, buckets: Iterable[Bucket]) -> None:
        """Take over what `PrefixTree.take_changed` gave."""
        for prefix, digest, labels in buckets:
            page, slot = divmod(prefix, PAGE)
            data = self._pages.get(page)
            if data is None:
                data = self._pages[page] = bytearray(PAGE * _BUCKET.size)
            _BUCKET.pack_into(data, slot * _BUCKET.size, digest, labels)
            self._dirty.add(page)

    def write(self, db: Connection) -> None:
        """Write the changed pages; the caller sets `State.pages_covers` in the same transaction."""
        write_pages(db, [(page, bytes(self._pages[page])) for page in sorted(self._dirty)])

    def written(self) -> None:
        """The transaction of `write` has committed."""
        self._dirty.clear()


def pack_changes(buckets: Iterable[Bucket]) -> bytes:
    """What `PrefixTree.take_changed` gave, 40 bytes a bucket."""
    return b"".join([_CHANGE.pack(*bucket) for bucket in buckets])


def follow_tree(db: Connection, tree: PrefixTree, start: int, stop: int) -> list[Bucket]:
    """Bring a tree over the log of `start` leaves to that of `stop`, both sizes after a batch.

    Gives the buckets that were taken over; those it has to compute, `tree.take_changed` will name.
    `StoredRows.covers` is the caller's to move; so is the comparison of the root with one it trusts.
    """
    batches = read_changes(db, start, stop) if start <= stop else None
    if batches is None:
        tree.mark_dirty(labels_between(db, min(start, stop), max(start, stop)))
        return []
    newest: dict[int, Bucket] = {}
    for data in batches:
        for prefix, digest, labels in _CHANGE.iter_unpack(data):
            newest[prefix] = Bucket(prefix, digest, labels)
    tree.load(newest.values())
    return list(newest.values())


def labels_between(db: Connection, start: int, stop: int) -> Iterator[bytes]:
    """The index labels of entries start … stop−1; index roots have none."""
    for first in range(start, stop, STEP):
        for raw in read_entries(db, first, min(stop, first + STEP)):
            label = index_label(decode_entry(raw))
            if label is not None:
                yield label


def load_tree(
    db: Connection, rows: StoredRows, size: int, top_bits: int = TOP_BITS
) -> tuple[PrefixTree, BucketPages]:
    """The index over the log when it was `size` leaves long after a batch; `rows.db` and `rows.covers` are set.

    The caller compares `tree.root` with the index root it trusts for that size.
    """
    pages = BucketPages(read_pages(db))
    tree = PrefixTree(rows, top_bits)
    tree.load(pages)
    pages.update(follow_tree(db, tree, read_state(db).pages_covers, size))
    return tree, pages
