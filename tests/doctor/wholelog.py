"""Operator, witness and department as processes, with every signing key in a token and every other one encrypted."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from softtoken import SoftToken

BIN = Path(sys.executable).parent
SAMPLES = Path(__file__).parents[2] / "samples"
ORIGIN = "log.example.gov/access/token"
WORDS = "a long passphrase nobody guesses"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class WholeLog:
    """Started and published when it is made; `stop` ends every process."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.token = SoftToken(place / "hsm")
        self.passphrase = place / "passphrase"
        self.passphrase.write_text(WORDS + "\n")
        self.passphrase.chmod(0o600)
        self.operator, self.department = place / "operator", place / "department"
        self.ledger, self.log, self.witness = (f"127.0.0.1:{free_port()}" for _ in range(3))
        self.processes: list[subprocess.Popen[bytes]] = []
        secret = ("--passphrase-file", self.passphrase)
        self.run(
            "glassbook", "init", self.operator, "--origin", ORIGIN, "--charter", SAMPLES / "charter.toml", "--yes",
            "--listen", self.ledger, "--public-listen", self.log, *secret, "--log-key", self.token.uri("log"),
            "--ledger-key", self.token.uri("ledger"), "--registrar-key", self.token.uri("registrar"),
        )  # fmt: skip
        keys = [
            w for vkey in (self.operator / "log-vkeys.txt").read_text().split() for w in ("--log-vkey", vkey)
        ]
        plain = ("glassbook-verify", "witness", "--plain", place / "witness.sqlite")
        vkey = self.run(*plain, "--init", "--name", "witness.example/w1", *keys).stdout.strip()
        self.start(*plain, "--listen", self.witness)
        self.run("glassbook", "witness", "add", vkey, f"http://{self.witness}", self.operator)
        self.start("glassbook", "up", self.operator, *secret)
        self._department(secret)

    def _department(self, secret: tuple[str, Path]) -> None:
        year = time.gmtime().tm_year
        self.run(
            "glassbook", "department", "init", self.department, "--statement", SAMPLES / "systems" / "health.toml",
            "--origin", ORIGIN, "--ledger", f"http://{self.ledger}", "--log", f"http://{self.log}",
            "--epoch", f"2025-{year + 1}", "--map", "map.toml", *secret, "--key", self.token.uri("source"),
        )  # fmt: skip
        (self.department / "map.toml").write_bytes((SAMPLES / "maps" / "health.toml").read_bytes())
        (self.department / "policy.txt").write_bytes((self.operator / "policy.txt").read_bytes())
        self.run("glassbook", "source", "add", self.operator, self.department / "statement.json", *secret)
        deadline = time.monotonic() + 90
        while self.run(
            "glassbook", "department", "send", "--dir", self.department, *secret, code=None
        ).returncode:
            assert time.monotonic() < deadline, (self.place / "processes.log").read_text()
            time.sleep(0.3)

    def run(self, *words: str | Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / words[0]), *map(str, words[1:])]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.token.environment,
            stdin=subprocess.DEVNULL,
        )
        assert code is None or done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done

    def source(self, command: str, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """`glassbook department COMMAND` with its folder and passphrase."""
        secret = ("--passphrase-file", self.passphrase)
        return self.run(
            "glassbook", "department", command, "--dir", self.department, *secret, *words, code=code
        )

    def source_any(self, command: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """The same, whatever its exit code."""
        secret = ("--passphrase-file", self.passphrase)
        return self.run(
            "glassbook", "department", command, "--dir", self.department, *secret, *words, code=None
        )

    def source_without_keys(self, command: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """For a command that opens no key."""
        return self.run("glassbook", "department", command, "--dir", self.department, *words)

    def doctor(self, folder: Path, *words: str | Path, code: int | None = 0) -> str:
        """What `glassbook doctor` prints."""
        return self.run("glassbook", "doctor", folder, *words, code=code).stdout

    def outbox(self) -> dict[str, int]:
        words = ("glassbook", "department", "status", "--dir", self.department, "--json")
        found: dict[str, int] = json.loads(self.run(*words).stdout)["outbox"]
        return found

    def start(self, *words: str | Path) -> None:
        with (self.place / "processes.log").open("ab") as log:
            command = [str(BIN / words[0]), *map(str, words[1:])]
            self.processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=self.token.environment)
            )

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
