"""What the next batch appends, worked out without I/O.

    waiting rows, oldest first   →   entries at size, size + 1, …   →   one index root at the end

A row was checked when it was accepted, against the register with all that waited before it.  If the register
it meets here is that same one, its checks still hold; if not, they are made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.core.entries import (
    RECORD,
    Coverage,
    IndexRoot,
    Record,
    Registry,
    decode_entry,
    signed_message,
)
from ledger.core.errors import BadSignature, GlassbookError, RuleBroken
from ledger.core.keys import verify_ed25519
from ledger.core.merkle import leaf_hash, tree_root
from ledger.core.registry import Register
from ledger.core.tiles import FULL_WIDTH, Tile, TileHashes, grow_tiles
from ledger.store.inbox import Waiting


@dataclass(slots=True)
class Batch:
    """What leaves the inbox and how; `start` is the index of the first entry."""

    start: int
    register: Register
    registrations: int
    last: int = 0  # the highest number taken from the inbox
    entries: list[tuple[bytes, int, bytes]] = field(default_factory=list)  # leaf hash, number, entry
    labels: list[tuple[bytes, int]] = field(default_factory=list)
    placed: list[tuple[int, int]] = field(default_factory=list)  # registration number, index
    counts: dict[tuple[int, int], int] = field(default_factory=dict)  # (source, day) → records
    refused: list[tuple[Waiting, GlassbookError]] = field(default_factory=list)


def plan_batch(
    origin: str,
    size: int,
    register: Register,
    registrations: int,
    waiting: Sequence[Waiting],
    day_count: Callable[[int, int], int],
) -> Batch:
    """Which of the rows are appended to a log of `size` leaves, in their order.

    `register` and `registrations` are those of the log; they are not changed, the batch has its own.
    `day_count(source, day)` counts the records in the log.
    """
    batch = Batch(size, register, registrations)
    entries, labels, counts = batch.entries, batch.labels, batch.counts
    index = size
    for row in waiting:
        if row.entry[1] != RECORD or row.registrations != batch.registrations:
            try:
                _check_again(origin, batch, index, row, day_count)
            except GlassbookError as error:
                batch.refused.append((row, error))
                continue
        if row.day >= 0:
            key = (row.source, row.day)
            counts[key] = counts.get(key, 0) + 1
        entries.append((row.leaf_hash, row.number, row.entry))
        labels.append((row.label, index))
        index += 1
    if waiting:
        batch.last = waiting[-1].number
    return batch


def _check_again(
    origin: str, batch: Batch, index: int, row: Waiting, day_count: Callable[[int, int], int]
) -> None:
    entry = decode_entry(row.entry)
    if isinstance(entry, Registry):
        register = batch.register.copy()
        register.add(index, row.entry)
        batch.register = register
        batch.registrations = row.registrations + 1  # the number it was accepted under
        batch.placed.append((batch.registrations, index))
        return
    if not isinstance(entry, Record | Coverage):
        raise RuleBroken("index root", "made by the ledger alone")
    source = batch.register.signer(entry)
    if row.registrations != batch.registrations and not verify_ed25519(
        source.key, entry.signature, signed_message(origin, row.entry)
    ):
        raise BadSignature("entry", "not signed by the key of the source in force")
    if isinstance(entry, Record):
        source.check_record(entry)
    else:
        source.check_coverage(entry)
        found = day_count(entry.source, entry.day) + batch.counts.get((entry.source, entry.day), 0)
        if found != entry.records:
            raise RuleBroken("coverage", f"{found} records of the day are in the log, not {entry.records}")


@dataclass(frozen=True, slots=True)
class Close:
    """The end of a batch: the index root entry, the tree over everything, and the tiles that changed."""

    index_root: bytes
    leaf: bytes
    root: bytes
    tiles: list[tuple[int, int, bytes]]  # level, n, hashes
    edge: dict[int, bytes]


def close_batch(
    size: int, edge: Mapping[int, bytes], leaf_hashes: Sequence[bytes], index_root: bytes, labels: int
) -> Close:
    """Append an index root after `leaf_hashes` to a tree of `size` leaves; `edge` is level → hashes."""
    changed: dict[tuple[int, int], bytes] = {}
    covers = size + len(leaf_hashes)
    new_edge = _grow(size, dict(edge), leaf_hashes, changed)
    entry = IndexRoot(covers, edge_root(covers, new_edge), index_root, labels).encode()
    leaf = leaf_hash(entry)
    new_edge = _grow(covers, new_edge, [leaf], changed)
    tiles = [(level, n, data) for (level, n), data in changed.items()]
    return Close(entry, leaf, edge_root(covers + 1, new_edge), tiles, new_edge)


def _grow(
    size: int, edge: dict[int, bytes], leaf_hashes: Sequence[bytes], changed: dict[tuple[int, int], bytes]
) -> dict[int, bytes]:
    new_edge = dict(edge)
    for tile, content in grow_tiles(size, edge, leaf_hashes):
        changed[tile.level, tile.n] = content
        if tile.width == FULL_WIDTH:
            new_edge.pop(tile.level, None)
        else:
            new_edge[tile.level] = content
    return new_edge


def edge_tiles(size: int) -> list[Tile]:
    """The partial hash tiles of a tree of `size` leaves, lowest level first."""
    tiles = []
    level, count = 0, size
    while count:
        if count % FULL_WIDTH:
            tiles.append(Tile(level, count // FULL_WIDTH, count % FULL_WIDTH))
        level, count = level + 1, count // FULL_WIDTH
    return tiles


def edge_root(size: int, edge: Mapping[int, bytes]) -> bytes:
    """MTH of a tree of `size` leaves from its right edge (level → hashes of the partial tile)."""
    return tree_root(size, TileHashes(lambda tile: edge[tile.level], size))
