"""Departments that check everything: each in a process of its own, with its own source, requests and connections.

Each hands its requests in, verifies every promise in the answers as it comes, and fetches and checks the receipt of
every entry from the published log, by the functions that the department's agent calls. What the agent does besides
(outbox, files) is not here.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.load import Prepared, prepare, send_all
from bench.logs import bench_source
from bench.operator import Operator
from bench.workers import Begin, Workers
from ledger.client.publiclog import Moved
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.jose import parse_json
from ledger.core.merkle import leaf_hash
from ledger.core.policy import Policy, parse_policy
from ledger.core.receipt import Receipt, ReceiptChecker
from ledger.core.statements import Charter, parse_charter
from ledger.department.handin import Answer
from ledger.department.promises import check_promises
from ledger.department.sending import RECEIPTS_AT_ONCE

PATIENCE_S = 120
LOOK_S = 0.05
PROMISES, FETCHING, CHECKING = "promises", "receipts fetched and made", "receipts checked"
REST = "sending and all else"


class Sent(NamedTuple):
    """An entry that was handed in, as `check_promises` takes it."""

    entry: bytes
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """What one department has to know."""

    source: int
    ledger: str
    public: str
    policy: bytes
    charter: bytes
    connections: int = 1


def checking(operator: Operator, departments: int, each: int, batch: int, connections: int) -> Workers:
    """So many departments with their requests ready, `each` entries in requests of `batch`, sharing the connections.

    Each tells its CPU seconds by what they were spent on.
    """
    policy = (operator.home / "policy.txt").read_bytes()
    jobs = [
        Job(
            number,
            operator.ledger,
            operator.public,
            policy,
            operator.charter,
            max(1, connections // departments),
        )
        for number in range(1, departments + 1)
    ]
    return Workers([(_ready, (job, [batch] * (each // batch))) for job in jobs])


def _ready(job: Job, sizes: Sequence[int]) -> Begin:
    requests = prepare(bench_source(job.source), sizes)
    return lambda: Department(job).run(requests)


@dataclass(slots=True)
class Department:
    """One department at work."""

    job: Job
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    looked_at: bytes = b""
    """The checkpoint under which some receipts were not there yet. They come under a later one; until then nobody
    is asked, also for entries accepted meanwhile."""

    def run(self, requests: Sequence[Prepared]) -> dict[str, float]:
        """CPU seconds by what they were spent on, once every promise and every receipt is checked."""
        job, begun = self.job, time.process_time()
        policy = parse_policy(job.policy)
        charter = parse_charter(job.charter)
        log = UrlLog(f"http://{job.public}")
        answers: queue.SimpleQueue[tuple[Prepared, bytes]] = queue.SimpleQueue()
        failed: list[Exception] = []

        def send() -> None:
            try:
                send_all([job.ledger], job.connections, requests, lambda *answer: answers.put(answer))
            except Exception as error:
                failed.append(error)

        sending = threading.Thread(target=send)
        sending.start()
        awaiting: deque[bytes] = deque()
        answered = 0
        deadline = time.monotonic() + PATIENCE_S
        while answered < len(requests) or awaiting:
            if failed:
                raise failed[0]
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(awaiting)} receipts are missing after {PATIENCE_S} s")
            try:
                soon = len(awaiting) >= RECEIPTS_AT_ONCE and not self.looked_at
                request, answer = answers.get(timeout=0 if soon else LOOK_S)
            except queue.Empty:
                pass
            else:
                self.check_answer(request, answer, charter)
                awaiting.extend(request.entries)
                answered += 1
            if awaiting and (len(awaiting) >= RECEIPTS_AT_ONCE or answered == len(requests)):
                some = [awaiting.popleft() for _ in range(min(len(awaiting), RECEIPTS_AT_ONCE))]
                missing = self.check_receipts(some, policy, log)
                awaiting.extendleft(reversed(missing))
        sending.join()
        log.close()
        self.spent[REST] = time.process_time() - begun - sum(self.spent.values())
        return dict(self.spent)

    def check_answer(self, request: Prepared, answer: bytes, charter: Charter) -> None:
        """Every entry of the request was promised to be published. RuntimeError otherwise."""
        with self.spending(PROMISES):
            results = parse_json(answer, "answer")["results"]
            answers = [Answer(True, promise=one["promise"].encode(), due=True) for one in results]
            sent = [Sent(entry, leaf_hash(entry)) for entry in request.entries]
            arrived = check_promises(zip(sent, answers, strict=True), charter, int(time.time()))
        if arrived.bad:
            raise RuntimeError(f"{arrived.bad} promises are not good: {arrived.why}")

    def check_receipts(self, entries: Sequence[bytes], policy: Policy, log: UrlLog) -> list[bytes]:
        """Fetch and check the receipts of these entries; those that have none yet."""
        with self.spending(FETCHING):
            now = int(time.time())
            try:
                note = log.checkpoint()
                if note == self.looked_at:
                    return list(entries)
                view = View(log, policy, note, now)
                receipts = view.receipts_of(entries)
            except Moved:
                return list(entries)
        with self.spending(CHECKING):
            checker = view.checker()
            missing = [
                entry
                for entry, receipt in zip(entries, receipts, strict=True)
                if not self.is_receipt(receipt, entry, checker)
            ]
            self.looked_at = view.note if missing else b""
            return missing

    def is_receipt(self, receipt: Receipt | None, entry: bytes, checker: ReceiptChecker) -> bool:
        """Whether there is one; it was checked then. Raises what `check_receipt` does."""
        if receipt is None:
            return False
        if receipt.entry != entry:
            raise RuntimeError("a receipt is for another entry")
        checker.check(receipt)
        return True

    @contextmanager
    def spending(self, what: str) -> Any:
        """Count the CPU time that this thread takes meanwhile."""
        begun = time.thread_time()
        yield
        self.spent[what] += time.thread_time() - begun
