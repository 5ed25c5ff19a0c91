"""A log as an operator runs it, in real processes: `glassbook init`, `witness add`, the sequencer, the publisher.

log = PublishedLog.begin(tmp_path / "home")
log.witness(vkey, url)
log.start()                        published with size 2
log.grow(300)                      300 records more, and an index root: published
log.url, log.public                where it is read, by HTTP and as a folder
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from filledinbox import put_records

from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.note import parse_note
from ledger.core.policy import Opened, parse_policy
from ledger.settings import Settings, read_settings
from ledger.store import Store

BIN = Path(sys.executable).parent
ORIGIN = "log.example.gov/interop"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def run(*words: str | Path, env: dict[str, str] | None = None) -> str:
    """Standard output of a program that must end well; the first word is its path or a name in our BIN."""
    done = subprocess.run(
        [str(BIN / words[0]), *map(str, words[1:])], capture_output=True, text=True, timeout=60, env=env
    )
    assert done.returncode == 0, f"{words[0]} ended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def start(said: Path, *words: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A program that goes on; what it says is appended to the file `said`."""
    with said.open("ab") as out:
        return subprocess.Popen([str(BIN / words[0]), *map(str, words[1:])], stdout=out, stderr=out, env=env)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a program to end, and wait for it."""
    process.terminate()
    process.wait(40)


class PublishedLog:
    """Sequencer and publisher on the folder `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings: Settings = read_settings(home)
        self.public = self.home / "public"
        self.url = f"http://{self.settings.publisher_listen}"
        self.log_vkeys = (home / "log-vkeys.txt").read_text().split()
        self.notes: list[bytes] = []
        """Every checkpoint this log was seen to publish, as served, oldest first."""
        self.witness_vkeys: list[str] = []
        self._parts: list[subprocess.Popen[bytes]] = []
        self._client = httpx.Client(base_url=self.url, trust_env=False)

    @classmethod
    def begin(cls, home: Path, origin: str = ORIGIN) -> PublishedLog:
        """A new log in a new folder."""
        run(
            "glassbook", "init", home, "--origin", origin, "--yes", "--no-passphrase",
            "--listen", f"127.0.0.1:{free_port()}", "--public-listen", f"127.0.0.1:{free_port()}",
        )  # fmt: skip
        return cls(home)

    def witness(self, vkey: str, url: str) -> None:
        """Make the policy need this witness too."""
        policy = self.home / "policy.txt"
        if not policy.exists() or vkey not in policy.read_text():
            run("glassbook", "witness", "add", vkey, url, self.home)
        self.witness_vkeys.append(vkey)

    def start(self) -> None:
        """Start what is not running, and wait until there is a checkpoint."""
        for words in (("ledger", "sequence"), ("publisher", "run"))[len(self._parts) :]:
            self._parts.append(start(self.home / "said.txt", "glassbook", *words, self.home))
        self.wait_for(2)

    def stop_publisher(self) -> None:
        """End the publisher alone."""
        end(self._parts.pop())

    def stop(self) -> None:
        """End all parts."""
        while self._parts:
            end(self._parts.pop())
        self._client.close()

    @property
    def vkeys(self) -> list[str]:
        """Of all that sign its checkpoints: the log's Ed25519 and ML-DSA-44 keys, then its witnesses."""
        return [*self.log_vkeys, *self.witness_vkeys]

    def checkpoint(self) -> Checkpoint:
        """The published checkpoint, of whatever witnesses it is."""
        return parse_checkpoint(parse_note(self.notes[-1]).text)

    def opened(self) -> Opened:
        """The published checkpoint under the operator's policy. Raises when its quorum is not met."""
        return parse_policy((self.home / "policy.txt").read_bytes()).open(self.notes[-1], int(time.time()))

    def size(self) -> int:
        """Entries published; 0 when there is no checkpoint yet."""
        try:
            answer = self._client.get("/checkpoint")
        except httpx.TransportError:
            return 0
        if answer.status_code != 200:
            return 0
        if not self.notes or answer.content != self.notes[-1]:
            self.notes.append(answer.content)
        return self.checkpoint().size

    def wait_for(self, size: int, seconds: float = 30) -> None:
        """Until that many entries are published."""
        deadline = time.monotonic() + seconds
        while (now := self.size()) < size:
            said = (self.home / "said.txt").read_text()[-2000:]
            assert time.monotonic() < deadline, f"{now} entries are published, not {size}:\n{said}"
            time.sleep(0.02)

    def wait_until_stuck(self, seconds: float = 20) -> None:
        """Until the publisher says that it waits for a witness."""
        deadline = time.monotonic() + seconds
        while (answer := self._client.get("/readyz")).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert answer.json()["state"] == "waiting for witnesses"

    def accept(self, count: int) -> None:
        """Put records into the inbox, as the ledger's service does when it accepts them."""
        store = Store.open(self.settings.database)
        day = int(time.time()) // 86_400 - 1
        put_records(store, count, day)
        store.close()

    def grow(self, count: int) -> None:
        """That many records more, published with their index root in one checkpoint or several."""
        size = self.size()
        self.accept(count)
        self.wait_for(size + count + 1)
