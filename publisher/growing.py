"""The public files grow with the log: tiles up to the newest index root, and away with partial ones long replaced."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from ledger.core.entries import IndexRoot, decode_entry
from ledger.core.errors import GlassbookError
from ledger.publicfiles import ContentDiffers, File, PublicFiles
from ledger.store import Store
from publisher.reading import read_entries
from publisher.signing import SigningRefused
from publisher.tiles import Edge

PARTIALS_KEPT_S = 600
"""How long after a full tile was published the partial ones beside it stay."""

CHUNK = 8192
"""Entries read and written in one go."""


PRUNED_AT_ONCE = 1000 * 256
"""Entries beside whose tiles partial ones are looked for after one checkpoint: a few listings of a bucket."""


def write_tiles(
    store: Store, files: PublicFiles, edge: Edge, size: int, moved: Callable[[], None] = lambda: None
) -> Edge:
    """Write every tile of the tree of `size` that `edge` has not, partial ones last, and see that its last leaf is its
    index root. All of it can be read by everybody when this returns; `moved` is called after each part.

    Raises SigningRefused, OSError, StoreBusy.
    """
    try:
        return _grow(store, files, edge, size, files.write, moved)
    except ContentDiffers as error:
        raise SigningRefused(
            f"{error}: is there with another content than the database gives it, and files of a log never change."
            " Was the database restored from a backup, or does another log write here? Find out; if no checkpoint"
            " was ever signed over that file, move it away; nothing is signed until then"
        ) from None


def mend_tiles(
    store: Store, files: PublicFiles, size: int, root: bytes, moved: Callable[[], None] = lambda: None
) -> Edge:
    """Write all of a published tree anew, replacing what is damaged, once the entries are seen to have its root.

    Raises SigningRefused, OSError, StoreBusy.
    """
    if _grow(store, files, Edge(), size, lambda _: None, moved).root() != root:
        raise SigningRefused(
            f"public files are damaged, and the first {size} entries in the database are not those that were"
            " published, so nothing can be mended with them. Bring the right database back"
        )
    return _grow(store, files, Edge(), size, files.mend, moved)


def _grow(
    store: Store,
    files: PublicFiles,
    edge: Edge,
    size: int,
    put: Callable[[list[File]], None],
    moved: Callable[[], None],
) -> Edge:
    while edge.size < size:
        stop = min(size, edge.size + CHUNK)
        entries = read_entries(store, files, edge.size, stop)
        edge = edge.copy()
        grown = edge.extend(entries[:-1])
        if stop == size:
            check_last_leaf(entries[-1], edge)
        grown += edge.extend(entries[-1:])
        if stop == size:
            grown += edge.partials()
        put(grown)
        moved()
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
            " it: the database or the public files were altered; nothing is signed until they agree"
        )


class Pruning:
    """Removes partial tiles beside full ones that have been published for long enough."""

    def __init__(self, files: PublicFiles) -> None:
        self._files = files
        self._published: deque[tuple[float, int]] = deque()  # (when, size), oldest first
        self._old = 0  # published for long enough
        self._pruned = 0

    def published(self, size: int) -> None:
        """A checkpoint of this size was published just now."""
        now = time.monotonic()
        self._published.append((now, size))
        while self._published and now - self._published[0][0] >= PARTIALS_KEPT_S:
            self._old = self._published.popleft()[1]
        if self._old > self._pruned:
            stop = min(self._old, self._pruned + PRUNED_AT_ONCE)
            self._files.prune(self._pruned, stop)
            self._pruned = stop
