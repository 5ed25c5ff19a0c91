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
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from types import TracebackType
from typing import Any, NamedTuple

from bench.load import Prepared, prepare, send_all
from bench.logs import bench_source
from bench.operator import Operator
from ledger.client.publiclog import Moved
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.entries import decode_entry
from ledger.core.jose import parse_json
from ledger.core.merkle import leaf_hash
from ledger.core.policy import parse_policy
from ledger.core.receipt import Receipt, check_receipt
from ledger.core.statements import Charter, parse_charter
from ledger.department.handin import Answer
from ledger.department.promises import check_promises
from ledger.department.sending import PAUSE, RECEIPTS_AT_ONCE

PATIENCE_S = 120
PROMISES, FETCHING, CHECKING = "promises", "receipts fetched and made", "receipts checked"
REST = "sending and all else"


class Sent(NamedTuple):
    """An entry that was handed in, as `check_promises` takes it."""

    entry: bytes
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class Job:
    """What one department does: `batches` requests of `batch` entries each."""

    source: int
    ledger: str
    public: str
    policy: bytes
    charter: bytes
    batches: int
    batch: int
    connections: int


class Checking:
    """Departments with their requests ready; `run` lets them go, and leaving the block ends them."""

    def __init__(self, operator: Operator, departments: int, each: int, batch: int, connections: int) -> None:
        self._jobs = [
            Job(
                number,
                operator.ledger,
                operator.public,
                (operator.home / "policy.txt").read_bytes(),
                operator.charter,
                each // batch,
                batch,
                max(1, connections // departments),
            )
            for number in range(1, departments + 1)
        ]
        self._pipes: list[Any] = []
        self._processes: list[Any] = []

    def __enter__(self) -> Checking:
        context = get_context("spawn")
        try:
            for job in self._jobs:
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, job), daemon=True)
                process.start()
                theirs.close()
                self._pipes.append(ours)
                self._processes.append(process)
            for pipe in self._pipes:
                pipe.recv()
        except BaseException:
            self._end()
            raise
        return self

    def run(self) -> dict[str, float]:
        """Let all begin; once all have checked everything, the CPU seconds of all by what they were spent on."""
        for pipe in self._pipes:
            pipe.send("go")
        spent: dict[str, float] = defaultdict(float)
        for pipe in self._pipes:
            found = pipe.recv()
            if isinstance(found, str):
                raise RuntimeError(found)
            for what, seconds in found.items():
                spent[what] += seconds
        return dict(spent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()


def _work(pipe: Pipe, job: Job) -> None:
    """What a department's process does."""
    requests = prepare(bench_source(job.source), [job.batch] * job.batches)
    pipe.send("ready")
    try:
        pipe.recv()
        found: object = Department(job).run(requests)
    except EOFError:
        return
    except Exception as error:
        found = f"a department could not check everything: {type(error).__name__}: {error}"
    pipe.send(found)
    try:
        pipe.recv()  # its CPU time is read while it still runs
    except EOFError:
        pass


@dataclass(slots=True)
class Department:
    """One department at work."""

    job: Job
    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def run(self, requests: Sequence[Prepared]) -> dict[str, float]:
        """CPU seconds by what they were spent on, once every promise and every receipt is checked."""
        job, begun = self.job, time.process_time()
        policy = parse_policy(job.policy)
        charter = parse_charter(job.charter)
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
                request, answer = answers.get(timeout=PAUSE if len(awaiting) < RECEIPTS_AT_ONCE else 0)
            except queue.Empty:
                pass
            else:
                self.check_answer(request, answer, charter)
                awaiting.extend(request.entries)
                answered += 1
            if awaiting and (len(awaiting) >= RECEIPTS_AT_ONCE or answered == len(requests)):
                some = [awaiting.popleft() for _ in range(min(len(awaiting), RECEIPTS_AT_ONCE))]
                missing = self.check_receipts(some, policy)
                awaiting.extendleft(reversed(missing))
                if len(missing) == len(some):
                    time.sleep(PAUSE)
        sending.join()
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

    def check_receipts(self, entries: Sequence[bytes], policy: Any) -> list[bytes]:
        """Fetch and check the receipts of these entries; those that have none yet."""
        with self.spending(FETCHING):
            now = int(time.time())
            log = UrlLog(f"http://{self.job.public}")
            try:
                view = View.open(log, policy, now)
                labels = [decode_entry(entry).index_label or b"" for entry in entries]
                receipts = view.receipts(labels)
            except Moved:
                return list(entries)
            finally:
                log.close()
        with self.spending(CHECKING):
            return [
                entry
                for entry, receipt in zip(entries, receipts, strict=True)
                if not self.is_receipt(receipt, entry, view)
            ]

    def is_receipt(self, receipt: Receipt | None, entry: bytes, view: View) -> bool:
        """Whether there is one; it was checked then. Raises what `check_receipt` does."""
        if receipt is None:
            return False
        if receipt.entry != entry:
            raise RuntimeError("a receipt is for another entry")
        check_receipt(receipt, view.policy, view.now, view.opened)
        return True

    @contextmanager
    def spending(self, what: str) -> Any:
        """Count the CPU time that this thread takes meanwhile."""
        begun = time.thread_time()
        yield
        self.spent[what] += time.thread_time() - begun
