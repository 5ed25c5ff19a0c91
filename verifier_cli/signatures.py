"""Ed25519 signatures of entries checked in other processes, a batch at a time.

An audit checks one signature an entry, some 60 µs: as much as all the rest of the entry costs. Jobs travel as one
string of bytes a batch, key[32] ‖ entry after another, because pickling lists of small objects would cost a tenth
of the check itself. How long an entry is, its kind says: only records and coverages are signed by a source.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

from ledger.core.entries import COVERAGE_BYTES, RECORD, RECORD_BYTES, VERSION, signed_message
from ledger.core.keys import verify_ed25519
from ledger.core.replay import Job

KEY_BYTES = 32
WORTH_PROCESSES = 20_000
"""Signatures from which on processes are started: they take as long to start as these to check."""
BATCHES_AHEAD = 3
"""Batches a process that may be under way: more would only fill memory."""


class SignaturePool:
    """Checks batches in `jobs` processes and gives the answers back in the order of the batches.

    `expected` is how many signatures there will be about: for a few, threads are quicker than starting processes.
    """

    def __init__(self, origin: str, jobs: int, expected: int) -> None:
        self._origin = origin
        self._pool: Executor
        self._jobs = jobs
        self.has_processes = expected >= WORTH_PROCESSES
        if not self.has_processes:
            self._pool = ThreadPoolExecutor(jobs)
        else:
            # Spawned, not forked: the parent has threads. They start while the parent reads the log.
            self._pool = ProcessPoolExecutor(
                jobs, mp_context=get_context("spawn"), initializer=_belong_to_the_parent
            )
        self._limit = BATCHES_AHEAD * jobs
        self._running: deque[tuple[list[int], bytes, Future[list[int]]]] = deque()

    def __enter__(self) -> "SignaturePool":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End threads or processes; what is under way is lost."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Have the signatures of these entries checked."""
        indices = [index for index, _, _ in jobs]
        packed = b"".join([part for _, key, raw in jobs for part in (key, raw)])
        self._running.append((indices, packed, self._start(packed)))

    def answers(self, all_of_them: bool = False) -> Iterator[list[int]]:
        """For each batch answered since the last call, in order: the leaves whose signature failed.

        Waits while too many batches are under way; with `all_of_them`, for every one.
        """
        while self._running:
            enough = not all_of_them and len(self._running) < self._limit
            if enough and not self._running[0][2].done():
                return
            indices, packed, answer = self._running.popleft()
            try:
                found = answer.result()
            except BrokenProcessPool:
                found = self._start(packed).result()
            yield [indices[position] for position in found]

    def _start(self, packed: bytes) -> Future[list[int]]:
        try:
            return self._pool.submit(bad_positions, self._origin, packed)
        except BrokenProcessPool:
            # Killed, for want of memory perhaps. Threads are slower and need none: the audit goes on.
            self._pool, self.has_processes = ThreadPoolExecutor(self._jobs), False
            return self._pool.submit(bad_positions, self._origin, packed)


def _belong_to_the_parent() -> None:
    """Leave interrupts to the parent, and end with it: a killed one can tell nobody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def bad_positions(origin: str, packed: bytes) -> list[int]:
    """Which jobs in `packed`, counted from 0, have a signature that is not good."""
    bad = []
    at = position = 0
    # What stands before the 82 signed bytes of every record: almost all that is signed are records.
    prefix = signed_message(origin, bytes((VERSION, RECORD)) + bytes(RECORD_BYTES - 2))[:-82]
    while at < len(packed):
        entry = at + KEY_BYTES
        if packed[entry + 1] == RECORD:
            end = entry + RECORD_BYTES
            message = prefix + packed[entry : entry + 82]
        else:
            end = entry + COVERAGE_BYTES
            message = signed_message(origin, packed[entry:end])
        if not verify_ed25519(packed[at:entry], packed[end - 64 : end], message):
            bad.append(position)
        at = end
        position += 1
    return bad
