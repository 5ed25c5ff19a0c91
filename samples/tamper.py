"""Three forgeries of a published log, each made on a copy: the files are all that a forger needs to touch.

Written with hashes alone and none of the project's code, as a forger would: tiles as in C2SP `tlog-tiles`, the tree of
RFC 6962.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

WIDTH = 256
"""Entries in a full bundle, hashes in a full tile."""

DAY = 8
"""Where the day stands in a record (docs/formats.md §2)."""


def alter(public: Path, copy: Path, index: int) -> None:
    """Copy a log and move the access at `index` to another day: one bit of one byte, and nothing else."""
    shutil.copytree(public, copy)
    entries = read_entries(copy)
    start = sum(2 + len(entry) for entry in entries[index - index % WIDTH : index]) + 2
    bundle = bundle_path(copy, index // WIDTH, len(entries))
    data = bytearray(bundle.read_bytes())
    data[start + DAY + 3] ^= 1
    bundle.write_bytes(data)


def remove(public: Path, copy: Path, index: int) -> None:
    """Copy a log without the entry at `index`, all bundles and tiles made anew, and the checkpoint to match.

    What a forger cannot make are the signatures: he leaves the old ones.
    """
    shutil.copytree(public, copy)
    entries = read_entries(copy)
    del entries[index]
    shutil.rmtree(copy / "tile")
    write_tiles(copy, entries)
    checkpoint = (copy / "checkpoint").read_text(encoding="utf-8").split("\n")
    hashes = [leaf_hash(entry) for entry in entries]
    checkpoint[1:3] = [str(len(entries)), base64.b64encode(root(hashes)).decode()]
    (copy / "checkpoint").write_text("\n".join(checkpoint), encoding="utf-8")


def forget(earlier: Path, copy: Path) -> None:
    """Put an earlier state of the log in its place: genuine in every byte, every signature good, only not all of it."""
    shutil.copytree(earlier, copy)


def size_of(public: Path) -> int:
    """How many entries the checkpoint says the log has."""
    return int((public / "checkpoint").read_text(encoding="utf-8").split("\n")[1])


def bundle_path(public: Path, number: int, size: int) -> Path:
    """The file of bundle `number` in a log of `size` entries (below 256,000: one path element is enough)."""
    width = min(WIDTH, size - number * WIDTH)
    name = f"{number:03}" if width == WIDTH else f"{number:03}.p/{width}"
    return public / "tile" / "entries" / name


def read_entries(public: Path) -> list[bytes]:
    """All entries of a published log, in order: in a bundle each stands behind its length in two bytes."""
    size = size_of(public)
    entries = []
    for number in range(-(-size // WIDTH)):
        data = bundle_path(public, number, size).read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
    return entries


def write_tiles(public: Path, entries: list[bytes]) -> None:
    """Bundles, and the tiles of every level, for these entries."""
    for start in range(0, len(entries), WIDTH):
        bundle = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries[start : start + WIDTH])
        _write(bundle_path(public, start // WIDTH, len(entries)), bundle)
    hashes = [leaf_hash(entry) for entry in entries]
    level = 0
    while hashes:
        for start in range(0, len(hashes), WIDTH):
            part = hashes[start : start + WIDTH]
            name = f"{start // WIDTH:03}" + ("" if len(part) == WIDTH else f".p/{len(part)}")
            _write(public / "tile" / str(level) / name, b"".join(part))
        # A tile of the next level holds the roots of the full tiles of this one.
        hashes = [root(hashes[i : i + WIDTH]) for i in range(0, len(hashes) - WIDTH + 1, WIDTH)]
        level += 1


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962 §2.1."""
    return hashlib.sha256(b"\x00" + entry).digest()


def root(hashes: list[bytes]) -> bytes:
    """The tree head over leaf hashes, RFC 6962 §2.1: folded level by level, an odd one goes up as it is."""
    level = list(hashes)
    while len(level) > 1:
        pairs = [
            hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)
        ]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0]


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
