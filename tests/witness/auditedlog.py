"""A real log in a folder, and an auditor that watches it, in this process or on a socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import httpx
from logfactory import DAY, NOW, LogFactory

from ledger.core.encoding import b64encode
from ledger.core.entries import sign_record
from ledger.core.merkle import Frontier, leaf_hash, prove_consistency
from ledger.core.note import COSIGNATURE, format_note, parse_note
from ledger.core.tiles import Tile, TileHashes, grow_tiles
from verifier_cli.cosigning import Request, cosign, examine
from verifier_cli.following import Follower
from verifier_cli.submission import Answer
from verifier_cli.witnessalarms import Alarms
from verifier_cli.witnessfile import WitnessFile

NAME = "auditor.example/a1"


class AuditedLog:
    """A log of one source, published to a folder before anybody is asked to cosign it."""

    def __init__(self, folder: Path) -> None:
        self.factory = LogFactory()
        self.source = self.factory.add_source()
        self.folder = folder
        self.grow(3)

    @property
    def size(self) -> int:
        return self.factory.size

    @property
    def origin(self) -> str:
        return self.factory.origin

    def grow(self, count: int = 1, day: int = DAY) -> None:
        """So many records more, then an index root, published."""
        for _ in range(count):
            self.factory.access(self.source, day=day)
        self.factory.publish(self.folder)

    def grow_quickly(self, count: int) -> None:
        """So many records more that nobody can open, in a tenth of the time."""
        for _ in range(count):
            raw = sign_record(
                self.origin,
                self.source.key,
                source=self.source.number,
                day=DAY,
                seal=0,
                activity=1,
                label=os.urandom(32),
                commitment=os.urandom(32),
            )
            self.factory.append(raw)
        self.factory.publish(self.folder)

    def note(self) -> bytes:
        """The newest checkpoint with the log's own signatures alone."""
        note = parse_note(self.factory.note())
        return format_note(note.text, [line for line in note.lines if line.name == self.origin])

    def note_at(self, size: int) -> bytes:
        """What the log would have signed at this size, whether it did or not."""
        frontier = Frontier()
        frontier.extend([leaf_hash(raw) for raw in self.factory.entries[:size]])
        return self.factory.sign(size, frontier.root())

    def body(self, old: int) -> bytes:
        """An add-checkpoint request for it."""
        size = self.size
        tiles = dict(grow_tiles(0, {}, [leaf_hash(raw) for raw in self.factory.entries]))
        hashes = TileHashes(lambda tile: tiles[Tile(tile.level, tile.n, tile.width)], size)
        proof = prove_consistency(old, size, hashes) if 0 < old < size else []
        lines = "".join(f"{b64encode(digest)}\n" for digest in proof)
        return f"old {old}\n{lines}\n".encode() + self.note()


def make_auditor(
    path: Path, log: AuditedLog, kinds: tuple[int, ...] = (COSIGNATURE,), place: str = ""
) -> WitnessFile:
    """The file of an auditor of this log."""
    file = WitnessFile.create(path, NAME, kinds, auditor=True)
    tell(file, log, place)
    return file


def tell(file: WitnessFile, log: AuditedLog, place: str = "") -> None:
    """Have it audit this log."""
    file.add_log(log.factory.log_signer.vkey)
    file.add_log(log.factory.mldsa_signer.vkey)
    file.set_places(log.origin, [place or str(log.folder)])


class Clock:
    """Unix seconds that only a test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Auditor:
    """An auditor without a server: what its worker does, in the thread that asks."""

    def __init__(self, file: WitnessFile, clock: Callable[[], float], origin: str) -> None:
        self.file = file
        self.clock = clock
        self.follower = Follower(file, origin, Alarms(file, clock), 1, clock)
        self.stop = threading.Event()

    def post(self, body: bytes) -> Answer:
        """The answer to this request. Raises what keeps the file from being written."""
        examined = examine(self.file, body, int(self.clock()))
        if not isinstance(examined, Request):
            return examined
        found = self.follower.follow(examined, self.stop)
        if isinstance(found, Answer):
            return found
        return cosign(self.file, examined, int(self.clock()), found)

    def close(self) -> None:
        self.follower.close()
        self.file.close()


class WitnessProcess:
    """`glassbook-verify witness FILE --listen`, a process of its own."""

    def __init__(self, path: Path, *options: str) -> None:
        code = "import typer; from verifier_cli.witnesscommand import witness; typer.run(witness)"
        self.said: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path), "--listen", "127.0.0.1:0", "--jobs", "1", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            cwd=Path(__file__).parents[2],
        )
        assert self.process.stderr is not None
        while " at http://" not in (line := self.process.stderr.readline()):
            if not line:
                self.process.wait()
                self.process.stderr.close()
                raise RuntimeError(f"ended with {self.process.returncode}: {''.join(self.said)}")
            self.said.append(line)
        self.url = line.rsplit(" at ", 1)[1].strip()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def post(self, body: bytes, timeout: float = 20) -> httpx.Response:
        return httpx.post(f"{self.url}/add-checkpoint", content=body, trust_env=False, timeout=timeout)

    def end(self, number: int = signal.SIGTERM, seconds: float = 20) -> int:
        """The exit code after this signal."""
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join(10)
        return code

    def __enter__(self) -> WitnessProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
