"""The public folder: hash tiles and entry bundles as C2SP tlog-tiles lays them out, and the tree's right
edge.

    checkpoint                        the published checkpoint, replaced in one step
    tile/0/x001/234                   full tile: 256 hashes, 8,192 bytes
    tile/0/x001/235.p/17              partial tile of 17 hashes
    tile/entries/x001/235.p/17        the 17 entries: u16 length ‖ entry, each
    .part/                            files being written; emptied at start

Tiles never change, so they are written first; only when every file of a tree is durable may its checkpoint
be signed. Partial tiles stay until the full one has been published for a while, for readers who hold an
older checkpoint.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ledger.core.errors import Malformed
from ledger.core.merkle import HASH_BYTES, leaf_hash, tree_root
from ledger.core.tiles import (
    ENTRIES,
    FULL_WIDTH,
    MAX_ENTRY_BYTES,
    Tile,
    TileHashes,
    decode_bundle,
    encode_bundle,
    grow_tiles,
)
from ledger.files import read_limited, sync_folder, write_atomic

MAX_BUNDLE = FULL_WIDTH * (2 + MAX_ENTRY_BYTES)
MAX_CHECKPOINT = 1 << 20
SYNCS_AT_ONCE = 8
FEW_FILES = 32

File = tuple[str, bytes]
"""A path inside the folder, and the content."""

TileReader = Callable[[Tile], bytes]
"""Gives the bytes of a tile; raises LookupError when it has them not."""


class Edge:
    """The right edge of the tree at some size: the partial tile of each level and the partial entry bundle.

    That is all it takes to make every further tile, so publishing n entries costs n and not the size of the
    log.
    """

    def __init__(self) -> None:
        self.size = 0
        self._tiles: dict[int, bytes] = {}  # contents of the partial hash tile, by level
        self._bundle = b""  # the partial entry bundle, as it is written

    @classmethod
    def load(cls, size: int, read: TileReader) -> Edge:
        """The edge of a tree of this size from its partial tiles; the caller compares its root.

        Raises LookupError when a tile is missing, Malformed when the bundle is not that of the hashes.
        """
        edge = cls()
        edge.size = size
        for tile in partial_tiles(size):
            data = read(tile)
            if tile.level == ENTRIES:
                edge._bundle = data
            else:
                edge._tiles[tile.level] = data
        entries = decode_bundle(edge._bundle, size % FULL_WIDTH, "partial entry bundle")
        if b"".join(map(leaf_hash, entries)) != edge._tiles.get(0, b""):
            raise Malformed("partial entry bundle", "its entries are not those of the hash tile")
        return edge

    def copy(self) -> Edge:
        """An edge that can go its own way."""
        other = Edge()
        other.size, other._tiles, other._bundle = self.size, dict(self._tiles), self._bundle
        return other

    def extend(self, entries: Sequence[bytes]) -> list[File]:
        """Append entries; returns the tiles and bundles that became full, to be written before
        `partials()`."""
        files: list[File] = []
        n, room = self.size // FULL_WIDTH, FULL_WIDTH - self.size % FULL_WIDTH
        at = 0
        while len(entries) - at >= room:
            files.append((Tile(ENTRIES, n).path, self._bundle + encode_bundle(entries[at : at + room])))
            self._bundle = b""
            n, at, room = n + 1, at + room, FULL_WIDTH
        if at < len(entries):
            self._bundle += encode_bundle(entries[at:])
        leaf_hashes = [leaf_hash(entry) for entry in entries]
        edge = dict(self._tiles)
        for tile, data in grow_tiles(self.size, self._tiles, leaf_hashes):
            if tile.width == FULL_WIDTH:
                files.append((tile.path, data))
                edge.pop(tile.level, None)
            else:
                edge[tile.level] = data
        self._tiles = edge
        self.size += len(entries)
        return files

    def partials(self) -> list[File]:
        """The partial tiles and the partial bundle of a tree of exactly this size."""
        return [(tile.path, self._read(tile)) for tile in partial_tiles(self.size)]

    def root(self) -> bytes:
        """The root hash at this size (RFC 6962 §2.1). Its perfect subtrees all lie in partial tiles."""
        return tree_root(self.size, TileHashes(self._read, self.size))

    def _read(self, tile: Tile) -> bytes:
        return self._bundle if tile.level == ENTRIES else self._tiles[tile.level]


def partial_tiles(size: int) -> list[Tile]:
    """The partial tiles and the partial bundle of a tree of this size, the bundle first."""
    tiles = [Tile(ENTRIES, size // FULL_WIDTH, size % FULL_WIDTH)] if size % FULL_WIDTH else []
    level, count = 0, size
    while count:
        if count % FULL_WIDTH:
            tiles.append(Tile(level, count // FULL_WIDTH, count % FULL_WIDTH))
        level, count = level + 1, count // FULL_WIDTH
    return tiles


class Folder:
    """The public folder. Whatever a method has written is durable when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts = path / ".part"

    def prepare(self) -> None:
        """Make the folder if it is not there, and remove what a crash left half-written."""
        self.path.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)

    def __call__(self, tile: Tile) -> bytes:
        """A tile of exactly its width, cut from the full one where the partial one is gone."""
        limit = MAX_BUNDLE if tile.level == ENTRIES else FULL_WIDTH * HASH_BYTES
        for wide in (tile, tile.full):
            try:
                data = read_limited(self.path / wide.path, limit)
            except FileNotFoundError:
                continue
            return _cut_bundle(data, tile.width) if tile.level == ENTRIES else data[: HASH_BYTES * tile.width]
        raise LookupError(f"{self.path / tile.path}: the file is missing")

    def checkpoint(self) -> bytes | None:
        """The published checkpoint, None when there is none yet."""
        try:
            return read_limited(self.path / "checkpoint", MAX_CHECKPOINT)
        except FileNotFoundError:
            return None

    def replace_checkpoint(self, note: bytes) -> None:
        """Publish: from here on readers see this checkpoint. Raises OSError; then they see the old one."""
        write_atomic(self.path / "checkpoint", note)

    def write(self, files: Iterable[File]) -> None:
        """Put tiles in place. Files that are there already with this content are left alone.

        All contents are synced before the first name appears, and all folders after the last, so that a
        batch costs few waits for the disk. Raises OSError (a full disk, for one): then some of the files
        may be in place, each of them whole, and nothing refers to them yet.
        """
        self._parts.mkdir(exist_ok=True)
        waiting: list[tuple[Path, Path]] = []
        contents: list[bytes] = []
        folders: set[Path] = set()
        for number, (name, data) in enumerate(files):
            if not _holds(self.path / name, data):
                waiting.append((self._parts / str(number), self.path / name))
                contents.append(data)
        try:
            self._store_all([part for part, _ in waiting], contents)
            for _, target in waiting:
                self._make_folder(target.parent, folders)
            while waiting:
                part, target = waiting[-1]
                self._place(part, target)
                waiting.pop()
                folders.add(target.parent)
        finally:
            for part, _ in waiting:
                part.unlink(missing_ok=True)
        for folder in sorted(
            folders, reverse=True
        ):  # the deepest first: a name is durable before the one above it
            sync_folder(folder)

    def _store_all(self, parts: Sequence[Path], contents: Sequence[bytes]) -> None:
        """Write and sync all; many at once, because the disk takes as long for eight syncs as for one."""
        if len(parts) <= FEW_FILES:
            for part, data in zip(parts, contents, strict=True):
                self._store(part, data)
            return
        with ThreadPoolExecutor(SYNCS_AT_ONCE, thread_name_prefix="tiles") as pool:
            for stored in [pool.submit(self._store, *job) for job in zip(parts, contents, strict=True)]:
                stored.result()

    def _store(self, part: Path, data: bytes) -> None:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(data)
            os.fsync(handle)
        finally:
            os.close(handle)

    def _place(self, part: Path, target: Path) -> None:
        os.replace(part, target)

    def _make_folder(self, folder: Path, made: set[Path]) -> None:
        """Make a folder and those above it; adds to `made` every folder whose list of names changed."""
        if folder in made or folder.is_dir():
            return
        self._make_folder(folder.parent, made)
        folder.mkdir(exist_ok=True)
        made.update((folder, folder.parent))

    def prune(self, start: int, stop: int) -> None:
        """Remove partial tiles next to tiles that became full between these two sizes of the tree.

        Only for sizes published long enough ago that nobody still reads a checkpoint from before. Not worth
        an error: what cannot be removed stays.
        """
        level, first, last = 0, start // FULL_WIDTH, stop // FULL_WIDTH
        while last:
            for n in range(first, last):
                for kind in (level, ENTRIES) if level == 0 else (level,):
                    full = self.path / Tile(kind, n).path
                    partial = full.with_name(f"{full.name}.p")
                    if partial.is_dir() and full.is_file():
                        shutil.rmtree(partial, ignore_errors=True)
            level, first, last = level + 1, first // FULL_WIDTH, last // FULL_WIDTH


def _holds(target: Path, data: bytes) -> bool:
    try:
        return target.stat().st_size == len(data) and target.read_bytes() == data
    except FileNotFoundError:
        return False


def _cut_bundle(data: bytes, width: int) -> bytes:
    """The first `width` entries of a bundle."""
    at = 0
    for _ in range(width):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    if at > len(data):
        raise LookupError("an entry bundle is cut short")
    return data[:at]
