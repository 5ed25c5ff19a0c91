"""A published log in a folder: the files of `tlog-tiles`, and an index recomputed from the entries.

A folder answers no questions about the index, so all entry bundles are read (about 10 s for a million
entries), the index over them is built, its root compared with the one the log signed, and proofs are
made from it. Whoever reads a folder tells nobody what is looked for. Envelopes are not in a folder.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ledger.client.publiclog import MAX_CHECKPOINT, IndexAnswer, Unreachable
from ledger.client.urllog import MAX_BUNDLE
from ledger.core.checkpoint import parse_checkpoint
from ledger.core.entries import IndexRoot, decode_entry, index_label
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.merkle import leaf_hash, prove_inclusion
from ledger.core.note import parse_note
from ledger.core.tiles import ENTRIES, Tile, TileHashes, decode_bundle, encode_bundle
from ledger.files import FileRefused, read_limited


class FolderLog:
    """The log published to `folder`. Safe to use from several threads.

    `progress(done, all)` is called with numbers of entries while the index is built.
    """

    def __init__(self, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
        if not folder.is_dir():
            raise Unreachable(str(folder), "there is no such folder; give the folder that holds `checkpoint`")
        self._folder = folder
        self._progress = progress
        self._lock = threading.Lock()
        self._index: _Index | None = None

    @property
    def where(self) -> str:
        return str(self._folder)

    def checkpoint(self) -> bytes:
        data = self._read("checkpoint", MAX_CHECKPOINT)
        if data is None:
            raise Unreachable(str(self._folder / "checkpoint"), "no such file; nothing is published here")
        return data

    def tile(self, tile: Tile) -> bytes:
        limit = MAX_BUNDLE if tile.level == ENTRIES else 256 * 32
        data = self._read(tile.path, limit)
        if data is None and tile.width < 256:
            # C2SP tlog-tiles: a partial tile may be deleted once the full one exists.
            full = Tile(tile.level, tile.n, 256)
            data = self._read(full.path, limit)
            if data is not None and tile.level == ENTRIES:
                return encode_bundle(decode_bundle(data, 256, self._name(full.path))[: tile.width])
            if data is not None:
                return data[: tile.width * 32]
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

    def close(self) -> None:
        """Nothing to let go of."""

    def _read(self, path: str, limit: int) -> bytes | None:
        try:
            return read_limited(self._folder / path, limit)
        except FileNotFoundError:
            return None
        except FileRefused as refused:
            raise Malformed("folder", str(refused)) from None
        except OSError as error:
            raise Unreachable(self._name(path), f"cannot be read: {error.strerror}") from None

    def _name(self, path: str) -> str:
        return str(self._folder / path)

    def _read_index(self, size: int, note: bytes) -> "_Index":
        pairs: list[tuple[bytes, int]] = []
        raw = b""
        for n in range((size + 255) // 256):
            width = min(256, size - n * 256)
            tile = Tile(ENTRIES, n, width)
            entries = decode_bundle(self.tile(tile), width, self._name(tile.path))
            signed = self.tile(Tile(0, n, width))
            for slot, raw in enumerate(entries):
                index = n * 256 + slot
                if leaf_hash(raw) != signed[slot * 32 : slot * 32 + 32]:
                    raise RuleBroken(
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
        tree = PrefixTree(MemoryRows())
        tree.insert_many(pairs)
        if tree.root != last.index_root or tree.labels != last.labels:
            raise RuleBroken(
                f"entry {size - 1}",
                "the index root that the log signed is not the index of its entries",
                entry=raw, recomputed=tree.root, labels=tree.labels, checkpoint=note,
            )  # fmt: skip
        return _Index(size, raw, tree)


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
