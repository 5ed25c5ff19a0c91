"""A department beside the real ledger, publisher and witness, as processes: from audit events to receipts."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fhirevents import r4

from ledger.core.policy import parse_policy
from ledger.core.receipt import check_receipt, parse_receipt

BIN = Path(sys.executable).parent
SAMPLES = Path(__file__).parents[2] / "samples"
ORIGIN = "log.example.gov/access/test"
CITIZEN = "nhs:9990000018"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def run(*words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / words[0]), *map(str, words[1:])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done


class Operator:
    """A log, its ledger, publisher and one witness, as an operator runs them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "operator"
        self.ledger, self.log, witness = (f"127.0.0.1:{free_port()}" for _ in range(3))
        run(
            "glassbook", "init", self.home, "--origin", ORIGIN, "--charter", SAMPLES / "charter.toml", "--yes",
            "--no-passphrase", "--listen", self.ledger, "--public-listen", self.log,
        )  # fmt: skip
        keys = [
            word
            for vkey in (self.home / "log-vkeys.txt").read_text().split()
            for word in ("--log-vkey", vkey)
        ]
        plain = ("glassbook-verify", "witness", "--plain", place / "witness.sqlite")
        vkey = run(*plain, "--init", "--name", "witness.example/w1", *keys).stdout.strip()
        self.processes = [self.start(*plain, "--listen", witness)]
        run("glassbook", "witness", "add", vkey, f"http://{witness}", self.home)
        self.processes.append(self.start("glassbook", "up", self.home))

    def start(self, *words: str | Path) -> subprocess.Popen[bytes]:
        with (self.place / "processes.log").open("ab") as log:
            return subprocess.Popen([str(BIN / words[0]), *map(str, words[1:])], stdout=log, stderr=log)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def department(self, folder: Path, name: str) -> Path:
        """A registered department with one of the demo's statements and mappings; VRF keys up to this year."""
        run(
            "glassbook", "department", "init", folder, "--statement", SAMPLES / "systems" / f"{name}.toml",
            "--origin", ORIGIN, "--ledger", f"http://{self.ledger}", "--log", f"http://{self.log}",
            "--epoch", f"2013-{time.gmtime().tm_year}", "--map", "map.toml", "--no-passphrase",
        )  # fmt: skip
        (folder / "map.toml").write_bytes((SAMPLES / "maps" / f"{name}.toml").read_bytes())
        (folder / "policy.txt").write_bytes((self.home / "policy.txt").read_bytes())
        run("glassbook", "source", "add", self.home, folder / "statement.json")
        deadline = time.monotonic() + 90
        while department("keys", folder, "--subject", CITIZEN, "--out", folder / "k", code=None).returncode:
            assert time.monotonic() < deadline, "the registration was not published"
            time.sleep(0.3)
        return folder


def department(
    command: str, folder: Path, *words: str | Path, code: int | None = 0
) -> subprocess.CompletedProcess[str]:
    if code is None:
        line = [str(BIN / "glassbook"), "department", command, "--dir", str(folder), *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, timeout=120)
    return run("glassbook", "department", command, "--dir", folder, *words, code=code)


def start_s(home: Path) -> float:
    """Seconds that a command takes until it works: a tenth on one machine of what it is on another that is busy."""
    begun = time.monotonic()
    department("status", home, code=None)
    return time.monotonic() - begun


