"""The engine of every audit: a published log replayed up to a checkpoint that the caller trusts.

    with Auditor(log, origin, jobs) as auditor:
        found = auditor.advance(replay, checkpoint, save=audit_file.save)

It knows no policy: `audit` and `watch` come with an opened checkpoint, a witness with one it has not cosigned yet.
What is published is compared with what was signed in both directions:

    entry bundles → leaf hashes → every hash tile → root      = the tiles published, the root signed
    entries → register, index, counts, signatures             = every rule of docs/formats.md (ledger.core.replay)

The main process replays; signatures are checked in other processes; files are read ahead by threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ledger.client.authentic import AuthenticTiles
from ledger.client.publiclog import PublicLog
from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.merkle import HASH_BYTES, leaf_hash
from ledger.core.replay import Replay, Summary, Violation
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle, grow_tiles
from verifier_cli.signatures import SignaturePool

BUNDLES_AT_ONCE = 8
"""Bundles replayed together: 2,048 entries, about 0.1 s of signatures."""
CHUNKS_AHEAD = 4


class Stopped(Exception):
    """The caller's `stop` was set; what was audited until then is saved."""


@dataclass(slots=True)
class Advanced:
    """What an audit up to `size` found that it had not found before.

    `of_log` are rules broken by entries proven under the signed root: the log's own doing. `of_copy` are files that
    are not those of the signed tree (kinds `bundle`, `tile`, `root`): the doing of whoever serves this copy, and of
    the log only if nobody serves another. `summary` is None when the copy did not give every entry: then nothing
    was saved beyond what it gave, and another copy can take the audit further.
    """

    size: int
    of_log: list[Violation] = field(default_factory=list)
    of_copy: list[Violation] = field(default_factory=list)
    summary: Summary | None = None

    @property
    def violations(self) -> list[Violation]:
        """All of them, in the order of the entries."""
        return sorted(self.of_log + self.of_copy)


