"""`glassbook init` and `glassbook ledger serve` as processes, and nothing that sequences or publishes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from bench.logs import bench_source, statement
from bench.operator import CHARTER
from ledger.core.encoding import b64encode
from ledger.core.keys import Ed25519PrivateKey, parse_private_key
from ledger.core.statements import parse_charter, sign_source
from ledger.store import Store
from ledger.store.log import read_entries

SOURCE = bench_source(1)
BIN = Path(sys.executable).parent


def records(count: int) -> list[bytes]:
    """Signed records of source 1 under fresh labels."""
    return [SOURCE.record(os.urandom(32), os.urandom(32)) for _ in range(count)]


def body_of(entries: list[bytes]) -> bytes:
    """A request's body with these records, each with an envelope of 1 KiB."""

    def submission(entry: bytes) -> dict[str, str]:
        envelope = b"\x01" + os.urandom(12 + 1024 + 16)
        return {
            "entry": b64encode(entry),
            "envelope": b64encode(envelope),
            "fetch": b64encode(os.urandom(32)),
        }

    return json.dumps({"entries": [submission(one) for one in entries]}, separators=(",", ":")).encode()


def head_of(length: int, query: str = "") -> bytes:
    """The head of the request that hands such a body in."""
    lines = [f"POST /v1/entries{query} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def peak_mib(pid: int) -> float:
    """The most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class ServeAlone:
    """`address` takes entries of source 1; `settings` go into `[ledger]`."""

    def __init__(self, place: Path, **settings: int) -> None:
        place.mkdir(exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.address: tuple[str, int] = found.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self.home = place / "home"
        charter = place / "charter.toml"
        charter.write_text(CHARTER)
        words = ["init", str(self.home), "--origin", "log.example/bench", "--charter", str(charter), "--yes"]
        listen = ["--no-passphrase", "--listen", f"127.0.0.1:{self.address[1]}"]
        subprocess.run([str(BIN / "glassbook"), *words, *listen], check=True, capture_output=True)
        toml = self.home / "glassbook.toml"
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        toml.write_text(toml.read_text().replace("[ledger]\n", f"[ledger]\n{lines}"))
        with (place / "serve.log").open("wb") as log:
            command = [str(BIN / "glassbook"), "ledger", "serve", str(self.home)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(self.address, timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and self.process.poll() is None
                time.sleep(0.05)
        self._register()

    def _register(self) -> None:
        registrar = parse_private_key((self.home / "keys" / "registrar.key").read_bytes(), None, "registrar")
        assert isinstance(registrar, Ed25519PrivateKey)
        store = Store.open(f"sqlite:///{self.home / 'ledger.sqlite'}")
        with store.read() as db:
            charter = parse_charter(read_entries(db, 0, 1)[0], "log.example/bench")
        store.close()
        entry = b64encode(sign_source(registrar, charter, 1, statement(SOURCE)))
        answer = httpx.post(f"{self.url}/v1/entries", json={"entries": [{"entry": entry}]}, timeout=30)
        assert answer.json()["results"][0]["status"] == "accepted", answer.text

    def hand_in(self, count: int = 1) -> float:
        """Hand so many records in, again for as long as that is refused; how long the answer took that was none."""
        body = body_of(records(count))
        deadline = time.monotonic() + 30
        while True:
            begun = time.monotonic()
            answer = httpx.post(
                f"{self.url}/v1/entries",
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=30,
            )
            if answer.status_code != 503 or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        assert answer.status_code == 200 and answer.text.count('"accepted"') == count, answer.text
        return time.monotonic() - begun

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        if self.process.poll() is None:
            self.terminate()
            self.process.wait(40)
