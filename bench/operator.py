"""A log on this machine, started with the commands an operator types: init, a plain witness, up."""

from __future__ import annotations

import contextlib
import http.client
import json
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

START_S = 30
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

    def __init__(self, folder: Path, ledger: Mapping[str, int] | None = None) -> None:
        """`ledger`: settings of `[ledger]` that are not the ones of `glassbook init`."""
        self._settings = ledger or {}
        self.home = folder / "log"
        self.ledger = f"127.0.0.1:{_free_port()}"
        self.public = f"127.0.0.1:{_free_port()}"
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Operator:
        charter = self._folder / "charter.toml"
        charter.write_text(CHARTER)
        words = ["init", str(self.home), "--origin", self.origin, "--charter", str(charter), "--yes"]
        listen = ["--listen", self.ledger, "--public-listen", self.public]
        _glassbook([*words, "--no-passphrase", *listen])
        settings = self.home / "glassbook.toml"
        lines = "".join(f"{name} = {value}\n" for name, value in self._settings.items())
        settings.write_text(settings.read_text().replace("[ledger]\n", f"[ledger]\n{lines}"))
        witness, at = self._folder / "witness.sqlite", f"127.0.0.1:{_free_port()}"
        log_vkey = self._log_vkey()
        made = _verify(
            [
                "witness",
                str(witness),
                "--plain",
                "--init",
                "--name",
                "witness.example/bench",
                "--log-vkey",
                log_vkey,
            ]
        )
        vkey = next(word for word in made.split() if word.startswith("witness.example/bench+"))
        try:
            self._start("verifier_cli.cli", ["witness", str(witness), "--plain", "--listen", at])
            _glassbook(["witness", "add", vkey, f"http://{at}", str(self.home)])
            self._start("ledger.cli", ["up", str(self.home)])
            for address in (self.ledger, self.public):
                _wait_open(address)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The process that takes entries in."""
        up = self._processes[-1].pid
        for child in Path(f"/proc/{up}/task/{up}/children").read_text().split():
            if b"serve" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
        raise RuntimeError("the ledger does not run")

    @property
    def policy(self) -> Policy:
        """The log's policy: its own keys and the witness."""
        return parse_policy((self.home / "policy.txt").read_bytes())

    def register(self, source: BenchSource) -> None:
        """Register a source and wait until it is published."""
        pem = read_private(self.home / "keys" / "registrar.key")
        registrar = parse_private_key(pem, None, "registrar.key")
        assert isinstance(registrar, Ed25519PrivateKey)
        entry = sign_source(registrar, parse_charter(self.charter()), source.number, statement(source))
        (result,) = self.post([{"entry": b64encode(entry)}], "?wait=published")
        if result["status"] != "published":
            raise RuntimeError(f"the source was not published: {result}")

    def post(self, submissions: Sequence[dict[str, str]], query: str = "") -> list[dict[str, str]]:
        """Hand entries in; the results in order."""
        body = json.dumps({"entries": submissions}).encode()
        connection = http.client.HTTPConnection(self.ledger, timeout=60)
        connection.request("POST", f"/v1/entries{query}", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        results: list[dict[str, str]] = answer["results"]
        return results

    def charter(self) -> bytes:
        """The log's charter, as its entry."""
        from ledger.settings import read_settings
        from ledger.store import Store
        from ledger.store.log import read_entries

        store = Store.open(read_settings(self.home).database)
        with store.read() as db:
            (raw,) = read_entries(db, 0, 1)
        store.close()
        return raw

    def _log_vkey(self) -> str:
        return parse_charter(self.charter()).log_vkeys[0].text

    def _start(self, module: str, words: list[str]) -> None:
        command = [sys.executable, "-c", f"from {module} import main; main()", *words]
        with (self._folder / "processes.log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _stop(self) -> None:
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_open(address: str) -> None:
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
