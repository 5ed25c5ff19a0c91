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
    """A witness that runs and knows the keys of one log."""

    url: str
    vkey: str

    def begin(self) -> PublishedLog:
        """The log that it serves, not started."""

    def start(self) -> None:
        """Answer; returns when it does."""

    def stop(self) -> None:
        """End it, in good order; what it has seen stays."""


class Local:
    """A witness that the tests start, beside a log of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.vkey = ""
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> PublishedLog:
        log = PublishedLog.begin(self.place / "home")
        self.vkey = self.set_up(log.settings.origin, log.log_vkeys)
        return log

    def set_up(self, origin: str, log_vkeys: list[str]) -> str:
        """Make its key and tell it of the log; returns its vkey."""
        raise NotImplementedError

    def launch(self) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def start(self) -> None:
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
        if self._process is not None:
            end(self._process)
            self._process = None


class Own(Local):
    """`glassbook-verify witness --plain`. `vkeys` are all it cosigns with; the first is for the policy."""

    vkeys: list[str]

    def set_up(self, origin: str, log_vkeys: list[str]) -> str:
        keys = [word for vkey in log_vkeys for word in ("--log-vkey", vkey)]
        name = ("--name", "witness.example/own")
        file = self.place / "witness.sqlite"
        made = run("glassbook-verify", "witness", "--plain", "--init", file, *name, *keys)
        self.vkeys = made.split()
        return self.vkeys[0]

    def launch(self) -> subprocess.Popen[bytes]:
        return start(
            self.place / "said.txt", "glassbook-verify", "witness", "--plain", self.place / "witness.sqlite",
            "--listen", f"127.0.0.1:{self.port}",
        )  # fmt: skip


class Aics(Local):
    """`aics-witness` from PyPI. It knows Ed25519 only, so of the log's two keys it is told of the first."""

    def set_up(self, origin: str, log_vkeys: list[str]) -> str:
        self.config = self.place / "witness.json"
        made = self._call(
            "init", "--config", self.config, "--name", "witness.example/aics", "--listen",
            f"127.0.0.1:{self.port}",
        )  # fmt: skip
        self._call("add-log", "--config", self.config, "--origin", origin, "--vkey", log_vkeys[0])
        return made.strip()

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
    """The witness at GLASSBOOK_WITNESS_URL; see README.md beside this file."""

    def __init__(self, _: Path) -> None:
        missing = [name for name in NAMED if name not in os.environ]
        assert not missing, f"set {', '.join(missing)} too: tests/interop/README.md says to what"
        self.url, self.vkey = os.environ[NAMED[0]], os.environ[NAMED[1]]

    def begin(self) -> PublishedLog:
        return PublishedLog(Path(os.environ[NAMED[2]]))

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        """It goes on."""


PROGRAMS: dict[str, type[Local]] = {"own": Own, "aics": Aics}
"""Those that a test may stop and start."""

ALL: dict[str, type[Local] | type[Named]] = {
    **PROGRAMS,
    **({"named": Named} if NAMED[0] in os.environ else {}),
}


class Witnessed:
    """A running log with one running witness."""

    def __init__(self, witness: WitnessProgram) -> None:
        self.witness = witness
        self.log: PublishedLog = witness.begin()
        try:
            witness.start()
            self.log.witness(witness.vkey, witness.url)
            self.log.start()
        except BaseException:
            self.close()
            raise

    def cosigned(self) -> list[Checkpoint]:
        """All checkpoints seen, each with a good line by the witness and under the policy; oldest first."""
        assert parse_vkey(self.witness.vkey).text in self.log.vkeys
        found = []
        for note in self.log.notes:
            text, good = open_note(note, [parse_vkey(vkey) for vkey in self.log.vkeys])
            assert {one.vkey.text for one in good} == set(self.log.vkeys)
            found.append(parse_checkpoint(text))
        return found

    def close(self) -> None:
        self.log.stop()
        self.witness.stop()
