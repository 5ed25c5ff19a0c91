"""Witnesses as processes: ours, a foreign one, and the one that the environment names.

All answer `POST /add-checkpoint` of C2SP tlog-witness; `vkey` is the key that a policy names.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import foreign
from publishedlog import PublishedLog, end, free_port, run, start

from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.note import open_note, parse_vkey

NAMED = ("GLASSBOOK_WITNESS_URL", "GLASSBOOK_WITNESS_VKEY", "GLASSBOOK_WITNESS_LOG")


class WitnessProgram(Protocol):
    """A witness that runs somewhere and knows the keys of one log."""

    url: str
    vkey: str


class Local:
    """A witness that the tests start and stop; its files are in the folder `place`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.vkey = ""
        self._process: subprocess.Popen[bytes] | None = None

    def set_up(self, origin: str, log_vkeys: list[str]) -> None:
        """Make its key, which sets `vkey`, and tell it of the log."""
        raise NotImplementedError

    def launch(self) -> subprocess.Popen[bytes]:
        """The process that answers at `url`."""
        raise NotImplementedError

    def start(self) -> None:
        """Answer; returns when it does."""
        self._process = self.launch()
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                said = (self.place / "said.txt").read_text()
                assert time.monotonic() < deadline and self._process.poll() is None, said
                time.sleep(0.02)

    def stop(self) -> None:
        """End it, in good order; what it has seen stays."""
        if self._process is not None:
            end(self._process)
            self._process = None


class Own(Local):
    """`glassbook-verify witness --plain`. `vkeys` are all it cosigns with; the first, Ed25519, is for the policy."""

    vkeys: list[str]

    def set_up(self, origin: str, log_vkeys: list[str]) -> None:
        keys = [word for vkey in log_vkeys for word in ("--log-vkey", vkey)]
        name = ("--name", "witness.example/own", "--keys", "both")
        file = self.place / "witness.sqlite"
        made = run("glassbook-verify", "witness", "--plain", "--init", file, *name, *keys)
        self.vkeys = made.split()
        self.vkey = self.vkeys[0]

    def launch(self) -> subprocess.Popen[bytes]:
        return start(
            self.place / "said.txt", "glassbook-verify", "witness", "--plain", self.place / "witness.sqlite",
            "--listen", f"127.0.0.1:{self.port}",
        )  # fmt: skip


class Aics(Local):
    """`aics-witness` from PyPI. It knows Ed25519 only, so of the log's two keys it is told of the first."""

    def set_up(self, origin: str, log_vkeys: list[str]) -> None:
        self.config = self.place / "witness.json"
        made = self._call(
            "init", "--config", self.config, "--name", "witness.example/aics", "--listen",
            f"127.0.0.1:{self.port}",
        )  # fmt: skip
        self._call("add-log", "--config", self.config, "--origin", origin, "--vkey", log_vkeys[0])
        self.vkey = made.strip()

    def launch(self) -> subprocess.Popen[bytes]:
        return start(
            self.place / "said.txt", sys.executable, "-P", "-m", "aics_witness", "serve", "--config",
            self.config, env=foreign.environment(),
        )  # fmt: skip

    def _call(self, *words: str | Path) -> str:
        done = foreign.run_module("aics_witness", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout


class Named:
    """The witness at GLASSBOOK_WITNESS_URL, and the folder of its log; see README.md beside this file."""

    def __init__(self) -> None:
        missing = [name for name in NAMED if name not in os.environ]
        assert not missing, f"set {', '.join(missing)} too: tests/interop/README.md says to what"
        self.url, self.vkey, self.home = (os.environ[name] for name in NAMED)


LOCAL: dict[str, type[Local]] = {"own": Own, "aics": Aics}
"""Those that are always there: all of them witness one log."""

NAMES = [*LOCAL, *(["named"] if NAMED[0] in os.environ else [])]


class Witnessed:
    """A running log and its running witnesses, every one of which its policy needs."""

    def __init__(self, log: PublishedLog) -> None:
        self.log = log
        self.witnesses: dict[str, WitnessProgram] = {}
        self.local: dict[str, Local] = {}

    def begin_local(self, place: Path) -> None:
        """Start a witness of each kind there is, and then the log."""
        for name, kind in LOCAL.items():
            self.witnesses[name] = self.local[name] = witness = kind(place / name)
            witness.set_up(self.log.settings.origin, self.log.log_vkeys)
            witness.start()
        self._begin()

    def begin_named(self, witness: Named) -> None:
        """Start the log of the witness that the environment names."""
        self.witnesses["named"] = witness
        self._begin()

    def _begin(self) -> None:
        for witness in self.witnesses.values():
            self.log.witness(witness.vkey, witness.url)
        self.log.start()

    def cosigned(self) -> list[Checkpoint]:
        """All checkpoints seen, each with a good line by every key of log and witnesses; oldest first."""
        found = []
        for note in self.log.notes:
            text, good = open_note(note, [parse_vkey(vkey) for vkey in self.log.vkeys])
            assert {one.vkey.text for one in good} == set(self.log.vkeys)
            found.append(parse_checkpoint(text))
        return found

    def close(self) -> None:
        """End what was started here."""
        self.log.stop()
        for witness in self.local.values():
            witness.stop()
