"""The public folder grows with the log: tiles up to the newest index root, and away with partial ones long replaced."""

from __future__ import annotations

import time
from collections import deque

from ledger.core.entries import IndexRoot, decode_entry
from ledger.core.errors import GlassbookError
from ledger.store import Store
from ledger.store.log import read_entries
from publisher.signing import SigningRefused
from publisher.tiles import Edge, Folder

PARTIALS_KEPT_S = 600
"""How long after a full tile was published the partial ones beside it stay."""

CHUNK = 8192
"""Entries read and written in one go."""


def write_tiles(store: Store, folder: Folder, edge: Edge, size: int) -> Edge:
    """Write every tile of the tree of `size` that `edge` has not, partial ones last, and see that its last leaf is its
    index root. All of it can be read in the folder when this returns.

    Raises SigningRefused, OSError, StoreBusy.
    """
    while edge.size < size:
        stop = min(size, edge.size + CHUNK)
        with store.read() as db:
            entries = read_entries(db, edge.size, stop)
        edge = edge.copy()
        files = edge.extend(entries[:-1])
        if stop == size:
            check_last_leaf(entries[-1], edge)
        files += edge.extend(entries[-1:])
        if stop == size:
            files += edge.partials()
        folder.write(files)
    return edge


def check_last_leaf(entry: bytes, before: Edge) -> None:
    """Raise SigningRefused unless `entry` is the index root over exactly the tree `before` it (formats §2).

    It holds the root that the sequencer computed, and so shows whether both see one tree.
    """
    try:
        root = decode_entry(entry)
    except GlassbookError as error:
        raise SigningRefused(f"the last entry in the database is no entry: {error}") from None
    if not isinstance(root, IndexRoot) or root.covers != before.size or root.log_root != before.root():
        raise SigningRefused(
            f"the last of {before.size + 1} entries in the database is not the index root of those before"
            " it: the database or the public folder was altered; nothing is signed until they agree"
        )


class Pruning:
    """Removes partial tiles beside full ones that have been published for long enough."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._published: deque[tuple[float, int]] = deque()  # (when, size), oldest first
        self._pruned = 0

    def published(self, size: int) -> None:
        """A checkpoint of this size was published just now."""
        now, old = time.monotonic(), self._pruned
        self._published.append((now, size))
        while self._published and now - self._published[0][0] >= PARTIALS_KEPT_S:
            old = self._published.popleft()[1]
        if old > self._pruned:
            self._folder.prune(self._pruned, old)
            self._pruned = old
