"""What has to be true of the log after whatever has happened, once everything is whole again."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter

import httpx
from cluster import BIN, ORIGIN, Cluster, wait_for
from handingin import Answers
from smalllog import walk
from watching import Watcher

from ledger.core.entries import decode_entry
from ledger.core.merkle import leaf_hash
from ledger.core.promise import parse_promise, verdict
from ledger.core.receipt import check_receipt, parse_receipt
from ledger.core.replay import Replay, bad_signatures
from ledger.core.tiles import FULL_WIDTH
from ledger.store import StoreBusy, inbox, log
from ledger.store.engine import run
from ledger.store.publication import read_publication
from ledger.store.retention import first_leaf_held

SETTLED_S = 120.0
SAMPLE = 6


def judge(cluster: Cluster, answers: Answers, watcher: Watcher, seed: int, leaves: bool = False) -> int:
    """Hold the whole log against every answer that was ever given; its size.  AssertionError.

    `leaves`: entries have left the database since it was last judged; otherwise none may have.
    """
    wait_for("all that was accepted is published", lambda: _settled(cluster), SETTLED_S)
    assert answers.faults == [], answers.faults
    entries = read_all(cluster)
    _audit(cluster)
    replay = Replay(ORIGIN, int(time.time()))
    replay.report(bad_signatures(ORIGIN, replay.feed_many(entries)))
    replay.finish()
    assert list(replay.violations) == []
    each_once(answers, entries)
    no_gap(cluster, len(entries), leaves)
    watcher.judge()
    assert watcher.faults == []
    _promises(cluster, answers, watcher, entries)
    _receipts(cluster, answers, random.Random(seed))
    return len(entries)


def _settled(cluster: Cluster) -> bool:
    try:
        with cluster.store.read() as db:
            waiting, size = inbox.backlog(db), log.read_size(db)
            return waiting == 0 and read_publication(db).published_size == size
    except StoreBusy:
        return False


def read_all(cluster: Cluster) -> list[bytes]:
    """All entries of the published log, read from the bucket and held against its root by the tests' own tree."""
    at = cluster.at
    base = f"{at.endpoint}/{at.bucket}/{at.prefix}"
    with httpx.Client(trust_env=False, timeout=30) as client:

        def read(name: str) -> bytes | None:
            answer = client.get(f"{base}/{name}")
            return answer.content if answer.status_code == 200 else None

        return walk(read, cluster.policy, int(time.time()))


def _audit(cluster: Cluster) -> None:
    at = cluster.at
    done = subprocess.run(
        [
            BIN / "glassbook-verify", "audit", "--policy", cluster.home / "policy.txt", "--jobs", "1",
            "--log", f"{at.endpoint}/{at.bucket}/{at.prefix}", "--audit", cluster.place / "audit",
            "--state", cluster.place / "seen",
        ],
        capture_output=True, text=True, timeout=120, cwd=cluster.place,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def each_once(answers: Answers, entries: list[bytes]) -> None:
    found = Counter(entries)
    lost = [raw for raw in answers.answered if raw not in found]
    assert not lost, f"{len(lost)} records that were accepted are not in the log"
    doubled = [raw for raw, times in found.items() if times > 1]
    assert not doubled, f"{len(doubled)} entries are twice in the log"
    labels = Counter(decode_entry(raw).index_label for raw in entries)
    del labels[None]  # index roots have none
    assert max(labels.values()) == 1, "a label is twice in the log"
    strangers = sum(raw[1] == 1 and raw not in answers.answered for raw in entries)
    assert strangers == 0, f"{strangers} records are in the log that nobody was told of"


def no_gap(cluster: Cluster, size: int, leaves: bool) -> None:
    """All entries are in the database from the first one on that is; before it only what may have left."""
    with cluster.store.read() as db:
        held, published = first_leaf_held(db), read_publication(db).published_size
        numbers = run(db, "SELECT number FROM entries ORDER BY number").scalars().all()
        batches = run(db, "SELECT start, width FROM batches ORDER BY start").all()
        assert log.read_size(db) == size

    def before(leaf: int) -> int:
        """How many of the leaves before this one are entries with a number."""
        return sum(min(width, max(0, leaf - start)) for start, width in batches)

    left = before(held)
    assert numbers == [*range(left + 1, before(size) + 1)], "entries are missing in the database"
    assert left <= before(published // FULL_WIDTH * FULL_WIDTH), "entries left that no full bundle has"
    if leaves:
        assert held > cluster.held, "no entry has left the database"
    else:
        assert held == cluster.held, "entries have left a database that keeps them"
    cluster.held = held
    at = 0
    for start, width in batches:
        assert start == at, f"batches leave a gap at leaf {at}"
        at = start + width + 1
    assert at == size


def _promises(cluster: Cluster, answers: Answers, watcher: Watcher, entries: list[bytes]) -> None:
    """Each was kept, by the first checkpoint seen that has its entry."""
    charter, now = cluster.charter, int(time.time())
    index = {raw: at for at, raw in enumerate(entries)}
    opened = [cluster.policy.open(note, now) for _, note, _ in watcher.notes]
    first = 0
    for raw in sorted(answers.promises, key=index.__getitem__):
        while opened[first].checkpoint.size <= index[raw]:
            first += 1
        promise = parse_promise(answers.promises[raw], charter.origin, charter.ledger)
        one = opened[first]
        said = verdict(promise.accepted, charter.merge_delay_s, True, one.oldest, one.newest)
        assert said == "kept", f"the promise of entry {index[raw]} is {said}"


def _receipts(cluster: Cluster, answers: Answers, chance: random.Random) -> None:
    """Both ledgers give receipts, and they hold."""
    for raw in chance.sample(sorted(answers.answered), min(SAMPLE, len(answers.answered))):
        for ledger in cluster.ledgers:
            address = f"{ledger.url}/v1/receipts/{leaf_hash(raw).hex()}"
            answer: list[httpx.Response] = []

            def ask(address: str = address, answer: list[httpx.Response] = answer) -> bool:
                try:
                    answer[:] = [httpx.get(address, trust_env=False, timeout=30)]
                except httpx.HTTPError:
                    return False
                return answer[0].status_code == 200

            wait_for(f"{ledger.name} gives a receipt", ask, SETTLED_S, 0.3)
            checked = check_receipt(parse_receipt(answer[0].content), cluster.policy, int(time.time()))
            assert checked.receipt.entry == raw
