"""A log as it is scaled: two each of `ledger serve`, `ledger sequence` and `publisher run`, on one PostgreSQL and one
bucket, with a witness; each process in a folder of its own, and each of its connections through a wire of its own.

    with Cluster(tmp_path) as cluster:
        cluster.sequencers[0].kill()
        cluster.publishers[1].database.set("hangs")
        cluster.bucket_of("publisher-a").fault = lambda method, path: "refused"
        cluster.heal()

All are real processes; whoever looks from outside (`store`, `files`) goes around the wires.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from breakingproxy import BreakingProxy
from bucketserver import BucketServer, free_ports
from cutwire import Network, Wire
from postgresserver import PostgresServer
from smallledger import seed, statement

from ledger.core import vrf
from ledger.core.encoding import b64encode, b64url_encode
from ledger.core.keys import Ed25519PrivateKey, parse_private_key
from ledger.core.policy import Policy, parse_policy
from ledger.core.statements import Charter, parse_charter, sign_source
from ledger.settings import FILE, PublicBucket
from ledger.store import Store, StoreBusy
from ledger.store.leases import Lease
from ledger.store.log import read_charter_entry

BIN = Path(sys.executable).parent
ORIGIN = "log.example.gov/access/2026"
ROLES = ("ledger", "sequencer", "publisher")
WORDS = {
    "ledger": ("ledger", "serve"),
    "sequencer": ("ledger", "sequence"),
    "publisher": ("publisher", "run"),
}
KEYS = {
    "ledger": ("ledger.key",),
    "sequencer": (),
    "publisher": ("log.ed25519.key", "log.mldsa44.key"),
}
START_S = 90.0
"""How long anything may take to start beside other work on two cores."""


def run(*words: str | Path) -> str:
    done = subprocess.run(
        [str(BIN / words[0]), *map(str, words[1:])], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(what: str, done: Callable[[], bool], seconds: float = START_S, every: float = 0.05) -> float:
    """Seconds until it is so.  AssertionError when it is not in time."""
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(every)
    return time.monotonic() - begun


class Node:
    """One process, its folder, and its wires to database, bucket, witness and publisher."""

    def __init__(self, role: str, letter: str, folder: Path, port: int) -> None:
        self.role, self.name, self.folder, self.port = role, f"{role}-{letter}", folder, port
        self.log = folder.parent / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.stopped = False
        self.database: Wire
        self.bucket: Wire
        self.faults: BreakingProxy  # what the bucket answers this process
        self.witness: Wire
        self.publisher: Wire  # where a ledger asks for proofs and for entries that have left

    @property
    def wires(self) -> tuple[Wire, ...]:
        return self.database, self.bucket, self.witness, self.publisher

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(BIN / "glassbook"), *WORDS[self.role], str(self.folder)], stdout=log, stderr=log
            )
        self.stopped = False

    def kill(self) -> None:
        """kill -9."""
        self._send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(20)

    def stop(self) -> None:
        """SIGSTOP."""
        self._send(signal.SIGSTOP)
        self.stopped = True

    def go_on(self) -> None:
        self._send(signal.SIGCONT)
        self.stopped = False

    def end(self) -> int:
        """As its operator would; the exit code.  Killed when it does not end within 60 s."""
        self.go_on()
        self._send(signal.SIGTERM)
        assert self.process is not None
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def said(self, since: int = 0) -> str:
        """Its log, from this byte on."""
        return self.log.read_bytes()[since:].decode()

    @property
    def has_said(self) -> int:
        """Bytes of its log."""
        return self.log.stat().st_size if self.log.exists() else 0

    def _send(self, number: signal.Signals) -> None:
        if self.runs:
            os.kill(self.pid, number)


class Cluster:
    """Everything, running; source 1 is registered and published."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.network = Network()
        self.nodes: dict[str, Node] = {}
        self.witness: subprocess.Popen[bytes] | None = None
        self.server = BucketServer()
        self.postgres = PostgresServer(durable=True)
        self.proxies: list[BreakingProxy] = []
        self.held = 0  # the first leaf whose entry the database held when the log was last judged
        try:
            self.server.start()
            self._begin()
        except BaseException:
            self.close()
            raise

    # -- what is there -----------------------------------------------------------------------------------

    @property
    def ledgers(self) -> list[Node]:
        return self._of("ledger")

    @property
    def sequencers(self) -> list[Node]:
        return self._of("sequencer")

    @property
    def publishers(self) -> list[Node]:
        return self._of("publisher")

    def _of(self, role: str) -> list[Node]:
        return [node for node in self.nodes.values() if node.role == role]

    def lease(self, role: str) -> Lease | None:
        """Who leads, straight from the database; None when it does not answer."""
        try:
            return self.store.lease(role)
        except StoreBusy:
            return None

    def leader(self, role: str) -> Node:
        """The node that leads a role; waits until there is one."""
        found: list[Node] = []

        def look() -> bool:
            lease = self.lease(role)
            if lease is not None and lease.left_ms > 0:
                pid = int(lease.holder.split(":")[-2])
                found.extend(node for node in self._of(role) if node.runs and node.pid == pid)
            return bool(found)

        wait_for(f"a {role} leads", look)
        return found[0]

    def standby(self, role: str) -> Node:
        """The other one."""
        leader = self.leader(role)
        return next(node for node in self._of(role) if node is not leader)

    def overheard(self) -> list[bytes]:
        """All that was ever sent to the witness."""
        return [bytes(said) for node in self.nodes.values() for said in node.witness.overheard or ()]

    # -- making it -----------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.url = self.postgres.new_database()
        self.at = self.server.new_bucket()
        home = self.home = self.place / "home"
        run(
            "glassbook", "init", home, "--origin", ORIGIN, "--yes", "--no-passphrase",
            "--listen", "127.0.0.1:9", "--public-listen", "127.0.0.1:9", "--database", self.url,
        )  # fmt: skip
        self.store = Store.open(self.url)
        with self.store.read() as db:
            self.charter: Charter = parse_charter(read_charter_entry(db))
        self._start_witness()
        ports = free_ports(6)
        for role in ROLES:
            for letter in "ab":
                self._make(role, letter, ports)
        for node in self.nodes.values():
            node.start()
        for node in self.ledgers + self.publishers:
            wait_for(f"{node.name} is up", lambda node=node: answers(f"{node.url}/healthz"))  # type: ignore[misc]
        self._register()

    def _start_witness(self) -> None:
        keys = [
            word
            for vkey in (self.home / "log-vkeys.txt").read_text().split()
            for word in ("--log-vkey", vkey)
        ]
        file = self.place / "w.sqlite"
        init = ("--init", file, "--name", "witness.example/w1")
        vkey = run("glassbook-verify", "witness", "--plain", *init, *keys).strip()
        (self.witness_port,) = free_ports(1)
        self.witness_file = file
        with (self.place / "witness.log").open("ab") as log:
            self.witness = subprocess.Popen(
                [BIN / "glassbook-verify", "witness", "--plain", file, "--listen", f"127.0.0.1:{self.witness_port}"],
                stderr=log,
            )  # fmt: skip
        run("glassbook", "witness", "add", vkey, f"http://127.0.0.1:{self.witness_port}", self.home)
        self.policy: Policy = parse_policy((self.home / "policy.txt").read_bytes())

    def _make(self, role: str, letter: str, ports: list[int]) -> None:
        number = len(self.nodes)
        folder = self.place / f"{role}-{letter}"
        node = Node(role, letter, folder, ports[number])
        node.database = self.network.wire(self.postgres.port)
        node.faults = BreakingProxy(self.server.endpoint)
        self.proxies.append(node.faults)
        node.bucket = self.network.wire(int(node.faults.url.rpartition(":")[2]))
        node.witness = self.network.wire(self.witness_port)
        node.witness.overheard = []
        (folder / "keys").mkdir(parents=True, mode=0o700)
        for name in KEYS[role]:
            shutil.copy2(self.home / "keys" / name, folder / "keys" / name)
        database = self.url.replace(f":{self.postgres.port}/", f":{node.database.port}/")
        through = PublicBucket(
            self.at.bucket, self.at.prefix, f"http://127.0.0.1:{node.bucket.port}", self.at.region,
            self.at.credentials, self.at.virtual_hosted, self.at.allow_http,
        )  # fmt: skip
        # Each ledger asks the publisher of its own letter for proofs, as if that stood beside it.
        node.publisher = self.network.wire(ports[2 * ROLES.index("publisher") + "ab".index(letter)])
        public = f"http://127.0.0.1:{node.publisher.port}"
        settings = folder / FILE
        settings.write_text(
            f'origin = "{ORIGIN}"\ndatabase = "{database}"\n{self.server.settings(through)}\n'
            f'[ledger]\nlisten = "127.0.0.1:{node.port}"\npublic_url = "{public}"\n\n'
            f'[publisher]\nlisten = "127.0.0.1:{node.port}"\n'
        )
        settings.chmod(0o600)
        policy = (self.home / "policy.txt").read_text()
        (folder / "policy.txt").write_text(policy.replace(f":{self.witness_port}", f":{node.witness.port}"))
        self.nodes[node.name] = node

    def _register(self) -> None:
        """Source 1, published."""
        registrar = parse_private_key(
            (self.home / "keys" / "registrar.key").read_bytes(), None, "registrar.key"
        )
        assert isinstance(registrar, Ed25519PrivateKey)
        year = time.gmtime().tm_year
        stated = statement(vrf={str(year): b64url_encode(vrf.public_key(seed("vrf")))}, since=f"{year}-01-01")
        entry = b64encode(sign_source(registrar, self.charter, 1, stated))
        url = f"{self.ledgers[0].url}/v1/entries?wait=published"
        answer = httpx.post(url, json={"entries": [{"entry": entry}]}, trust_env=False, timeout=START_S)
        assert answer.json()["results"][0]["status"] == "published", answer.text

    def keep(self, days: int | None) -> None:
        """Have both sequencers begin anew with this `keep_days`; None: without, so that entries stay."""
        line = "" if days is None else f"\n[sequencer]\nkeep_days = {days}\n"
        for node in self.sequencers:
            node.end()
            settings = node.folder / FILE
            settings.write_text(settings.read_text().partition("\n[sequencer]")[0] + line)
            node.start()

    # -- ends ------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """All wires pass, both servers run, every process runs."""
        for node in self.nodes.values():
            node.faults.fault = lambda _method, _path: None
            node.faults.release.set()
            for wire in node.wires:
                wire.set("passes")
            if node.stopped:
                node.go_on()
            if not node.runs:
                node.start()

    def close(self) -> None:
        for node in self.nodes.values():
            node.go_on()
            node.kill()
        if self.witness is not None:
            self.witness.kill()
            self.witness.wait(20)
        if hasattr(self, "store"):
            self.store.close()
        for proxy in self.proxies:
            proxy.close()
        self.network.close()
        self.server.close()
        self.postgres.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def answers(url: str) -> bool:
    """Whether it answers 200 within five seconds."""
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
