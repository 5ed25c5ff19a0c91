"""Several processes accept at once, and a sequencer works: each label once, each number once, nothing lost.

Each acceptor here has a thread and a connection pool of its own; to the database they are as processes are.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from engines import ENGINES, new_url
from smallledger import DAY, NOW, ORIGIN, SmallLedger, coverage, record, source_entry, statement, submission

from ledger.sequencer.run import Sequencer
from ledger.service.acceptance import Acceptance, Accepted, Duplicate, Outcome
from ledger.service.body import Submission
from ledger.service.problems import Refusal
from ledger.store import Store, inbox, log
from ledger.store.engine import run


@pytest.fixture(params=ENGINES)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallLedger]:
    small = SmallLedger(tmp_path, new_url(request.param, tmp_path))
    yield small
    small.close()


class Acceptor:
    """One `ledger serve`, without its HTTP."""

    def __init__(self, url: str) -> None:
        self.store = Store.open(url)
        self._acceptance = Acceptance(self.store, ORIGIN, 100_000)
        self._acceptance.refresh()

    def hand_in(self, submissions: list[Submission]) -> list[Outcome]:
        async def accept() -> list[Outcome]:
            return await self._acceptance.accept(submissions, NOW)

        return asyncio.run(accept())

    def close(self) -> None:
        self._acceptance.close()
        self.store.close()


def side_by_side(*works: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_the_same_entries_handed_to_three_at_once_are_in_the_log_twice_or_not_at_all(
    small: SmallLedger,
) -> None:
    submissions = [submission(record()) for _ in range(240)]
    raws = {item.entry for item in submissions}
    acceptors = [Acceptor(small.url) for _ in range(3)]
    accepting = threading.Event()
    answers: list[Outcome] = []

    def hand_in(acceptor: Acceptor, seed: int) -> None:
        ours = submissions.copy()
        random.Random(seed).shuffle(ours)
        for start in range(0, len(ours), 12):
            answers.extend(acceptor.hand_in(ours[start : start + 12]))

    def sequence() -> None:
        store = Store.open(small.url)
        sequencer = Sequencer(store, ORIGIN, 37)
        while not accepting.is_set() or sequencer.step() is not None:
            sequencer.step()
        store.close()

    sequencing = threading.Thread(target=sequence)
    sequencing.start()
    side_by_side(*[partial(hand_in, acceptor, seed) for seed, acceptor in enumerate(acceptors)])
    accepting.set()
    sequencing.join()
    for acceptor in acceptors:
        acceptor.close()
    assert len(answers) == 720
    assert all(isinstance(answer, Accepted | Duplicate) for answer in answers)
    records = [raw for raw in small.entries() if raw[1] == 1]
    assert len(records) == 240 and set(records) == raws
    assert small.violations() == []
    with small.store.read() as db:
        numbers = run(db, "SELECT number FROM entries").scalars().all()
        assert sorted(numbers) == [*range(1, len(numbers) + 1)]
        assert inbox.backlog(db) == 0
        assert run(db, "SELECT COUNT(*) FROM envelopes").scalar_one() == 240


def test_two_entries_of_one_label_are_both_accepted(small: SmallLedger) -> None:
    acceptors = [Acceptor(small.url) for _ in range(2)]
    answers: dict[int, list[Outcome]] = {}
    labels = [bytes([n]) * 32 for n in range(40)]

    def hand_in(n: int) -> None:
        answers[n] = [
            outcome
            for label in labels
            for outcome in acceptors[n].hand_in([submission(record(label=label, commitment=bytes([n]) * 32))])
        ]

    side_by_side(lambda: hand_in(0), lambda: hand_in(1))
    for acceptor in acceptors:
        acceptor.close()
    for first, second in zip(answers[0], answers[1], strict=True):
        (refused,) = [answer for answer in (first, second) if isinstance(answer, Refusal)]
        assert refused.code == "label-conflict"
    small.sequencer.step()
    assert small.violations() == []


def test_a_coverage_is_counted_wrong_while_a_batch_is_moved(small: SmallLedger) -> None:
    acceptor = Acceptor(small.url)
    ended = threading.Event()

    def sequence() -> None:
        store = Store.open(small.url)
        sequencer = Sequencer(store, ORIGIN, 3)
        while not ended.is_set():
            sequencer.step()
        while sequencer.step() is not None:
            pass
        store.close()

    sequencing = threading.Thread(target=sequence)
    sequencing.start()
    try:
        for day in range(DAY - 30, DAY):
            acceptor.hand_in([submission(record(day=day)) for _ in range(7)])
            wrong, right = acceptor.hand_in([submission(coverage(6, day)), submission(coverage(7, day))])
            assert isinstance(wrong, Refusal) and isinstance(right, Accepted), day
    finally:
        ended.set()
        sequencing.join()
        acceptor.close()
    assert small.violations() == []


def test_two_sources_registered_at_once_get_one_number(small: SmallLedger) -> None:
    acceptors = [Acceptor(small.url) for _ in range(2)]
    for number in range(2, 8):
        answers: dict[int, list[Outcome]] = {}

        def hand_in(at: int, number: int = number, answers: dict[int, list[Outcome]] = answers) -> None:
            stated = statement(f"source {number} of {at}")
            answers[at] = acceptors[at].hand_in(
                [submission(source_entry(number, stated)), submission(record())]
            )

        side_by_side(partial(hand_in, 0), partial(hand_in, 1))
        assert sum(isinstance(answers[at][0], Accepted) for at in (0, 1)) == 1
        assert all(isinstance(answers[at][1], Accepted) for at in (0, 1))
    for acceptor in acceptors:
        acceptor.close()
    small.sequencer.step()
    assert small.violations() == []
    with small.store.read() as db:
        assert [number for number, _, _ in log.read_registrations(db)] == list(range(1, 9))
