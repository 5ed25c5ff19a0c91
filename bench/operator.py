"""A log on this machine, started with the commands an operator types: init, a plain witness, up."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from bench.logs import BenchSource, statement
from ledger.core.encoding import b64encode
from ledger.core.keys import Ed25519PrivateKey, parse_private_key
from ledger.core.policy import Policy, parse_policy
from ledger.core.statements import parse_charter, sign_source
from ledger.files import read_private
from ledger.settings import Settings, read_settings
from ledger.store import Store
from ledger.store.log import read_charter_entry

START_S = 120
CHARTER = """\
merge_delay_s = 3600
claims = ["subject", "actor", "event", "data", "purpose"]

[schemes.id]
pattern = "[a-z0-9-]{1,64}"
text = {en = "A made-up number."}
"""


class Operator:
    """A running log in `folder`; leaving the block ends its processes."""

    origin = "log.example/bench"

    def __init__(
        self,
        folder: Path,
        database: str = "",
        ledgers: int = 0,
        limits: Mapping[str, int] | None = None,
        vectors: str = "auto",
    ) -> None:
        """`database`: the URL of an empty one; by itself a file of SQLite. With `ledgers`, so many `ledger serve` are
        started, and sequencer and publisher by themselves; without, `up` starts them. `limits`: members of `[ledger]`
        that `init` does not write; `vectors`: the one that it does."""
        self.home = folder / "log"
        self.ledger = f"127.0.0.1:{free_port()}"
        self.public = f"127.0.0.1:{free_port()}"
        self.up: subprocess.Popen[bytes] | None = None
        self.serving: list[tuple[str, subprocess.Popen[bytes]]] = []
        """Address and process of each ledger that was started by itself."""
        self._ledgers = ledgers
        self._folder = folder
        self._database = database
        self._limits = limits or {}
        self._vectors = vectors
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Operator:
        try:
            self.found()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def found(self) -> None:
        """Make the log and its witness, which is started: whoever publishes asks it."""
        self._folder.mkdir(exist_ok=True)
        charter = self._folder / "charter.toml"
        charter.write_text(CHARTER)
        words = ["init", str(self.home), "--origin", self.origin, "--charter", str(charter), "--yes"]
        words += ["--no-passphrase", "--listen", self.ledger, "--public-listen", self.public]
        _glassbook([*words, *(["--database", self._database] if self._database else [])])
        settings = self.home / "glassbook.toml"
        lines = "".join(f"{name} = {value}\n" for name, value in self._limits.items())
        text = settings.read_text().replace("[ledger]\n", f"[ledger]\n{lines}")
        settings.write_text(text.replace('vectors = "auto"', f'vectors = "{self._vectors}"'))
        witness, at = str(self._folder / "witness.sqlite"), f"127.0.0.1:{free_port()}"
        log_vkey = parse_charter(self.charter).log_vkeys[0].text
        named = ["--name", "witness.example/bench", "--log-vkey", log_vkey]
        made = _verify(["witness", witness, "--plain", "--init", *named])
        vkey = next(word for word in made.split() if word.startswith("witness.example/bench+"))
        self.run("verifier_cli.cli", ["witness", witness, "--plain", "--listen", at])
        wait_open(at)
        _glassbook(["witness", "add", vkey, f"http://{at}", str(self.home)])

    def start(self) -> None:
        """Start the log; all its addresses answer when this returns."""
        if self._ledgers:
            self._start_parts()
        else:
            self.up = self.run("ledger.cli", ["up", str(self.home)])
        for address in {self.ledger, self.public, *(address for address, _ in self.serving)}:
            wait_open(address)

    def _start_parts(self) -> None:
        """The scaled form: each ledger has a folder of its own with the same settings but its address."""
        for words in (["ledger", "sequence"], ["publisher", "run"]):
            self.run("ledger.cli", [*words, str(self.home)])
        for number in range(self._ledgers):
            home, address = self._folder / f"ledger-{number}", self.ledger
            shutil.copytree(self.home, home)
            if number:
                address = f"127.0.0.1:{free_port()}"
                file = home / "glassbook.toml"
                file.write_text(file.read_text().replace(self.ledger, address))
            self.serving.append((address, self.run("ledger.cli", ["ledger", "serve", str(home)])))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process that takes entries in, where `up` started it."""
        assert self.up is not None
        for child in Path(f"/proc/{self.up.pid}/task/{self.up.pid}/children").read_text().split():
            if b"serve" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
        raise RuntimeError("the ledger does not run")

    @property
    def policy(self) -> Policy:
        """The log's policy: its own keys and the witness."""
        return parse_policy((self.home / "policy.txt").read_bytes())

    @property
    def verifying(self) -> str:
        """What the ledger says, as it starts, that it checks signatures with; empty when it does not say."""
        for line in (self._folder / "processes.log").read_text(errors="replace").splitlines():
            if '"event": "serving"' in line and '"signatures"' in line:
                return str(json.loads(line)["signatures"])
        return ""

    def register(self, source: BenchSource) -> None:
        """Register a source and wait until it is published."""
        (result,) = self.post([{"entry": b64encode(self.registration(source))}], "?wait=published")
        if result["status"] != "published":
            raise RuntimeError(f"the source was not published: {result}")

    def registration(self, source: BenchSource) -> bytes:
        """The registry entry of a source, as the registrar signs it."""
        pem = read_private(self.home / "keys" / "registrar.key")
        registrar = parse_private_key(pem, None, "registrar.key")
        assert isinstance(registrar, Ed25519PrivateKey)
        return sign_source(registrar, parse_charter(self.charter), source.number, statement(source))

    def post(self, submissions: Sequence[dict[str, str]], query: str = "") -> list[dict[str, str]]:
        """Hand entries in; the results in order."""
        body = json.dumps({"entries": submissions}).encode()
        connection = http.client.HTTPConnection(self.ledger, timeout=60)
        connection.request("POST", f"/v1/entries{query}", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        results: list[dict[str, str]] = answer["results"]
        return results

    @property
    def settings(self) -> Settings:
        """What `glassbook.toml` says."""
        return read_settings(self.home)

    @property
    def charter(self) -> bytes:
        """The charter as leaf 0."""
        store = Store.open(self.settings.database)
        with store.read() as db:
            raw = read_charter_entry(db)
        store.close()
        return raw

    def run(self, module: str, words: list[str]) -> subprocess.Popen[bytes]:
        """Start a program that runs until this operator is left."""
        command = [sys.executable, "-c", f"from {module} import main; main()", *words]
        with (self._folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """End all that was started."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            if process.poll() is None:
                process.kill()
                process.wait()


def _glassbook(words: list[str]) -> str:
    return _run("ledger.cli", words)


def _verify(words: list[str]) -> str:
    return _run("verifier_cli.cli", words)


def _run(module: str, words: list[str]) -> str:
    command = [sys.executable, "-c", f"from {module} import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:2])} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def free_port() -> int:
    """A port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_open(address: str) -> None:
    """Until something listens at HOST:PORT. RuntimeError after START_S seconds."""
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens at {address} after {START_S} s") from None
            time.sleep(0.05)
