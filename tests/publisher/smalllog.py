"""An operator's folder with a real database, sequencer, publisher and witness, for tests that break one of
them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn
from filledinbox import put_records
from oracle import mth

from ledger.core.encoding import u64
from ledger.core.entries import decode_entry
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import Ed25519Signer, MLDSASigner, VerifierKey
from ledger.core.policy import Policy
from ledger.core.statements import sign_charter
from ledger.publicfiles import Folder, PublicFiles
from ledger.sequencer.run import Sequencer, begin_log
from ledger.store import Store
from publisher.policy import PolicyFile, PolicyWitness, format_policy
from publisher.published import Published
from publisher.run import Publisher
from publisher.signing import LogSigner, SignedFile
from verifier_cli.witness import witness_app
from verifier_cli.witnessfile import WitnessFile

ORIGIN = "log.example.gov/access/2026"
NOW = 1_790_000_000
DAY = NOW // 86_400 - 1

ED25519 = Ed25519PrivateKey.from_seed(b"\x01" * 32)
MLDSA = MLDSA44PrivateKey.from_seed32(b"\x02" * 32)
REGISTRAR = Ed25519PrivateKey.from_seed(b"\x03" * 32)
LEDGER = Ed25519PrivateKey.from_seed(b"\x04" * 32)
LOG_VKEYS: tuple[VerifierKey, VerifierKey] = (
    Ed25519Signer(ORIGIN, ED25519).vkey,
    MLDSASigner(ORIGIN, MLDSA).vkey,
)


Read = Callable[[str], bytes | None]
"""A published file by its name, None when it is not there."""


class Clock:
    """Unix seconds that only a test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class LiveWitness:
    """A plain witness on a real socket; can be stopped and started again at the same address."""

    def __init__(self, path: Path, name: str, clock: Callable[[], float]) -> None:
        self.file = WitnessFile.create(path, name)
        for vkey in LOG_VKEYS:
            self.file.add_log(vkey)
        self._clock = clock
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        bound = socket.create_server(("127.0.0.1", self._port))
        self._port = bound.getsockname()[1]
        config = uvicorn.Config(
            witness_app(self.file, self._clock), access_log=False, log_level="error", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [bound]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def close(self) -> None:
        self.stop()
        self.file.close()


class SmallLog:
    """A home folder as `glassbook init` leaves it, and what works on it."""

    def __init__(self, home: Path, clock: Clock, url: str | None = None) -> None:
        self.home = home
        self.clock = clock
        (home / "keys").mkdir(parents=True)
        self.database = home / "ledger.sqlite"
        self.url = url or f"sqlite:///{self.database}"
        self.store = Store.open(self.url, create=True)
        self.charter = sign_charter(
            REGISTRAR,
            origin=ORIGIN,
            ledger=LEDGER.public,
            log_vkeys=[vkey.text for vkey in LOG_VKEYS],
            merge_delay_s=600,
            claims=["subject", "actor", "event", "purpose"],
            schemes={"nin": {"pattern": "[0-9]{8}", "text": {"en": "national number"}}},
        )
        begin_log(self.store, ORIGIN, self.charter)
        self.sequencer = Sequencer(self.store, ORIGIN)
        self.witnesses: list[LiveWitness] = []
        self.publishers: list[Publisher] = []

    @property
    def public(self) -> Path:
        return self.home / "public"

    def reopen(self) -> None:
        """Start again on the same files, as after a crash of all processes."""
        self.store.close()
        self.store = Store.open(self.url)
        self.sequencer = Sequencer(self.store, ORIGIN)

    def append(self, count: int) -> int:
        """Sequence this many records in one batch; returns the size of the log after it."""
        self.accept(count)
        done = self.sequencer.step()
        assert done is not None and done.entries == count
        return done.size

    def accept(self, count: int) -> None:
        """Have this many records wait in the inbox."""
        put_records(self.store, count, DAY)

    def add_witness(self, name: str = "W1") -> LiveWitness:
        """A new witness; `write_policy` makes it count."""
        witness = LiveWitness(self.home / f"{name}.sqlite", f"witness.example/{name}", self.clock)
        self.witnesses.append(witness)
        return witness

    def write_policy(self, text: str | None = None) -> None:
        """policy.txt with all witnesses, as `glassbook witness add` writes it, or this text."""
        named = [
            PolicyWitness(f"W{number}", witness.file.vkeys[0], witness.url)
            for number, witness in enumerate(self.witnesses, 1)
        ]
        (self.home / "policy.txt").write_text(text or format_policy(*LOG_VKEYS, named))

    def policy(self) -> Policy:
        return PolicyFile(self.home / "policy.txt", *LOG_VKEYS).read()[0]

    def publisher(
        self,
        files: PublicFiles | None = None,
        signed: SignedFile | None = None,
        refresh_s: int = 300,
        witness_wait_s: float = 0.2,
    ) -> Publisher:
        """A publisher that has just started."""
        self.published = Published(self.store)
        publisher = Publisher(
            self.store,
            files or Folder(self.public),
            LogSigner(ORIGIN, ED25519, MLDSA),
            signed or SignedFile(self.home / "keys" / "signed"),
            PolicyFile(self.home / "policy.txt", *LOG_VKEYS),
            self.published,
            self.clock,
            refresh_s,
            witness_wait_s,
        )
        self.publishers.append(publisher)
        return publisher

    def close(self) -> None:
        for publisher in self.publishers:
            publisher.close()
        for witness in self.witnesses:
            witness.close()
        self.store.close()


def walk(place: Path | Read, policy: Policy, now: int) -> list[bytes]:
    """Audit published files without any code of the publisher: all entries of the published checkpoint.

    Reads the checkpoint under the policy, every entry bundle by the paths of tlog-tiles, every hash tile,
    and holds them against each other and against the root.
    """
    read = place if callable(place) else _reader(place)
    opened = policy.open(_there(read("checkpoint")), now)
    size, root = opened.checkpoint.size, opened.checkpoint.root
    entries: list[bytes] = []
    while len(entries) < size:
        width = min(256, size - len(entries))
        data, whole = _tile(read, "entries", len(entries) // 256, width)
        at = 0
        for _ in range(width):
            length = int.from_bytes(data[at : at + 2], "big")
            entries.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        if whole:
            assert at == len(data)
    assert mth(entries) == root
    level, span = 0, 1
    while size // span:
        for n in range(-(-(size // span) // 256)):
            width = min(256, size // span - 256 * n)
            first = [(256 * n + slot) * span for slot in range(width)]
            wanted = b"".join(mth(entries[start : start + span]) for start in first)
            assert _tile(read, str(level), n, width)[0][: 32 * width] == wanted
        level, span = level + 1, span * 256
    last = decode_entry(entries[-1])
    assert last.encode()[:10] == b"\x01\x03" + u64(size - 1)
    return entries


def _reader(folder: Path) -> Read:
    def read(name: str) -> bytes | None:
        path = folder / name
        return path.read_bytes() if path.is_file() else None

    return read


def _there(data: bytes | None) -> bytes:
    assert data is not None
    return data


def _tile(read: Read, kind: str, n: int, width: int) -> tuple[bytes, bool]:
    """The tile, and whether it is the file of just this width."""
    assert n < 1000
    full = f"tile/{kind}/{n:03d}"
    if width < 256 and (partial := read(f"{full}.p/{width}")) is not None:
        return partial, True
    return _there(read(full)), width == 256
