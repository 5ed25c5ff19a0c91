"""A published log as files that are at hand: those of `tlog-tiles`, and an index recomputed from the entries.

Files answer no questions about the index, so all entry bundles are read (about 10 s for a million
entries), the index over them is built, its root compared with the one the log signed, and proofs are
made from it. Whoever reads files tells nobody what is looked for. Envelopes are not among them.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from ledger.client.publiclog import MAX_CHECKPOINT, IndexAnswer, Unreachable, cut, size_limit
from ledger.core.checkpoint import parse_checkpoint
from ledger.core.entries import IndexRoot, decode_entry, index_label
from ledger.core.errors import Malformed, ProofRefuted, RuleBroken
from ledger.core.index import TOP_BITS, MemoryRows, PrefixTree
from ledger.core.merkle import leaf_hash, prove_inclusion
from ledger.core.note import parse_note
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, TileHashes, decode_bundle


class FilesLog(ABC):
    """A log whose files `_read` gives. Safe to use from several threads.

    `progress(done, all)` is called with numbers of entries while the index is built.
    """

    def __init__(self, where: str, progress: Callable[[int, int], None] | None) -> None:
        self._where = where
        self._progress = progress
        self._lock = threading.Lock()
        self._index: _Index | None = None

    @property
    def where(self) -> str:
        return self._where

    @abstractmethod
    def _read(self, path: str, limit: int) -> bytes | None:
        """The file at `path` of the log, None when there is none.

        Raises `Malformed` when it is longer than `limit` bytes, `Unreachable` when it cannot be read.
        """

    @abstractmethod
    def _name(self, path: str) -> str:
        """That file, for messages."""

    def checkpoint(self) -> bytes:
        data = self._read("checkpoint", MAX_CHECKPOINT)
        if data is None:
            raise Unreachable(self._name("checkpoint"), "no such file; nothing is published here")
        return data

    def tile(self, tile: Tile) -> bytes:
        limit = size_limit(tile)
        data = self._read(tile.path, limit)
        if data is None and tile.width < FULL_WIDTH:
            full = self._read(tile.full.path, limit)
            if full is not None:
                return cut(tile, full, self._name(tile.full.path))
        if data is None:
            raise Unreachable(self._name(tile.path), "no such file; this copy of the log is not whole")
        return data

    def index_proofs(self, labels: Sequence[bytes]) -> IndexAnswer:
        """See `PublicLog`. Raises `RuleBroken` when the entries do not give the index root the log signed."""
        with self._lock:
            note = self.checkpoint()
            checkpoint = parse_checkpoint(parse_note(note).text)
            if self._index is None or self._index.size != checkpoint.size:
                self._index = self._read_index(checkpoint.size, note)
            hashes = TileHashes(self.tile, checkpoint.size)
            return IndexAnswer(
                checkpoint=note,
                index_root_entry=self._index.root_entry,
                index_root_proof=prove_inclusion(checkpoint.size - 1, checkpoint.size, hashes),
                proofs=self._index.tree.prove_many(list(labels)),
            )

    def envelopes(self, tokens: Sequence[bytes]) -> list[bytes | None] | None:
        return None

    def _read_index(self, size: int, note: bytes) -> "_Index":
        pairs: list[tuple[bytes, int]] = []
        raw = b""
        for n in range((size + 255) // 256):
            width = min(256, size - n * 256)
            tile = Tile(ENTRIES, n, width)
            entries = self._entries(tile)
            signed = self.tile(Tile(0, n, width))
            for slot, raw in enumerate(entries):
                index = n * 256 + slot
                if leaf_hash(raw) != signed[slot * 32 : slot * 32 + 32]:
                    raise ProofRefuted(
                        f"entry {index}",
                        "the entry bundle holds another entry than the tree",
                        entry=raw, leaf_hash=signed[slot * 32 : slot * 32 + 32], checkpoint=note,
                    )  # fmt: skip
                label = _label(raw)
                if label is not None:
                    pairs.append((label, index))
            if self._progress is not None:
                self._progress(n * 256 + width, size)
        last = decode_entry(raw)
        if not isinstance(last, IndexRoot):
            raise RuleBroken(f"entry {size - 1}", "the last, is no index root", entry=raw, checkpoint=note)
        tree = PrefixTree(MemoryRows(TOP_BITS))
        tree.insert_many(pairs)
        if tree.root != last.index_root or tree.labels != last.labels:
            raise RuleBroken(
                f"entry {size - 1}",
                "the index root that the log signed is not the index of its entries",
                entry=raw, recomputed=tree.root, labels=tree.labels, checkpoint=note,
            )  # fmt: skip
        return _Index(size, raw, tree)

    def _entries(self, tile: Tile) -> list[bytes]:
        try:
            return decode_bundle(self.tile(tile), tile.width, self._name(tile.path))
        except Malformed as error:
            raise ProofRefuted(error.where, error.what, first_entry=tile.n * FULL_WIDTH) from None


class _Index:
    """The index below one checkpoint of `size`, whose last leaf is `root_entry`."""

    __slots__ = ("root_entry", "size", "tree")

    def __init__(self, size: int, root_entry: bytes, tree: PrefixTree) -> None:
        self.size = size
        self.root_entry = root_entry
        self.tree = tree


def _label(raw: bytes) -> bytes | None:
    """The index label of an entry; None for an index root and for what is no entry (an audit names it)."""
    try:
        return index_label(decode_entry(raw))
    except Malformed:
        return None
