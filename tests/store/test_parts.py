"""The index that the sequencer grows by parts: its labels in the database, over restarts and changes of leader."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from functools import cache

import pytest
from smallledger import ORIGIN, SmallLedger, record

from ledger.core.entries import Record, decode_entry, record_index_label
from ledger.core.index import PrefixTree
from ledger.core.indexproof import ROW
from ledger.sequencer.run import Sequencer, SequencerLost
from ledger.store import StoreUnusable, labels, log, settling
from ledger.store.buckets import StoredRows, labels_between, load_tree
from ledger.store.engine import Connection


@cache
def crowded() -> list[bytes]:
    """Labels of records by source 1 whose index labels begin with the same 18 bits as some others of them."""
    like = decode_entry(record())
    assert isinstance(like, Record)
    buckets: dict[int, list[bytes]] = defaultdict(list)
    for _ in range(300_000):
        label = os.urandom(32)
        index = record_index_label(like.source, like.epoch, like.seal, label)
        buckets[int.from_bytes(index[:3], "big") >> 6].append(label)
    return [label for _, some in sorted(buckets.items(), key=lambda one: -len(one[1]))[:60] for label in some]


@pytest.mark.parametrize("warm", [False, True])
def test_an_index_built_upon_after_a_restart_is_another(
    ledger: SmallLedger, warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its labels have settled, are recent, or both in one bucket; what they hash to is made ahead, or when needed."""
    monkeypatch.setattr(settling, "RECENT", 40)
    pool = random.sample(crowded(), 240)
    settled = 0
    for start in range(0, 240, 60):
        ledger.accept([record(label=label) for label in pool[start : start + 60]])
        while ledger.sequencer.step() is not None or ledger.sequencer.settle():
            pass
        ledger.reopen()
        ledger.sequencer.load()
        tip = ledger.sequencer._tip
        assert tip is not None and 0 < sum(tip.rows._labels) <= 40, "some have settled and some have not"
        with ledger.store.read() as db:
            parts = [data for _, data in labels.read_some_parts(db, 0, 1 << 20)]
            settled = max(settled, *map(len, parts))
            assert tip.state.index_root == reloaded(db).root
        steps = 0
        while warm and tip.tree.cold:
            ledger.sequencer.warm()
            steps += 1
        assert steps == (256 if warm else 0)
    assert settled >= 2 * ROW.size, "several labels in one part"
    assert ledger.violations() == []


def reloaded(db: Connection) -> PrefixTree:
    """The index as a reader has it that starts now."""
    state = log.read_state(db)
    rows = StoredRows(state.size)
    rows.db = db
    tree = PrefixTree(rows)
    load_tree(db, tree, state.size)
    assert all(tree.prove_many([label for label in labels_between(db, 0, state.size) if label]))
    return tree


@pytest.mark.parametrize("warm", [False, True])
def test_a_sequencer_that_was_overtaken_calls_the_database_damaged(
    ledger: SmallLedger, warm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has settled since is not what it remembers."""
    monkeypatch.setattr(settling, "RECENT", 0)
    pool = random.sample(crowded(), 240)

    def sequence(some: list[bytes]) -> None:
        ledger.accept([record(label=label) for label in some])
        while ledger.sequencer.step() is not None or ledger.sequencer.settle():
            pass

    sequence(pool[:100])
    slow = Sequencer(ledger.store, ORIGIN)
    slow.load()
    while warm and slow._tip is not None and slow._tip.tree.cold:
        slow.warm()
    sequence(pool[100:180])
    ledger.accept([record(label=label) for label in pool[180:]])
    with pytest.raises(SequencerLost, match="by another's hand"):
        slow.step()
    assert ledger.sequencer.step() is not None
    assert ledger.violations() == []


def test_labels_that_were_altered_are_not_made_ready(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RECENT", 0)
    ledger.accept([record() for _ in range(20)])
    while ledger.sequencer.step() is not None or ledger.sequencer.settle():
        pass
    ledger.reopen()
    ledger.sequencer.load()
    with ledger.store.write() as db:
        (part, data), *_ = labels.read_some_parts(db, 0, 1)
        labels.write_parts(db, [(part, data[:-1] + bytes((data[-1] ^ 1,)))])
    with pytest.raises(StoreUnusable, match="do not hash to it: restore a backup"):
        for _ in range(256):
            ledger.sequencer.warm()
