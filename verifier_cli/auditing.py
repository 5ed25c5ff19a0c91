"""The engine of every audit: a published log replayed up to a checkpoint that the caller trusts.

    with Auditor(log, origin, jobs) as auditor:
        found = auditor.advance(replay, checkpoint, save=audit_file.save)

It knows no policy: `audit` and `watch` come with an opened checkpoint, a witness with one it has not cosigned yet.
Every file over the new entries is read once, and held against the signed root before anything in it counts:

    root → hash tiles, level by level → leaf hashes = those of the entries     (verifier_cli.signedtree)
    entries → register, index, counts, signatures = every rule                 (ledger.core.replay)

So what is found wrong with an entry is the log's doing, and what is found wrong with a file is that of whoever
serves the copy; and what is saved between is never more than what the log has signed. Where an audit goes on from
one that was saved, the tree saved must be the beginning of the tree signed now.

The main process replays; signatures are checked in other processes; files are read ahead by threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

from ledger.client.publiclog import PublicLog, Unreachable
from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.replay import Replay, Summary, Violation
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile
from verifier_cli.signatures import WORTH_PROCESSES, SignaturePool
from verifier_cli.signedtree import Bundle, NotTheSignedTree, SignedTree, begins_with

BUNDLES_AT_ONCE = 8
"""Bundles replayed together: 2,048 entries, about 0.1 s of signatures."""
CHUNKS_AHEAD = 4
SAVE_SECONDS = 30.0
SAVE_ENTRIES = 500_000
"""What is saved: at the latest after so many seconds or entries, at the end, and when the audit cannot go on."""

Save = Callable[[Replay], None]
Progress = Callable[[int, int], None]
"""Called with the entries audited, and all there are."""

_Chunk = list[tuple[int, bytes | None, bytes | None]]
"""Number of a bundle, its file, and the level-0 tile over it; None for a file that is longer than it can be."""


class Stopped(Exception):
    """The caller's `stop` was set; what was audited until then is saved."""


@dataclass(slots=True)
class Advanced:
    """What an audit up to `size` found that it had not found before.

    `of_log` are rules broken by entries proven under the signed root: the log's own doing. `of_copy` are files that
    are not those of the signed tree (kinds `bundle`, `tile`, `root`): the doing of whoever serves this copy, and of
    the log only if nobody serves another.

    `summary` is None when the copy did not give every entry. Then rules were checked as far as they do not depend on
    what is missing, nothing beyond was saved, and the replay is not to be used any further: loaded anew, it goes on
    with a better copy.
    """

    size: int
    of_log: list[Violation] = field(default_factory=list)
    of_copy: list[Violation] = field(default_factory=list)
    summary: Summary | None = None
    copy_left_out: int = 0
    """False files and entries of the copy that are only counted, being too many."""

    @property
    def violations(self) -> list[Violation]:
        """All of them, in the order of the entries."""
        return sorted(self.of_log + self.of_copy)


class Auditor:
    """Audits one log as it grows, with `jobs` processes for the signatures that are started once, when worth it."""

    def __init__(self, log: PublicLog, origin: str, jobs: int) -> None:
        self._log = log
        self._origin = origin
        self._jobs = jobs
        self._pool: SignaturePool | None = None

    def __enter__(self) -> Auditor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def advance(
        self,
        replay: Replay,
        checkpoint: Checkpoint,
        *,
        save: Save | None = None,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        signed_from: int = 0,
    ) -> Advanced:
        """Replay entries replay.size … checkpoint.size − 1; `replay.newest` is set by the caller before.

        `save` is called now and then, and at the end. Signatures of entries below `signed_from` are not checked,
        and then nothing may be saved. Raises `Unreachable` for a file that is not there and `Stopped` once `stop`
        is set, both after a save; `ProofRefuted` when the log is not the one whose first entries were audited.
        """
        if signed_from > replay.size and save is not None:
            raise ValueError("an audit that leaves signatures out is not one to save")
        if not replay.settled:
            raise ValueError("this replay was cut off in the middle; load it again")
        if replay.size > checkpoint.size:
            what = f"{replay.size} entries were audited before, more than the {checkpoint.size} there are now"
            raise Malformed(f"log {checkpoint.origin}", what)
        run = _Run(self._log, replay, checkpoint, self._pool_for(checkpoint.size - replay.size), save)
        run.signed_from = signed_from
        try:
            run.check_start()
            for bundles in run.chunks():
                if stop is not None and stop.is_set():
                    raise Stopped
                run.take(bundles)
                if progress is not None:
                    progress(replay.size, checkpoint.size)
        except NotTheSignedTree as lost:
            run.lost = lost
        except (Unreachable, Stopped):
            run.settle()
            run.save()
            raise
        except BaseException:
            # What is under way belongs to a replay that ends here.
            self.close()
            raise
        return run.end()

    def _pool_for(self, entries: int) -> SignaturePool:
        pool = self._pool
        if pool is not None and entries >= WORTH_PROCESSES and not pool.has_processes:
            self.close()
        if self._pool is None:
            self._pool = SignaturePool(self._origin, self._jobs, entries)
        return self._pool


def advance(
    log: PublicLog,
    replay: Replay,
    checkpoint: Checkpoint,
    *,
    jobs: int,
    save: Save | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    signed_from: int = 0,
) -> Advanced:
    """`Auditor.advance`, for whoever audits once."""
    with Auditor(log, replay.origin, jobs) as auditor:
        return auditor.advance(
            replay, checkpoint, save=save, progress=progress, stop=stop, signed_from=signed_from
        )


