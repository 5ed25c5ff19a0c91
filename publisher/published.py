"""What is published right now, and index proofs under exactly that.

The log in the database is ahead of the published checkpoint most of the time. A proof is of use only under
the index root that readers can see, so the index here is the one over the first `covers` leaves, `covers`
being one less than the published size: a row carries its entry's index, and rows from `covers` on do not
count.

The index moves on beside the publishing: a new checkpoint is only noted, and what batches changed in the index is
applied when the next proof is asked for, or by `keep_up`: soon while somebody asks, and now and then while nobody does,
as many batches at a time cost less.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.entries import IndexRoot, decode_entry
from ledger.core.errors import Malformed
from ledger.core.index import PrefixTree
from ledger.core.merkle import prove_inclusion
from ledger.core.note import parse_note
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, TileHashes, decode_bundle
from ledger.publicfiles import TileReader
from ledger.store import Connection, Store
from ledger.store.buckets import StoredRows, follow_tree, load_tree

FOLLOW_SECONDS = 0.5
"""While proofs are asked for, the index is behind the checkpoint for so long at most."""
ASKED_SECONDS = 10.0
"""For so long after the last question."""
BEHIND = 8_192
"""Leaves that the index falls behind while nobody asks: who asks then waits for about a third of a second."""


class NotPublished(Exception):
    """There is no published checkpoint yet."""


class IndexWrong(Exception):
    """The index computed from the database has not the root that is published: no proof can be given."""


@dataclass(frozen=True, slots=True)
class View:
    """One published checkpoint: the note as it stands at /checkpoint, its last leaf, which is an index
    root, and the inclusion proof of that leaf in it."""

    note: bytes
    checkpoint: Checkpoint
    entry: bytes
    index_root: IndexRoot
    path: list[bytes]

    @classmethod
    def of(cls, note: bytes, read: TileReader) -> View:
        """From the note and the tiles of its tree. Raises Malformed or LookupError when they do not fit."""
        checkpoint = parse_checkpoint(parse_note(note).text)
        last = checkpoint.size - 1
        n, slot = divmod(last, FULL_WIDTH)
        bundle = Tile(ENTRIES, n, slot + 1)
        entry = decode_bundle(read(bundle), bundle.width, bundle.path)[slot]
        index_root = decode_entry(entry)
        if not isinstance(index_root, IndexRoot):
            raise LookupError(f"the last leaf of the checkpoint of {checkpoint.size} is not an index root")
        path = prove_inclusion(last, checkpoint.size, TileHashes(read, checkpoint.size))
        return cls(note, checkpoint, entry, index_root, list(path))


class Published:
    """The published view, shared by the publisher's loop, which moves it on, and the threads that serve
    it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._view: View | None = None
        self._index_lock = threading.Lock()  # held while the index is read or moved, never while publishing
        self._rows = StoredRows(0)
        self._tree: PrefixTree | None = None
        self._asked = -ASKED_SECONDS  # when proofs were asked for last, by the monotonic clock

    @property
    def view(self) -> View | None:
        """The published view, None before the first."""
        return self._view

    def show(self, view: View) -> None:
        """From now on this is what is published. Never waits."""
        self._view = view

    def prove(self, labels: Sequence[bytes]) -> tuple[View, list[bytes]]:
        """Index proofs for these labels (32 bytes each), in order, and the view they are all under.

        Raises NotPublished, IndexWrong, StoreBusy.
        """
        self._asked = time.monotonic()
        with self._index_lock:
            view = self._view
            if view is None:
                raise NotPublished
            with self._store.read() as db:
                tree = self._index(db, view)
                try:
                    return view, tree.prove_many(labels)
                except Malformed as error:
                    self._tree = None
                    raise IndexWrong(_wrong(view.index_root.covers, str(error))) from None

    def keep_up(self, stop: threading.Event) -> None:
        """Bring the index up to date soon after each checkpoint, so that who asks need not wait; until `stop`."""
        while not stop.wait(FOLLOW_SECONDS):
            view = self._view
            if view is None or not self._is_due(view.index_root.covers):
                continue
            try:
                with self._index_lock, self._store.read() as db:
                    # Else `prove` was faster.
                    if self._tree is None or view.index_root.covers > self._rows.covers:
                        self._index(db, view)
                        self._rows.catch_up()
            except Exception:  # whoever asks for a proof meets it again and is told
                continue

    def _is_due(self, covers: int) -> bool:
        """Whether the index is to be brought to so many leaves before anybody asks."""
        if self._tree is None:
            return True
        behind = covers - self._rows.covers
        return behind > BEHIND or (behind > 0 and time.monotonic() - self._asked < ASKED_SECONDS)

    def _index(self, db: Connection, view: View) -> PrefixTree:
        """The index of this view; the lock is held."""
        rows, covers = self._rows, view.index_root.covers
        rows.db = db
        tree = self._tree
        self._tree = None  # whatever goes wrong below, the next one starts from the database
        if tree is None:
            rows = self._rows = StoredRows(covers)  # with nothing in memory either
            rows.db = db
            tree = PrefixTree(rows)
            load_tree(db, tree, covers + 1)
        elif rows.covers != covers:
            start, rows.covers = rows.covers + 1, covers
            follow_tree(db, tree, start, covers + 1)
        if tree.root != view.index_root.index_root:
            raise IndexWrong(_wrong(covers, "it has another root"))
        self._tree = tree
        return tree


def _wrong(covers: int, why: str) -> str:
    return (
        f"the index over the first {covers} leaves in the database is not the published one ({why}); the database"
        " was altered or restored from a backup, and no index proof can be given until it is right again"
    )
