"""What a scenario works with: the log that runs, who watches it, and what was measured."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
from cluster import Cluster, Node, wait_for
from watching import Watcher

from ledger.store import StoreBusy
from ledger.store.log import read_batches, read_size
from ledger.store.publication import Publication, read_publication
from ledger.store.retention import first_leaf_held
from ledger.store.treetiles import read_leaf_hashes

TAKEN_OVER_S = 10.0
"""From the fault until the next batch is sequenced, or the next checkpoint published, by another process."""


@dataclass
class Story:
    """What is running, and what was measured."""

    cluster: Cluster
    watcher: Watcher
    chance: random.Random
    taken_over: dict[str, float] = field(default_factory=dict)
    leaves: bool = False  # whether entries have to have left the database by the end

    def takes_over(
        self, role: str, break_it: Callable[[Node], object], within_s: float = TAKEN_OVER_S
    ) -> Node:
        """Break the leader of a role; returns it once another one has done its next work, in time."""
        leader, before = self.cluster.leader(role), self.cluster.lease(role)
        assert before is not None
        self.wait_for_work(role)
        break_it(leader)
        begun = time.monotonic()

        def is_taken() -> bool:
            lease = self.cluster.lease(role)
            return lease is not None and lease.term > before.term

        wait_for(f"another {role} leads", is_taken, 60)
        self.wait_for_work(role)
        self.taken_over[role] = took = time.monotonic() - begun
        assert took <= within_s, f"the {role} was taken over from after {took:.1f} s"
        return leader

    def wait_for_work(self, role: str, seconds: float = 60) -> None:
        """Wait until the log grows, or what is published of it."""
        size: list[int] = []

        def grows() -> bool:
            try:
                now = self.watcher.size if role == "publisher" else self.size()
            except StoreBusy:
                return False
            size.append(now)
            return now > size[0]

        wait_for(f"a {role} works", grows, seconds)

    def size(self) -> int:
        with self.cluster.store.read() as db:
            return read_size(db)

    def publication(self) -> Publication:
        with self.cluster.store.read() as db:
            return read_publication(db)

    def held(self) -> int:
        """The first leaf whose entry is in the database."""
        with self.cluster.store.read() as db:
            return first_leaf_held(db)

    def published_leaf(self) -> bytes:
        """The leaf hash of any published entry, also of one that has left."""
        with self.cluster.store.read() as db:
            size = read_publication(db).published_size
            batches = [batch for batch in read_batches(db, 0, size) if batch.width and batch.stop <= size]
            batch = self.chance.choice(batches)
            index = batch.start + self.chance.randrange(batch.width)
            return read_leaf_hashes(db, [index])[index]

    @contextlib.contextmanager
    def entries_leaving(self) -> Iterator[None]:
        """A sequencer is in the middle of letting entries leave, and gets no further while the block lasts."""
        with psycopg.connect(self.cluster.url) as db:
            db.execute("SELECT number FROM entries FOR KEY SHARE")
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid"
            wait_for("entries leave", lambda: db.execute(waiting).fetchone() is not None)
            yield

    def stands_by(self, role: str, former: Node, said: int) -> None:
        """The former leader finds out by itself that it is none, and changes nothing."""
        before = self.cluster.lease(role)
        wait_for(f"{former.name} stands by", lambda: "standing by" in former.said(said).replace("_", " "), 60)
        lease = self.cluster.lease(role)
        assert before is not None and lease is not None
        assert (lease.term, lease.holder) == (before.term, before.holder), (
            f"{former.name} has taken the lease back"
        )