def events(folder: Path, count: int, first: int = 0) -> Path:
    """Accesses to the sample citizen's data on one day of 2025, as NDJSON."""
    path = folder / f"events-{first}.ndjson"
    people = [{"what": {"reference": "Patient/example"}}]
    lines = [
        json.dumps(r4(recorded=f"2025-05-06T10:{at // 60:02}:{at % 60:02}Z", entity=people))
        for at in range(first, first + count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(tmp_path_factory.mktemp("operator"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def health(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return operator.department(tmp_path_factory.mktemp("departments") / "health", "health")


def test_official_samples_do_not_reach_the_citizen(operator: Operator, health: Path, tmp_path: Path) -> None:
    files = sorted((SAMPLES / "data" / "hl7-fhir").rglob("*.json"))
    imported = json.loads(department("import", health, "fhir", "--json", *files).stdout)
    assert imported["summary"] == {
        "events": 19, "recorded": 4, "not_about_a_person": 7, "rejected": 8, "records": 4, "recorded_before": 0,
    }  # fmt: skip
    department("send", health, "--wait")
    status = json.loads(department("status", health, "--json").stdout)
    assert status["outbox"] == {"waiting": 0, "handed_in": 0, "refused": 0, "receipts": 4}
    department("receipts", health, "--out", tmp_path / "receipts")
    policy = parse_policy((operator.home / "policy.txt").read_bytes())
    for path in (tmp_path / "receipts").iterdir():
        checked = check_receipt(parse_receipt(path.read_bytes()), policy, int(time.time()))
        assert path.name == f"{checked.index}.receipt.json"
    keys = tmp_path / "citizen.keys.json"
    department("keys", health, "--subject", CITIZEN, "--out", keys)
    assert keys.stat().st_mode & 0o777 == 0o600
    mine = run(
        "glassbook-verify",
        "mine",
        keys,
        "--log",
        f"http://{operator.log}",
        "--policy",
        operator.home / "policy.txt",
    )
    assert "4 accesses" in mine.stdout and "Grahame" not in mine.stderr


def test_lost_outbox_makes_a_gap_or_a_double(operator: Operator, health: Path, tmp_path: Path) -> None:
    department("import", health, "fhir", events(tmp_path, 5))
    department("send", health, "--wait")
    for path in health.glob("outbox.sqlite*"):
        path.unlink()
    refused = department("recover", health, code=3)
    assert "may still be on their way" in refused.stderr
    assert "being recovered" in department("import", health, "fhir", events(tmp_path, 1, 90), code=3).stderr
    department("recover", health, "--nothing-waits")
    department("import", health, "fhir", events(tmp_path, 3, 20))
    department("send", health, "--wait")
    status = json.loads(department("status", health, "--json").stdout)
    assert status["outbox"] == {"waiting": 0, "handed_in": 0, "refused": 0, "receipts": 3}
    assert status["streams"] == {"known": 1, "done": 1}


def test_kill_9_while_sending_loses_a_record(health: Path, tmp_path: Path) -> None:
    department("import", health, "fhir", events(tmp_path, 120, 200))
    line = [str(BIN / "glassbook"), "department", "send", "--wait", "--dir", str(health)]
    started_s = start_s(health)
    for pause in (1.0, 1.3, 1.6, 2.2):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(pause * started_s)
        process.kill()
        process.wait()
    department("send", health, "--wait")
    status = json.loads(department("status", health, "--json").stdout)
    assert status["outbox"] == {"waiting": 0, "handed_in": 0, "refused": 0, "receipts": 123}
    assert status["streams"]["done"] == status["streams"]["known"]


def test_running_agent_does_not_end_when_asked(health: Path, tmp_path: Path) -> None:
    before = json.loads(department("status", health, "--json").stdout)["outbox"]["receipts"]
    line = [str(BIN / "glassbook"), "department", "run", "--dir", str(health), "--interval", "0.3"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        department("import", health, "fhir", events(tmp_path, 4, 500))
        deadline = time.monotonic() + 90
        while json.loads(department("status", health, "--json").stdout)["outbox"]["receipts"] < before + 4:
            assert time.monotonic() < deadline, "no receipts"
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0 and b"Stopped." in said
    assert b"Patient" not in said and b"9990000018" not in said


def test_key_file_open_to_others_signs(health: Path, tmp_path: Path) -> None:
    os.chmod(health / "keys" / "source.key", 0o644)
    try:
        refused = department("import", health, "fhir", events(tmp_path, 1, 800), code=3)
        assert "chmod 600" in refused.stderr and "Traceback" not in refused.stderr
    finally:
        os.chmod(health / "keys" / "source.key", 0o600)
