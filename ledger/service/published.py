"""Waiting for the publisher: one question to the store at a time, however many wait."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ledger.service.acceptance import Accepted, Duplicate, Outcome
from ledger.service.problems import RequestRefused, busy
from ledger.service.receipts import Receipts
from ledger.store import Store, StoreBusy, publication

POLL_S = 0.02
WAITERS = 200
"""Requests that may wait at a time: each keeps its labels, and then its receipts, in memory."""

WAITING_LABELS = 50_000

LAG_S, AGAIN_S = 3.0, 0.25
"""How long and how often a publisher is asked that has not seen yet what another one published: one that stands by
looks once a second."""


class PublishedSize:
    """The size of the published checkpoint, asked for only while somebody waits for it to grow."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._size = 0
        self._waiting: list[tuple[int, asyncio.Future[int]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._ended = False
        self.waiters = self.waiting_labels = 0

    def check_room(self) -> None:
        """Raises RequestRefused when as many wait as may."""
        if self.waiters >= WAITERS or self.waiting_labels >= WAITING_LABELS:
            raise busy(
                "too many wait for publication; hand it in without ?wait=published and ask for the receipts later",
                random.randint(1, 3),
                "waiters",
            )

    @contextlib.contextmanager
    def waiter(self, labels: int) -> Iterator[None]:
        """One more that waits, for so many."""
        self.waiters += 1
        self.waiting_labels += labels
        try:
            yield
        finally:
            self.waiters -= 1
            self.waiting_labels -= labels

    def end(self) -> None:
        """The process ends: nobody waits any longer; who does is answered what is known."""
        self._ended = True
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(TimeoutError())

    async def above(self, size: int) -> int:
        """The published size, once it is above `size`.  Raises TimeoutError when the process ends."""
        if self._size > size:
            return self._size
        if self._ended:
            raise TimeoutError
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await future

    async def _ask(self) -> None:
        try:
            while self._waiting:
                with contextlib.suppress(StoreBusy):  # asked again: whoever waits has a deadline of their own
                    self._size = max(self._size, await asyncio.to_thread(self._read))
                still = []
                for size, future in self._waiting:
                    if future.done():
                        continue
                    if self._size > size:
                        future.set_result(self._size)
                    else:
                        still.append((size, future))
                self._waiting = still
                await asyncio.sleep(POLL_S)
        finally:
            self._asking = None

    def _read(self) -> int:
        with self._store.read() as db:
            return publication.read_publication(db).published_size


@dataclass(frozen=True, slots=True)
class Waited:
    """What has become of entries, by label: where they stand in the log, and the receipts of those published."""

    indices: Mapping[bytes, int] = field(default_factory=dict)
    receipts: Mapping[bytes, object] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Nobody waited, or nothing came of it."""
        return not self.indices and not self.receipts


async def wait_published(
    outcomes: list[Outcome], size: PublishedSize, receipts: Receipts, wait_s: float
) -> Waited:
    """Wait until every accepted entry is published, at most `wait_s` seconds, and say how far each has come.

    Raises StoreBusy. Receipts that cannot be made just now are left out.
    """
    wanted = [outcome for outcome in outcomes if isinstance(outcome, Accepted | Duplicate)]
    if not wanted:
        return Waited()
    known = {outcome.label: outcome.at for outcome in wanted if isinstance(outcome, Duplicate)}
    numbers = {outcome.label: outcome.number for outcome in wanted if isinstance(outcome, Accepted)}
    deadline = time.monotonic() + wait_s
    seen = 0
    indices: dict[bytes, int] = {}
    while True:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                seen = await size.above(seen)
            ended = False
        except TimeoutError:
            ended = True
        index_of = await asyncio.to_thread(receipts.indices, numbers.values())
        indices = known | {label: index_of[number] for label, number in numbers.items() if number in index_of}
        if ended or (len(indices) == len(known) + len(numbers) and max(indices.values()) < seen):
            break
    published = {label: index for label, index in indices.items() if index < seen}
    found: dict[bytes, object] = {}
    patience = min(deadline, time.monotonic() + LAG_S)
    while True:
        lacking = {label: index for label, index in published.items() if label not in found}
        # When the publisher does not answer, what is known is said all the same.
        with contextlib.suppress(RequestRefused):
            found |= await _receipts(receipts, lacking)
        if len(found) == len(published) or time.monotonic() >= patience:
            return Waited(indices, found)
        await asyncio.sleep(AGAIN_S)


async def _receipts(receipts: Receipts, published: Mapping[bytes, int]) -> dict[bytes, object]:
    """The receipts of entries at these indices, by label; those that cannot be made just now are left out."""
    entries = await receipts.entries(list(published.values()))
    made = await receipts.receipts([(index, entries[index]) for index in published.values()])
    return {label: receipt for label, receipt in zip(published, made, strict=True) if receipt is not None}