class _Run:
    """One advance: what it reads, feeds, and has found."""

    def __init__(
        self, log: PublicLog, replay: Replay, checkpoint: Checkpoint, pool: SignaturePool, save: Save | None
    ) -> None:
        self.replay = replay
        self.signed_from = 0
        self.lost: NotTheSignedTree | None = None
        self._log = log
        self._checkpoint = checkpoint
        self._pool = pool
        self._save = save
        self._tree = SignedTree(log, checkpoint)
        self._known = len(replay.violations)
        self._saved_at = time.monotonic()
        self._saved_size = replay.size

    def check_start(self) -> None:
        """What was audited before must be how the tree signed now begins."""
        frontier = self.replay.frontier
        if not begins_with(self._tree, frontier.size, frontier.hashes):
            raise ProofRefuted(
                f"log {self._checkpoint.origin}",
                f"its first {frontier.size} entries are not those that were audited before",
                size=frontier.size, root=frontier.root(), new_size=self._checkpoint.size,
                new_root=self._checkpoint.root,
            )  # fmt: skip

    def chunks(self) -> Iterator[list[Bundle]]:
        """The entries still to be replayed, bundle by bundle, as they are under the signed root."""
        with closing(_read_ahead(self._log, self.replay.size, self._checkpoint.size)) as chunks:
            for chunk in chunks:
                yield [self._tree.bundle(n, data, tile) for n, data, tile in chunk]

    def take(self, bundles: Sequence[Bundle]) -> None:
        """Replay these bundles."""
        replay = self.replay
        if replay.first_missing is None and any(None in bundle.entries for bundle in bundles):
            # The last moment at which there is something to save.
            self.settle()
            self.save()
        first = bundles[0]
        skipped = replay.size - first.start
        entries: list[bytes | None] = []
        hashes = bytearray()
        subtrees = {}
        for bundle in bundles:
            entries += bundle.entries
            hashes += bundle.hashes if bundle.hashes is not None else bytes(32 * len(bundle.entries))
            if bundle.root is not None:
                subtrees[bundle.start] = bundle.root
        if skipped:
            entries, hashes = entries[skipped:], hashes[32 * skipped :]
        jobs = replay.feed_many(entries, bytes(hashes), subtrees)
        if self.signed_from:
            jobs = [job for job in jobs if job[0] >= self.signed_from]
        self._pool.submit(jobs)
        for bad in self._pool.answers():
            replay.report(bad)
        if (
            replay.size - self._saved_size >= SAVE_ENTRIES
            or time.monotonic() - self._saved_at >= SAVE_SECONDS
        ):
            self.settle()
            self.save()

    def settle(self) -> None:
        """Wait for all signatures under way."""
        for bad in self._pool.answers(all_of_them=True):
            self.replay.report(bad)

    def save(self) -> None:
        """Keep how far it has come, unless something is missing."""
        if self._save is not None and self.replay.first_missing is None:
            self._save(self.replay)
            self._saved_at, self._saved_size = time.monotonic(), self.replay.size

    def end(self) -> Advanced:
        """What it came to."""
        self.settle()
        found = Advanced(self.replay.size)
        if self.lost is None:
            summary = self.replay.finish()
            if self.replay.first_missing is None:
                found.summary = summary
        self.save()
        found.of_log = sorted(self.replay.violations[self._known :])
        found.of_copy, found.copy_left_out = self._tree.false, self._tree.untold
        if self.lost is not None:
            found.of_copy.append(self._lost_there(self.lost))
        found.of_copy.sort()
        return found

    def _lost_there(self, lost: NotTheSignedTree) -> Violation:
        size = self._checkpoint.size
        if lost.level is None:
            what = f"neither tiles nor entries lead to the root signed for size {size}"
            return Violation(size - 1, "root", "§6", what)
        path = Tile(lost.level, lost.n).path
        what = f"{path}: neither it nor what stands below it leads to the root signed"
        return Violation((lost.n * FULL_WIDTH) << 8 * lost.level, "tile", "§6", what)


def _read_ahead(log: PublicLog, start: int, size: int) -> Generator[_Chunk, None, None]:
    """The files over entries start … size − 1, read ahead by threads."""
    numbers = range(start // FULL_WIDTH, (size + FULL_WIDTH - 1) // FULL_WIDTH)
    threads = ThreadPoolExecutor(CHUNKS_AHEAD)
    try:
        waiting: deque[Future[_Chunk]] = deque()
        for at in range(0, len(numbers) if start < size else 0, BUNDLES_AT_ONCE):
            waiting.append(threads.submit(_read_chunk, log, size, numbers[at : at + BUNDLES_AT_ONCE]))
            if len(waiting) > CHUNKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _read_chunk(log: PublicLog, size: int, numbers: range) -> _Chunk:
    chunk = []
    for n in numbers:
        width = min(FULL_WIDTH, size - n * FULL_WIDTH)
        chunk.append((n, _read(log, Tile(ENTRIES, n, width)), _read(log, Tile(0, n, width))))
    return chunk


def _read(log: PublicLog, tile: Tile) -> bytes | None:
    try:
        return log.tile(tile)
    except Malformed:
        return None
