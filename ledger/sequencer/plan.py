"""What the next batch appends, worked out without I/O.

    waiting entries, oldest first   →   leaves at size, size + 1, …   →   one index root at the end

An entry was checked when it was accepted, against the register with all that waited before it.  If the register
it meets here is that same one, its checks still hold; if not, they are made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from ledger.core.entries import (
    RECORD,
    Coverage,
    IndexRoot,
    Record,
    Registry,
    decode_entry,
    record_label_prefix,
    signed_message,
)
from ledger.core.errors import BadSignature, GlassbookError, RuleBroken
from ledger.core.keys import verify_ed25519
from ledger.core.merkle import leaf_hash, tree_root
from ledger.core.registry import Register
from ledger.core.tiles import FULL_WIDTH, Tile, TileHashes, grow_tiles
from ledger.store.acceptances import Run

Waiting = tuple[int, bytes]
"""Number and entry."""


class Refused(NamedTuple):
    """An accepted entry that is left out: it cannot happen while only this program writes the inbox."""

    number: int
    entry: bytes
    registrations: int  # against how many registry entries it was checked
    error: GlassbookError


@dataclass(slots=True)
class Batch:
    """What leaves the inbox and how; `start` is the index of the first entry."""

    start: int
    register: Register
    registrations: int
    last: int = 0  # the highest number taken from the inbox
    numbers: list[int] = field(default_factory=list)  # of the entries appended, in order
    leaves: list[bytes] = field(default_factory=list)  # their leaf hashes
    labels: list[bytes] = field(default_factory=list)  # their labels, packed: label ‖ u64 index
    placed: list[tuple[int, int]] = field(default_factory=list)  # registration number, index
    heads: dict[bytes, int] = field(
        default_factory=dict
    )  # u32 source ‖ u16 epoch ‖ u32 day ‖ u16 seal → records
    refused: list[Refused] = field(default_factory=list)

    def counts(self) -> dict[tuple[int, int], int]:
        """Records appended, by (source, day)."""
        found: dict[tuple[int, int], int] = {}
        for head, count in self.heads.items():
            key = int.from_bytes(head[:4], "big"), int.from_bytes(head[6:10], "big")
            found[key] = found.get(key, 0) + count
        return found

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """Leaves whose numbers go up by one: index of the first, its number, how many."""
        first = 0
        for at in range(1, len(self.numbers) + 1):
            if at == len(self.numbers) or self.numbers[at] != self.numbers[at - 1] + 1:
                yield self.start + first, self.numbers[first], at - first
                first = at


def plan_batch(
    origin: str,
    size: int,
    register: Register,
    registrations: int,
    waiting: Sequence[Waiting],
    runs: Sequence[Run],
    day_count: Callable[[int, int], int],
) -> Batch:
    """Which of the waiting entries are appended to a log of `size` leaves, in their order.

    `register` and `registrations` are those of the log; they are not changed, the batch has its own. `runs` tell how
    these numbers were accepted. `day_count(source, day)` counts the records in the log.
    """
    batch = Batch(size, register, registrations)
    numbers, leaves, labels, heads = batch.numbers, batch.leaves, batch.labels, batch.heads
    prefixes: dict[bytes, bytes] = {}
    index = size
    for (number, raw), checked in zip(waiting, _registrations(waiting, runs), strict=True):
        if raw[1] != RECORD or checked != batch.registrations:
            try:
                _check_again(origin, batch, index, raw, checked, day_count)
            except GlassbookError as error:
                batch.refused.append(Refused(number, raw, checked, error))
                continue
        if raw[1] == RECORD:
            # Records of one stream's head have the same beginning of what their label is the hash of.
            head = raw[2:14]
            prefix = prefixes.get(head)
            if prefix is None:
                prefix = prefixes[head] = _label_prefix(head)
            heads[head] = heads.get(head, 0) + 1
            label = sha256(prefix + raw[18:50]).digest()
        else:
            label = decode_entry(raw).index_label or b""
        numbers.append(number)
        leaves.append(leaf_hash(raw))
        labels.append(label + index.to_bytes(8, "big"))
        index += 1
    if waiting:
        batch.last = waiting[-1][0]
    return batch


def _registrations(waiting: Sequence[Waiting], runs: Sequence[Run]) -> Iterator[int]:
    """Against how many registry entries each was checked."""
    at = -1
    for number, _ in waiting:
        while at + 1 < len(runs) and runs[at + 1].first <= number:
            at += 1
        yield runs[at].registrations if at >= 0 else -1


def _label_prefix(head: bytes) -> bytes:
    return record_label_prefix(
        int.from_bytes(head[:4], "big"), int.from_bytes(head[4:6], "big"), int.from_bytes(head[10:], "big")
    )


def _check_again(
    origin: str, batch: Batch, index: int, raw: bytes, checked: int, day_count: Callable[[int, int], int]
) -> None:
    entry = decode_entry(raw)
    if isinstance(entry, Registry):
        register = batch.register.copy()
        register.add(index, raw)
        batch.register = register
        batch.registrations = checked + 1  # the number it was accepted under
        batch.placed.append((batch.registrations, index))
        return
    if not isinstance(entry, Record | Coverage):
        raise RuleBroken("index root", "made by the ledger alone")
    source = batch.register.signer(entry)
    if checked != batch.registrations and not verify_ed25519(
        source.key, entry.signature, signed_message(origin, raw)
    ):
        raise BadSignature("entry", "not signed by the key of the source in force")
    if isinstance(entry, Record):
        source.check_record(entry)
    else:
        source.check_coverage(entry)
        found = day_count(entry.source, entry.day) + batch.counts().get((entry.source, entry.day), 0)
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
