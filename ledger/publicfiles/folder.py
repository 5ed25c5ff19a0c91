"""Public files in a folder.

.part/     files being written; emptied at start
.lock      held while the checkpoint is compared and replaced
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from ledger.core.tiles import Tile
from ledger.files import FileRefused, read_limited, sync_folder, write_atomic
from ledger.publicfiles.protocol import (
    MAX_CHECKPOINT,
    CheckpointReplaced,
    ContentDiffers,
    File,
    StoredNote,
    exactly,
    full_between,
    limit_of,
)

SYNCS_AT_ONCE = 8
FEW_FILES = 32
LOCK_SECONDS = 5.0


class Folder:
    """A folder as PublicFiles. Whatever a method has written is durable when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts = path / ".part"

    @property
    def where(self) -> str:
        return str(self.path)

    def probe(self) -> None:
        """Nothing to try: the file system's own calls are relied upon."""

    def prepare(self) -> None:
        """Make the folder if it is not there, and remove what a crash left half-written."""
        self.path.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)

    def __call__(self, tile: Tile) -> bytes:
        return exactly(tile, self.file)

    def file(self, tile: Tile) -> bytes:
        try:
            return read_limited(self.path / tile.path, limit_of(tile))
        except FileNotFoundError:
            raise LookupError(f"{self.path / tile.path}: the file is missing") from None
        except FileRefused as error:
            raise LookupError(str(error)) from None

    def checkpoint(self) -> StoredNote | None:
        try:
            note = read_limited(self.path / "checkpoint", MAX_CHECKPOINT)
        except FileNotFoundError:
            return None
        return StoredNote(note, _version(note))

    def wrong_headers(self, name: str) -> list[str]:
        return []

    def replace_checkpoint(self, note: bytes, expected: str | None) -> str:
        with self._locked():
            stored = self.checkpoint()
            if (stored.version if stored else None) != expected:
                raise CheckpointReplaced
            write_atomic(self.path / "checkpoint", note)
        return _version(note)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """For one process at a time. The lock goes with the process that holds it, however that ends."""
        path = self.path / ".lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise OSError(errno.EAGAIN, "another process holds this lock", str(path)) from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(handle)

    def write(self, files: Iterable[File]) -> None:
        """All contents are synced before the first name appears, and all folders after the last, so that a batch
        costs few waits for the disk."""
        self._put(files, replace=False)

    def mend(self, files: Iterable[File]) -> None:
        self._put(files, replace=True)

    def _put(self, files: Iterable[File], replace: bool) -> None:
        self._parts.mkdir(exist_ok=True)
        waiting: list[tuple[Path, Path]] = []
        contents: list[bytes] = []
        folders: set[Path] = set()
        for number, (name, data) in enumerate(files):
            if not _holds(self.path / name, data, replace):
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
        # The deepest first: a name is durable before the one above it.
        for folder in sorted(folders, reverse=True):
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
        for level, first, last in full_between(start, stop):
            for n in range(first, last):
                full = self.path / Tile(level, n).path
                partial = full.with_name(f"{full.name}.p")
                if partial.is_dir() and full.is_file():
                    shutil.rmtree(partial, ignore_errors=True)


def _holds(target: Path, data: bytes, replace: bool) -> bool:
    try:
        if target.stat().st_size == len(data) and target.read_bytes() == data:
            return True
    except FileNotFoundError:
        return False
    if not replace:
        raise ContentDiffers(str(target))
    return False


def _version(note: bytes) -> str:
    return sha256(note).hexdigest()
