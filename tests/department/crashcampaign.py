"""Kill -9 at random moments of the agent and of imports, against a real ledger; then everything is counted.

    python tests/department/crashcampaign.py 200        two hundred kills; the tests run a few

After each campaign: every event is one record, no stream has a gap, each day has one coverage, and the audit of the
whole log finds nothing.  The audit recomputes every coverage's count.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fhirevents import r4
from test_crashes import check_outbox
from test_end_to_end import BIN, CITIZEN, Operator, department, run, start_s

from ledger.department.coveragetable import count_coverages, coverages
from ledger.department.outbox import Outbox

OTHER = "nhs:9990000026"


def write_events(path: Path, count: int, first: int) -> Path:
    """Accesses to one person and some others, on two days in the past."""
    lines = []
    for at in range(first, first + count):
        person = "example" if at % 3 == 0 else "f001"
        lines.append(
            json.dumps(
                r4(
                    recorded=f"2026-02-{10 + at % 2}T{at // 3600:02}:{at // 60 % 60:02}:{at % 60:02}Z",
                    entity=[{"what": {"reference": f"Patient/{person}"}}],
                )
            )
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has come so far that it ends cleanly at this signal."""
    mask = Path(f"/proc/{pid}/status").read_text().split("SigCgt:")[1].split()[0]
    return bool(int(mask, 16) >> (number - 1) & 1)


class Campaign:
    """One department of a running operator, its agent killed again and again."""

    def __init__(self, operator: Operator, folder: Path, seed: int) -> None:
        self.operator, self.folder, self.chance = operator, folder, random.Random(seed)
        self.home = operator.department(folder / "department", "health")
        settings = self.home / "department.toml"
        settings.write_text(settings.read_text() + "\n[coverage]\nhour = 0\n")
        map_ = self.home / "map.toml"
        line = '"Patient/example" = '
        assert line in map_.read_text()
        map_.write_text(map_.read_text().replace(line, f'"Patient/f001" = "{OTHER}"\n{line}'))
        self.events = 0
        self.files: list[Path] = []

    def start(self, *words: str | Path) -> subprocess.Popen[bytes]:
        line = [str(BIN / "glassbook"), "department", *map(str, words), "--dir", str(self.home)]
        with (self.folder / "agent.log").open("ab") as log:
            return subprocess.Popen(line, stdout=log, stderr=log)

    def strike(self, kills: int, events: int) -> None:
        """So many kills, each with an import beside the agent."""
        started_s = start_s(self.home)
        for number in range(kills):
            path = write_events(self.folder / f"events-{number}.ndjson", events, self.events)
            self.events += events
            self.files.append(path)
            both = [self.start("run", "--interval", "0.2"), self.start("import", "fhir", path)]
            # From just before they work until they have done all there is.
            time.sleep(started_s * (0.8 + self.chance.random() * 2.5))
            self.chance.shuffle(both)
            for process in both:
                process.send_signal(signal.SIGKILL)
                process.wait()
                time.sleep(self.chance.random() * 0.2)
            check_outbox(self.home)

    def finish(self, patience_s: float = 120) -> None:
        """Import what was interrupted, let the agent come to rest, and count everything."""
        department("import", self.home, "fhir", *self.files)
        agent = self.start("run", "--interval", "0.3")
        try:
            deadline = time.monotonic() + patience_s
            while not (catches(agent.pid, signal.SIGTERM) and self.is_done()):
                assert time.monotonic() < deadline, (self.folder / "agent.log").read_text()[-2000:]
                time.sleep(0.5)
        finally:
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(30) == 0
        self.check()

    def is_done(self) -> bool:
        with Outbox(self.home / "outbox.sqlite") as outbox:
            counts, covered = outbox.counts(), count_coverages(outbox)
            return (
                counts.owed == 0
                and covered.done > 0
                and not coverages(outbox, ("waiting", "handed in", "refused"), 1)
            )

    def check(self) -> None:
        check_outbox(self.home)
        status = json.loads(department("status", self.home, "--json", code=None).stdout)
        # Each event once: those of the citizen and of the other.
        assert status["outbox"] == {"waiting": 0, "handed_in": 0, "refused": 0, "receipts": self.events}
        assert status["streams"] == {"known": 2, "done": 2}
        assert status["coverage"]["owed"] == 0 and status["coverage"]["late_records"] == 0
        policy = ("--policy", self.operator.home / "policy.txt", "--log", f"http://{self.operator.log}")
        audited = json.loads(run("glassbook-verify", "audit", *policy, "--jobs", "1", "--json").stdout)
        assert audited["result"]["violations"] == []
        keys = self.folder / "citizen.keys.json"
        department("keys", self.home, "--subject", CITIZEN, "--out", keys)
        mine = run("glassbook-verify", "mine", keys, *policy).stdout
        assert f"{len(range(0, self.events, 3))} accesses" in mine, mine[:500]


def main(kills: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        operator = Operator(Path(folder) / "operator")
        try:
            campaign = Campaign(operator, Path(folder), seed)
            campaign.strike(kills, 40)
            campaign.finish(600)
        finally:
            operator.stop()
    print(
        f"{kills} kills, seed {seed}: {campaign.events} events, each logged once; coverage exact, audit clean"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() & 0xFFFF)