class Auditor:
    """Audits one log as it grows, with processes for the signatures that are started once."""

    def __init__(self, log: PublicLog, origin: str, jobs: int) -> None:
        self._log = log
        self._origin = origin
        self._jobs = jobs

    def __enter__(self) -> Auditor:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def advance(
        self,
        replay: Replay,
        checkpoint: Checkpoint,
        *,
        save: Callable[[Replay], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
        stop: threading.Event | None = None,
        signed_from: int = 0,
    ) -> Advanced:
        """Replay entries replay.size … checkpoint.size − 1; `replay.newest` is set by the caller before.

        `save` is called now and then, and at the end. Signatures of entries below `signed_from` are not checked.
        Raises `Unreachable` for a file that is not there, `Stopped` once `stop` is set.
        """
        before = len(replay.violations)
        found = Advanced(replay.size)
        published = _Published(self._log, checkpoint.size)
        with SignaturePool(self._origin, self._jobs, checkpoint.size - max(replay.size, signed_from)) as pool:
            try:
                for entries, tiles in _chunks(self._log, checkpoint.size):
                    if stop is not None and stop.is_set():
                        raise Stopped
                    published.compare(entries, tiles)
                    pool.submit([job for job in replay.feed_many(entries) if job[0] >= signed_from])
                    for bad in pool.answers():
                        replay.report(bad)
                    if progress is not None:
                        progress(replay.size, checkpoint.size)
                for bad in pool.answers(all_of_them=True):
                    replay.report(bad)
                found.summary = replay.finish()
            except _Unreadable as unreadable:
                found.of_copy.append(unreadable.violation)
        found.size = replay.size
        found.of_log = replay.violations[before:]
        found.of_copy += published.violations
        if found.summary is not None and found.summary.root != checkpoint.root:
            found.summary = None
            # The entries read are not the log that was signed. Where it can be told which of them are not, the rules
            # broken by the others are of no interest: this is a false copy, and not a log that breaks rules.
            false = _false_entries(self._log, checkpoint, published)
            if false:
                found.of_copy, found.of_log = false, []
            else:
                what = f"the entries do not lead to the root signed for size {checkpoint.size}"
                found.of_copy.append(Violation(checkpoint.size - 1, "root", "§6", what))
        elif found.summary is not None and save is not None:
            save(replay)
        return found


def advance(
    log: PublicLog,
    replay: Replay,
    checkpoint: Checkpoint,
    *,
    jobs: int,
    save: Callable[[Replay], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    signed_from: int = 0,
) -> Advanced:
    """`Auditor.advance`, for whoever audits once."""
    with Auditor(log, replay.origin, jobs) as auditor:
        return auditor.advance(
            replay, checkpoint, save=save, progress=progress, stop=stop, signed_from=signed_from
        )


class _Unreadable(Exception):
    """A published file is not of its format: the replay cannot go on."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.detail)
        self.violation = violation


class _Published:
    """The tree recomputed from the entries, compared with every hash tile published."""

    def __init__(self, log: PublicLog, size: int) -> None:
        self._size = size
        self._done = 0
        self._edge: dict[int, bytes] = {}
        self._log = log
        self.suspects: list[int] = []
        """Numbers of level-0 tiles that do not hold what the bundle over them does."""
        self.violations: list[Violation] = []

    def compare(self, entries: list[bytes], level0: dict[Tile, bytes]) -> None:
        """Take the next entries; `level0` are the published tiles over them, the others are fetched here."""
        hashes = [leaf_hash(raw) for raw in entries]
        for tile, content in grow_tiles(self._done, self._edge, hashes):
            if tile.width < FULL_WIDTH:
                # Still growing: compared when all entries are in.
                self._edge[tile.level] = content
            else:
                self._edge.pop(tile.level, None)
                self._check(tile, content, level0)
        self._done += len(entries)
        if self._done == self._size:
            for level, content in self._edge.items():
                last = ((self._size >> 8 * level) - 1) // FULL_WIDTH
                self._check(Tile(level, last, len(content) // HASH_BYTES), content, level0)

    def _check(self, tile: Tile, content: bytes, level0: dict[Tile, bytes]) -> None:
        given = level0[tile] if tile.level == 0 else self._log.tile(tile)
        if given != content:
            self._differs(tile, content, given)

    def _differs(self, tile: Tile, content: bytes, given: bytes) -> None:
        slots = range(0, max(len(content), len(given)), 32)
        slot = next(at // 32 for at in slots if content[at : at + 32] != given[at : at + 32])
        index = (tile.n * FULL_WIDTH + slot) << 8 * tile.level
        what = f"{tile.path} does not hold the hashes of the entry bundles, from its hash {slot} on"
        self.violations.append(Violation(index, "tile", "§6", what))
        if tile.level == 0:
            self.suspects.append(tile.n)


def _false_entries(log: PublicLog, checkpoint: Checkpoint, published: _Published) -> list[Violation]:
    """Entries of bundles that are not those of the tree signed; none when the tiles published are not its either."""
    found = []
    tiles = AuthenticTiles(log.tile, checkpoint.size, checkpoint.root, log.where)
    try:
        for n in published.suspects:
            width = min(FULL_WIDTH, checkpoint.size - n * FULL_WIDTH)
            bundle = Tile(ENTRIES, n, width)
            for slot, raw in enumerate(decode_bundle(log.tile(bundle), width, bundle.path)):
                index = n * FULL_WIDTH + slot
                if leaf_hash(raw) != tiles.leaf_hash(index):
                    what = f"{bundle.path} holds another entry here than the tree signed"
                    found.append(Violation(index, "bundle", "§6", what))
    except GlassbookError:
        return []
    return found


def _chunks(log: PublicLog, size: int) -> Iterator[tuple[list[bytes], dict[Tile, bytes]]]:
    """Entries in order with the level-0 tiles over them, read ahead by threads."""
    numbers = range(0, (size + FULL_WIDTH - 1) // FULL_WIDTH, BUNDLES_AT_ONCE)
    with ThreadPoolExecutor(CHUNKS_AHEAD) as threads:
        waiting: deque[Future[tuple[list[bytes], dict[Tile, bytes]]]] = deque()
        for number in numbers:
            waiting.append(threads.submit(_read_chunk, log, size, number))
            if len(waiting) > CHUNKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read_chunk(log: PublicLog, size: int, first: int) -> tuple[list[bytes], dict[Tile, bytes]]:
    entries: list[bytes] = []
    tiles = {}
    for n in range(first, min(first + BUNDLES_AT_ONCE, (size + FULL_WIDTH - 1) // FULL_WIDTH)):
        width = min(FULL_WIDTH, size - n * FULL_WIDTH)
        bundle = Tile(ENTRIES, n, width)
        try:
            entries += decode_bundle(log.tile(bundle), width, bundle.path)
        except Malformed as error:
            raise _Unreadable(Violation(n * FULL_WIDTH, "bundle", "§6", str(error))) from None
        tile = Tile(0, n, width)
        tiles[tile] = log.tile(tile)
    return entries, tiles
