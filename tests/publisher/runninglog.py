"""A log as an operator runs it: the real processes, with a plain witness beside them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from engines import new_url
from filledinbox import put_records
from smalllog import DAY

from ledger.settings import read_settings
from ledger.store import Store

BIN = Path(sys.executable).parent
FULL = Path("/dev/full")
"""Every write fails as on a full disk: all processes here run without ever getting a line of their logs written."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def run(*words: str | Path) -> str:
    done = subprocess.run(
        [str(BIN / words[0]), *map(str, words[1:])], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Running:
    """A log as an operator runs it, with a witness beside it. `configure` may change the settings that init wrote;
    `log` is where all processes write theirs."""

    def __init__(
        self,
        place: Path,
        configure: Callable[[Path], None] = lambda _home: None,
        log: Path = FULL,
        engine: str = "sqlite",
    ) -> None:
        self.home = place / "home"
        self.log = log
        self.port, self.witness_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        run(
            "glassbook", "init", self.home, "--origin", "log.example.gov/access/2026", "--yes", "--no-passphrase",
            "--listen", f"127.0.0.1:{free_port()}", "--public-listen", f"127.0.0.1:{self.port}",
            *(("--database", new_url(engine, place)) if engine != "sqlite" else ()),
        )  # fmt: skip
        configure(self.home)
        vkeys = (self.home / "log-vkeys.txt").read_text().split()
        keys = [word for vkey in vkeys for word in ("--log-vkey", vkey)]
        self.file = place / "w.sqlite"
        name = ("--name", "witness.example/w1")
        vkey = run("glassbook-verify", "witness", "--plain", "--init", self.file, *name, *keys).strip()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.witness = self.start("glassbook-verify", "witness", "--plain", self.file, *self.listen)
        run("glassbook", "witness", "add", vkey, f"http://127.0.0.1:{self.witness_port}", self.home)
        self.up = self.start("glassbook", "up", self.home)
        self.wait_for(2)

    @property
    def listen(self) -> tuple[str, str]:
        return "--listen", f"127.0.0.1:{self.witness_port}"

    def start(self, *words: str | Path) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen([str(BIN / words[0]), *map(str, words[1:])], stderr=log)
        self.processes.append(process)
        return process

    def size(self) -> int:
        try:
            return int(httpx.get(f"{self.url}/checkpoint", trust_env=False).text.split("\n")[1])
        except (httpx.TransportError, IndexError, ValueError):
            return 0

    def wait_for(self, size: int, seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while self.size() < size:
            assert time.monotonic() < deadline, f"{self.size()} entries are published, not {size}"
            time.sleep(0.02)

    def accept(self, count: int) -> None:
        """Put records into the inbox, as the ledger's service does when it accepts them."""
        store = Store.open(read_settings(self.home).database)
        put_records(store, count, DAY)
        store.close()

    def children(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self.up.pid}/task/{self.up.pid}/children").read_text().split()
        ]

    def close(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait(40)
