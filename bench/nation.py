"""The people of the simulated day (bench/day.py): departments that hand in, citizens who look up, each in a process.

Both know the plan of the day, which is made from a fixed seed: how many accesses each department has in each tick,
a tenth of an hour. Departments' sizes follow Zipf's law; the day has its low at night and its height at ten. A
department hands in what a tick brought, in a batch whose order is chance, and fetches and checks every receipt.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.checked import Department, Job
from bench.latency import Answered, Arrival, offer
from bench.load import request_of
from bench.logs import DAY, ORIGIN, bench_source
from bench.workers import Begin
from ledger.client.publiclog import IndexAnswer, Moved
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.entries import decode_entry, sign_coverage
from ledger.core.policy import Policy, parse_policy
from ledger.core.statements import parse_charter
from ledger.core.tiles import Tile
from ledger.department.sending import PAUSE, RECEIPTS_AT_ONCE

MOST = 1_000
BY_HOUR = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 20, 19, 17, 17, 18, 18, 16, 12, 8, 6, 5, 4, 3, 2)
"""Shares of a day's accesses, hour by hour."""

COVERED_AT = 2
"""The hour in which each source says how many records yesterday had."""

LABELS, PRESENT = 50, 10
"""Labels that a citizen's look-up asks for, and how many of them have an entry."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A day of so many `accesses` in `seconds`, at so many `departments`; `lookups` by citizens.

    It has `ticks`: after each, departments hand in what it brought.
    """

    accesses: int
    seconds: float
    departments: int
    lookups: int
    ticks: int

    def choose(self, chance: random.Random, count: int) -> list[int]:
        """So many ticks, as the hours of the day weigh."""
        hours = [BY_HOUR[tick * 24 // self.ticks] for tick in range(self.ticks)]
        return chance.choices(range(self.ticks), hours, k=count)

    def moment(self, tick: int, part: float = 0.0) -> float:
        """Seconds from the beginning of the day."""
        return (tick + part) * self.seconds / self.ticks

    def counts(self) -> list[list[int]]:
        """For each department, accesses in each tick."""
        chance = random.Random(1)
        sizes = [1 / rank for rank in range(1, self.departments + 1)]
        counts = [[0] * self.ticks for _ in sizes]
        of = chance.choices(range(self.departments), sizes, k=self.accesses)
        for department, tick in zip(of, self.choose(chance, self.accesses), strict=True):
            counts[department][tick] += 1
        return counts


def arrivals(plan: Plan) -> list[Arrival]:
    """Every request of the day with the moment in it, in order."""
    found = []
    for number, ticks in enumerate(plan.counts(), 1):
        source = bench_source(number)
        coverage = sign_coverage(ORIGIN, source.key, source=number, day=DAY - 1, records=0)
        at = plan.moment(COVERED_AT * plan.ticks // 24, random.random())
        found.append(Arrival(at, request_of([coverage], with_envelopes=False)))
        for tick, count in enumerate(ticks):
            # At a moment with some chance in it, as departments do.
            at = plan.moment(tick + 1, random.random())
            records = [source.record(random.randbytes(32), random.randbytes(32)) for _ in range(count)]
            for start in range(0, count, MOST):
                found.append(Arrival(at, request_of(records[start : start + MOST])))
    return sorted(found, key=lambda one: one.at)


@dataclass(slots=True)
class DayOf:
    """What one process tells of its day."""

    cpu: float = 0.0
    """CPU seconds that it took."""

    requests: Counter[str] = field(default_factory=Counter)
    sent_bytes: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    """Seconds of each request from when it was due: departments' until every receipt is checked, citizens' in all."""
    answered: list[tuple[float, int, float]] = field(default_factory=list)
    """Departments', request by request: when it was answered (by the monotonic clock), how many entries it had, and
    seconds since it was due."""


class CountedLog(UrlLog):
    """A published log over HTTP that counts what is asked of it, and the bytes that come back."""

    def __init__(self, url: str, tell: DayOf) -> None:
        super().__init__(url)
        self._tell = tell

    def _count(self, what: str, size: int) -> None:
        self._tell.requests[what] += 1
        self._tell.sent_bytes[what] += size

    def checkpoint(self) -> bytes:
        note = super().checkpoint()
        self._count("checkpoint", len(note))
        return note

    def tile(self, tile: Tile) -> bytes:
        data = super().tile(tile)
        self._count("tile", len(data))
        return data

    def index_proofs(self, labels: Sequence[bytes]) -> IndexAnswer:
        answer = super().index_proofs(labels)
        self._count(
            "index/proofs", len(answer.checkpoint) + sum(_in_base64(proof) for proof in answer.proofs)
        )
        return answer

    def envelopes(self, tokens: Sequence[bytes]) -> list[bytes | None]:
        found = super().envelopes(tokens)
        self._count("envelopes", sum(_in_base64(body) for body in found if body is not None))
        return found


def _in_base64(data: bytes) -> int:
    return 4 * ((len(data) + 2) // 3) + 3


def departments(job: Job, plan: Plan) -> Begin:
    """All departments' process."""
    day = arrivals(plan)
    return lambda: _live_as_departments(job, day)


def _live_as_departments(job: Job, day: Sequence[Arrival]) -> DayOf:
    tell, policy, charter = DayOf(), parse_policy(job.policy), parse_charter(job.charter)
    answered: queue.SimpleQueue[Answered] = queue.SimpleQueue()
    failed: list[Exception] = []

    def hand_in() -> None:
        try:
            for one in offer(job.ledger, day, answered=answered.put):
                tell.answered.append((one.due + one.seconds, len(one.request.entries), one.seconds))
                tell.requests["entries"] += 1
                tell.sent_bytes["entries"] += len(one.request.body)
        except Exception as error:
            failed.append(error)

    began, sending = time.process_time(), threading.Thread(target=hand_in)
    sending.start()
    department, log = Department(job), CountedLog(f"http://{job.public}", tell)
    awaiting: dict[bytes, float] = {}
    while sending.is_alive() or awaiting or not answered.empty():
        while not answered.empty():
            one = answered.get()
            department.check_answer(one.request, one.answer, charter)
            awaiting |= dict.fromkeys(one.request.entries, one.due)
        some = list(awaiting)[:RECEIPTS_AT_ONCE]
        missing = set(department.check_receipts(some, policy, log)) if some else set()
        now = time.monotonic()
        tell.took += [now - awaiting.pop(entry) for entry in some if entry not in missing]
        time.sleep(PAUSE)
        if failed:
            raise failed[0]
    sending.join()
    log.close()
    tell.cpu = time.process_time() - began
    return tell


def citizens(job: Job, plan: Plan, known: Sequence[tuple[bytes, bytes]]) -> Begin:
    """All citizens' process: each asks for LABELS labels, PRESENT of them `known` (entry, fetch token)."""
    return lambda: _live_as_citizens(job, plan, known)


def _live_as_citizens(job: Job, plan: Plan, known: Sequence[tuple[bytes, bytes]]) -> DayOf:
    tell, policy, chance = DayOf(), parse_policy(job.policy), random.Random(2)
    moments = sorted(plan.moment(tick, chance.random()) for tick in plan.choose(chance, plan.lookups))
    # One for all: that each has a TLS context of its own to make is their computers' work.
    log = CountedLog(f"http://{job.public}", tell)
    began, begun = time.process_time(), time.monotonic()
    for moment in moments:
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        chosen = chance.sample(known, min(PRESENT, len(known)))
        labels = [decode_entry(entry).index_label or b"" for entry, _ in chosen]
        labels += [chance.randbytes(32) for _ in range(LABELS - len(labels))]
        tokens = [token for _, token in chosen]
        while not _look_up(log, policy, labels, tokens):
            pass
        tell.took.append(time.monotonic() - begun - moment)
    tell.cpu = time.process_time() - began
    log.close()
    return tell


def _look_up(log: CountedLog, policy: Policy, labels: Sequence[bytes], tokens: Sequence[bytes]) -> bool:
    """Proofs, entries and envelopes, as `glassbook-verify mine` asks for them; False when the log moved on."""
    try:
        view = View.open(log, policy, int(time.time()))
        located = view.proofs(labels)
        view.entries(one.index for one in located if one.index is not None)
        if sum(one.index is not None for one in located) != len(tokens) or None in log.envelopes(tokens):
            raise RuntimeError("a look-up did not find what is in the log")
        return True
    except Moved:
        return False
