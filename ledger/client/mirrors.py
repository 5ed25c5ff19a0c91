"""Several copies of one log: each file from the first copy that gives the right one.

The checkpoint comes from the first copy, in the order given, that answers; what it names decides which files are
the right ones. Tiles and entry bundles are checked against it here already, up to its root, so that a copy that is
cut short, damaged or false costs a question and nothing else: it is left aside by name, for good when what it gave
is false, for a minute when it did not answer.

Nothing is believed on the word of this module: whoever reads checks the checkpoint's signatures, and every file
again. When no copy gives the right file, the reader gets a wrong one, and finds what is wrong with it.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

from ledger.client.publiclog import ClosableLog, IndexAnswer, Unreachable
from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.merkle import HASH_BYTES, leaf_hash, tree_root
from ledger.core.note import parse_note
from ledger.core.tiles import ENTRIES, FULL_WIDTH, MAX_LEVEL, Tile, TileHashes, decode_bundle, perfect_root

ASIDE_S = 60.0
"""Seconds for which a copy that did not answer is not asked again, unless no other is left."""
KEPT_TILES = 2048
"""Hash tiles kept to check others by: at most 16 MiB. The upper levels of a billion entries are fewer than 66,000."""

T = TypeVar("T")


class Mirrors:
    """`logs` read as one, the first preferred; `told` hears of each that is left aside. Safe for several threads."""

    def __init__(
        self,
        logs: Sequence[ClosableLog],
        told: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logs = list(logs)
        self._told = told
        self._clock = clock
        self._lock = threading.Lock()
        self._aside: dict[int, float] = {}  # number of a log → until when, infinity for good
        self._tree: _Tree | None = None
        self.complaints: list[str] = []
        """Each copy that was left aside, by name, and why."""

    @property
    def where(self) -> str:
        return self._logs[0].where

    def checkpoint(self) -> bytes:
        note = self._first(lambda log: log.checkpoint())
        self._stand_under(note)
        return note

    def tile(self, tile: Tile) -> bytes:
        tree = self._tree
        if tree is None or not tree.has(tile):
            # Of a tree that this has not seen the checkpoint of: whoever asks checks.
            return self._first(lambda log: log.tile(tile))
        return self._right(tree, tile)

    def index_proofs(self, labels: Sequence[bytes]) -> IndexAnswer:
        answer = self._first(lambda log: log.index_proofs(labels))
        self._stand_under(answer.checkpoint)
        return answer

    def envelopes(self, tokens: Sequence[bytes]) -> list[bytes | None] | None:
        """From the first copy that holds envelopes at all."""
        for number in self._usable():
            try:
                found = self._logs[number].envelopes(tokens)
            except (Unreachable, Malformed) as error:
                self._leave_aside(number, error)
                continue
            if found is not None:
                return found
        return None

    def close(self) -> None:
        for log in self._logs:
            log.close()

    def _stand_under(self, note: bytes) -> None:
        try:
            checkpoint = parse_checkpoint(parse_note(note).text)
        except GlassbookError:
            return  # the reader says what is wrong with it
        if self._tree is None or self._tree.checkpoint != checkpoint:
            self._tree = _Tree(checkpoint)

    def _usable(self) -> list[int]:
        """Numbers of the logs to ask, in order; those that did not answer last, those that lied only if all did."""
        now = self._clock()
        with self._lock:
            until = [(self._aside.get(number, 0.0), number) for number in range(len(self._logs))]
        ready = [number for when, number in until if when <= now]
        waiting = [number for when, number in until if now < when < float("inf")]
        # When none is left, it may be the checkpoint that is false: the reader is to see that.
        return [*ready, *waiting] or list(range(len(self._logs)))

    def _first(self, ask: Callable[[ClosableLog], T]) -> T:
        """The first answer there is."""
        failed: GlassbookError | None = None
        for number in self._usable():
            try:
                return ask(self._logs[number])
            except (Unreachable, Malformed) as error:
                failed = failed or error
                self._leave_aside(number, error)
        assert failed is not None  # each log either answered or failed
        raise failed

    def _right(self, tree: "_Tree", tile: Tile) -> bytes:
        """The file of this tree, from the first copy that has it."""
        failed: GlassbookError | None = None
        false: bytes | None = None
        for number in self._usable():
            log = self._logs[number]
            try:
                data = log.tile(tile)
            except (Unreachable, Malformed) as error:
                failed = failed or error
                self._leave_aside(number, error)
                continue
            if self._is_right(tree, tile, data, log):
                return data
            false = data if false is None else false
            self._leave_aside(
                number, Malformed(f"{log.where} {tile.path}", "is not the file that was signed"), True
            )
        if false is not None:
            return false
        assert failed is not None
        raise failed

    def _is_right(self, tree: "_Tree", tile: Tile, data: bytes, log: ClosableLog) -> bool:
        if tile.level == ENTRIES:
            return tree.fits_bundle(tile, data, self._right(tree, Tile(0, tile.n, tile.width)))
        if tree.on_edge(tile):
            # The edge is right or wrong as a whole: the rest of it is read from the same copy.
            return tree.fits_edge(tile, data, log)
        above = Tile(tile.level + 1, tile.n // FULL_WIDTH)
        above = Tile(above.level, above.n, tree.width(above))
        held = tree.kept(above)
        return tree.fits(tile, data, self._right(tree, above) if held is None else held)

    def _leave_aside(self, number: int, error: GlassbookError, false: bool = False) -> None:
        with self._lock:
            before = self._aside.get(number)
            until = float("inf") if false else self._clock() + ASIDE_S
            self._aside[number] = until if before is None else max(until, before)
        if before is None or (false and before < until):
            said = f"{self._logs[number].where} is left aside: {error}"
            self.complaints.append(said)
            if self._told is not None:
                self._told(said)


class _Tree:
    """The tree of one checkpoint, and those of its tiles that were found to be right."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._kept: OrderedDict[Tile, bytes] = OrderedDict()
        self._edge: dict[Tile, bytes] = {}
        self._lock = threading.Lock()
        level = 0
        while level <= MAX_LEVEL and checkpoint.size >> 8 * level:
            last = Tile(level, ((checkpoint.size >> 8 * level) - 1) // FULL_WIDTH)
            width = self.width(last)
            if width < FULL_WIDTH:
                self._edge[Tile(level, last.n, width)] = b""
            level += 1

    def width(self, tile: Tile) -> int:
        """Of the tile with this level and number, in this tree; 0 or less when there is none."""
        size = self.checkpoint.size >> 8 * max(0, tile.level)
        return min(FULL_WIDTH, size - FULL_WIDTH * tile.n)

    def has(self, tile: Tile) -> bool:
        """Whether the tile, as wide as it is, is one of this tree."""
        return self.width(tile) == tile.width

    def on_edge(self, tile: Tile) -> bool:
        return tile in self._edge

    def kept(self, tile: Tile) -> bytes | None:
        with self._lock:
            found = self._edge.get(tile) or self._kept.get(tile)
            if tile in self._kept:
                self._kept.move_to_end(tile)
            return found

    def fits_bundle(self, tile: Tile, data: bytes, hashes: bytes) -> bool:
        try:
            entries = decode_bundle(data, tile.width, tile.path)
        except Malformed:
            return False
        return b"".join([leaf_hash(raw) for raw in entries]) == hashes

    def fits(self, tile: Tile, data: bytes, above: bytes) -> bool:
        """Whether a full tile folds to its hash in the one above."""
        at = tile.n % FULL_WIDTH * HASH_BYTES
        if len(data) != FULL_WIDTH * HASH_BYTES or perfect_root(data) != above[at : at + HASH_BYTES]:
            return False
        with self._lock:
            self._kept[tile] = data
            while len(self._kept) > KEPT_TILES:
                self._kept.popitem(last=False)
        return True

    def fits_edge(self, tile: Tile, data: bytes, log: ClosableLog) -> bool:
        """Whether a tile of the edge is the one that leads to the root together with the others of the edge."""
        if self._edge[tile]:
            return data == self._edge[tile]
        read = {tile: data}

        def fetch(wanted: Tile) -> bytes:
            if wanted not in read:
                read[wanted] = log.tile(wanted)
            return read[wanted]

        try:
            root = tree_root(self.checkpoint.size, TileHashes(fetch, self.checkpoint.size))
        except GlassbookError:
            return False
        if root != self.checkpoint.root:
            return False
        with self._lock:
            self._edge.update({tile: data for tile, data in read.items() if tile in self._edge})
        # Every hash of the edge is in the root, so no part of what was read is anything else.
        return self._edge[tile] == data
