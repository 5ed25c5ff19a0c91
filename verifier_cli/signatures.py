"""Ed25519 signatures checked in other processes, many at a time.

An audit checks one signature an entry, each some 60 µs: more than all the rest of the entry costs. Jobs
travel packed into one string of bytes a chunk, because pickling lists of small objects would cost as
much as a tenth of the check.

    u16 length of the message ‖ key[32] ‖ signature[64] ‖ message
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from struct import Struct

from ledger.core.keys import verify_ed25519

CHUNK = 2_048  # signatures, about 0.12 s of work
_HEAD = Struct(">H32s64s")


class SignaturePool:
    """Checks signatures in `jobs` processes; at most a few chunks a process are under way at a time."""

    def __init__(self, jobs: int, chunk: int = CHUNK) -> None:
        # Spawned, not forked: the parent may have threads. They start while the parent reads the log.
        self._pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
        self._chunk = chunk
        self._limit = 3 * jobs
        self._packed: list[bytes] = []
        self._indices: list[int] = []
        self._running: deque[tuple[list[int], Future[list[int]]]] = deque()
        self._bad: list[int] = []

    def __enter__(self) -> "SignaturePool":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, index: int, key: bytes, signature: bytes, message: bytes) -> None:
        """Check this signature of entry `index`. Waits when too much is under way."""
        self._packed.append(_HEAD.pack(len(message), key, signature) + message)
        self._indices.append(index)
        if len(self._indices) >= self._chunk:
            self._send()

    def bad(self) -> Iterator[int]:
        """Indices of entries whose signature failed, of those known so far; each is given once."""
        while self._running and self._running[0][1].done():
            self._take()
        found, self._bad = self._bad, []
        yield from found

    def finish(self) -> list[int]:
        """Wait for all, and give the indices not given yet."""
        if self._indices:
            self._send()
        while self._running:
            self._take()
        found, self._bad = self._bad, []
        return found

    def _send(self) -> None:
        while len(self._running) >= self._limit:
            self._take()
        self._running.append((self._indices, self._pool.submit(check_packed, b"".join(self._packed))))
        self._packed, self._indices = [], []

    def _take(self) -> None:
        indices, future = self._running.popleft()
        self._bad += [indices[number] for number in future.result()]


def check_packed(packed: bytes) -> list[int]:
    """The numbers, counted from 0, of the jobs in `packed` whose signature is not good."""
    bad = []
    at = number = 0
    head, size = _HEAD.unpack_from, _HEAD.size
    while at < len(packed):
        length, key, signature = head(packed, at)
        at += size
        if not verify_ed25519(key, signature, packed[at : at + length]):
            bad.append(number)
        at += length
        number += 1
    return bad
