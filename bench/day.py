"""A nation's day at a thousandth: 100,000 accesses of the 100 million, in a minute, on one log (docs/scaling.md).

Everything is a process of its own: the log as `up` runs it, a witness, an auditor that follows over HTTP, departments
and citizens (bench/nation.py). At the end `glassbook-verify audit` reads the whole log, and its count of records is
compared with what departments have checked receipts of.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.checked import Job
from bench.figures import Figure, Report
from bench.latency import percentile
from bench.load import prepare, send_all
from bench.logs import bench_source
from bench.nation import DayOf, Plan, citizens, departments
from bench.operator import Operator
from bench.processes import CpuWindow, memory_by_role
from bench.storage import stored
from bench.workers import Workers
from ledger.core.encoding import b64encode

ACCESSES = 100_000
SECONDS = 60.0
DEPARTMENTS = 20
LOOKUPS = 500
TICKS = 240
KNOWN = 1_000
FOLLOW_S = 2


def measure(report: Report, scale: float) -> None:
    """The day, and what it came to; with a smaller `scale` fewer accesses in as much less time."""
    plan = Plan(
        max(1000, int(ACCESSES * scale)),
        max(5.0, SECONDS * scale),
        DEPARTMENTS,
        max(20, int(LOOKUPS * scale)),
        max(24, int(TICKS * scale)),
    )
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder, Operator(Path(folder)) as operator:
        sources = [bench_source(number) for number in range(1, DEPARTMENTS + 1)]
        operator.post(
            [{"entry": b64encode(operator.registration(source))} for source in sources], "?wait=published"
        )
        before = prepare(sources[0], [KNOWN])
        send_all([operator.ledger], 1, before)
        known = [
            (entry, token) for one in before for entry, token in zip(one.entries, one.tokens, strict=True)
        ]
        time.sleep(2.0)
        begin = stored(operator)
        with Follower(operator, Path(folder)), Looking(operator) as looking:
            told = _live(operator, plan, known)
            spent, memory = (
                told.cpu,
                sum(map(sum, memory_by_role(operator.up.pid).values())) if operator.up else 0.0,
            )
        _say(report, plan, told, looking)
        report.add(Figure("day: resident, the log's processes together", memory, "MiB"))
        end = stored(operator)
        for what, more in (
            ("the database without envelopes", end.database - begin.database),
            ("envelopes", end.envelopes - begin.envelopes),
            ("public files", end.public - begin.public),
        ):
            report.add(Figure(f"day: storage, {what}", more / plan.accesses, "bytes/access"))
        report.add_cpu("day", spent, plan.accesses)
        _audit(report, operator, Path(folder), plan.accesses + KNOWN)


@dataclass(slots=True)
class Told:
    """What the processes of the day told."""

    departments: DayOf
    citizens: DayOf
    cpu: dict[str, float]


def _live(operator: Operator, plan: Plan, known: list[tuple[bytes, bytes]]) -> Told:
    """Let departments and citizens prepare, then live their day."""
    policy = (operator.home / "policy.txt").read_bytes()
    job = Job(1, operator.ledger, operator.public, policy, operator.charter)
    with Workers([(departments, (job, plan)), (citizens, (job, plan, known))]) as people:
        cpu = CpuWindow()
        theirs, ours = people.run()
        return Told(theirs, ours, cpu.seconds())


class Follower:
    """An auditor that follows the log over HTTP with `glassbook-verify watch` until the block is left."""

    def __init__(self, operator: Operator, folder: Path) -> None:
        command = [sys.executable, "-c", "from verifier_cli.cli import main; main()", "watch"]
        command += ["--policy", str(operator.home / "policy.txt"), "--log", f"http://{operator.public}"]
        self._command = [*command, "--interval", str(FOLLOW_S), "--audit", str(folder / "audit.sqlite")]
        self._folder = folder

    def __enter__(self) -> None:
        with (self._folder / "watch.log").open("wb") as log:
            environment = {**os.environ, "XDG_DATA_HOME": str(self._folder)}
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)

    def __exit__(self, *_: object) -> None:
        ended = self._process.poll()
        if ended is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        else:
            raise RuntimeError(
                f"the auditor ended with {ended}: {(self._folder / 'watch.log').read_text()[-500:]}"
            )


class Looking:
    """Looks twice a second at how much waits to be sequenced, and how far publishing is behind accepting."""

    def __init__(self, operator: Operator) -> None:
        self._address = operator.ledger
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.waiting = self.unpublished = 0

    def __enter__(self) -> Looking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.5):
            connection = http.client.HTTPConnection(self._address, timeout=10)
            with suppress(OSError, ValueError, KeyError):
                connection.request("GET", "/readyz")
                found = json.loads(connection.getresponse().read())
                waiting = int(found["waiting"])
                self.waiting = max(self.waiting, waiting)
                self.unpublished = max(
                    self.unpublished, waiting + found["sequenced_size"] - found["published_size"]
                )
            connection.close()


def _say(report: Report, plan: Plan, told: Told, looking: Looking) -> None:
    seconds = Counter[int]()
    for when, entries, _ in told.departments.answered:
        seconds[int(when)] += entries
    name = f"day: {plan.accesses:,} accesses of {plan.departments} departments in {plan.seconds:g} s"
    report.add(Figure(f"{name}, mean", plan.accesses / plan.seconds, "entries/s"))
    report.add(Figure("day: the busiest second accepted", max(seconds.values()), "entries"))
    report.add(Figure("day: most that waited to be sequenced", looking.waiting, "entries"))
    report.add(Figure("day: most that was not published", looking.unpublished, "entries"))
    for what, took in (
        ("POST to promise", [seconds for _, _, seconds in told.departments.answered]),
        ("POST to checked receipt", told.departments.took),
        ("a citizen's look-up", told.citizens.took),
    ):
        ordered = sorted(took)
        for percent in (50, 99):
            report.add(Figure(f"day: {what}, p{percent}", percentile(ordered, percent), "s"))
    report.add(Figure("day: departments, CPU", 1e6 * told.departments.cpu / plan.accesses, "µs/entry"))
    report.add(Figure("day: citizens, CPU", 1e3 * told.citizens.cpu / plan.lookups, "ms/look-up"))
    for who, day in (("departments", told.departments), ("citizens", told.citizens)):
        for kind, count in sorted(day.requests.items()):
            report.add(Figure(f"day: {who}, requests of {kind}", count, ""))
            report.add(Figure(f"day: {who}, bytes of {kind}", day.sent_bytes[kind] / count, "bytes/request"))
    handed_in = told.departments.sent_bytes["entries"]
    report.add(Figure("day: bytes handed in", handed_in / plan.accesses, "bytes/access"))


def _audit(report: Report, operator: Operator, folder: Path, records: int) -> None:
    command = [
        sys.executable,
        "-c",
        "from verifier_cli.cli import main; main()",
        "audit",
        "--json",
        "--fresh",
    ]
    command += ["--policy", str(operator.home / "policy.txt"), "--log", f"http://{operator.public}"]
    environment = {**os.environ, "XDG_DATA_HOME": str(folder / "afterwards")}
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    report.add(Figure("day: audit of it all afterwards", time.perf_counter() - started, "s"))
    if done.returncode or json.loads(done.stdout)["verdict"] != "holds":
        raise RuntimeError(f"the day's log does not hold: {done.stdout[:500]}{done.stderr[:500]}")
    counted = json.loads(done.stdout)["result"]["counts"]["records"]
    if counted != records:
        raise RuntimeError(f"the log has {counted} records, and {records} were handed in")
    report.add(Figure("day: records missing in the log", records - counted, "", target=0, at_least=False))
