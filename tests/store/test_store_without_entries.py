"""Everything goes on in a database whose entries have left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from engines import ENGINES, new_url
from letleave import grow, let_leave, publish, read_from
from smallledger import NOW, SmallLedger, coverage, record

from ledger.core.entries import decode_entry
from ledger.core.index import EMPTY, PrefixTree
from ledger.core.merkle import EMPTY_ROOT, leaf_hash, tree_root
from ledger.core.tiles import TileHashes
from ledger.sequencer import leaving
from ledger.sequencer import run as sequencer_run
from ledger.service.acceptance import Accepted, Duplicate
from ledger.service.problems import Refusal, RequestRefused
from ledger.store import (
    Store,
    StoreBusy,
    log,
    schema,
    settling,
    treetiles,
)
from ledger.store.buckets import StoredRows, labels_between, load_tree
from ledger.store.engine import run
from ledger.store.envelopes import erase_envelopes, missing_entries
from ledger.store.retention import first_leaf_held
from ledger.store.statements import insert_rows


@pytest.mark.parametrize("kept", [0, 256, 700])
def test_a_leaf_hash_is_lost_with_its_tile_or_its_entry(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Tiles go where the entries are, entries go where the tiles are, in turn and at odd places."""
    monkeypatch.setattr(treetiles, "TILES_KEPT", kept)
    monkeypatch.setattr(leaving, "SLICE", 130)
    raws = [*ledger.entries(), *grow(ledger, 300, 1, 255, 90)]
    publish(ledger.store, 400)
    let_leave(ledger)
    raws += grow(ledger, 700, 90)
    publish(ledger.store, 1200)
    let_leave(ledger)
    raws += grow(ledger, 333)
    with ledger.store.read() as db:
        assert first_leaf_held(db) == 1024
        stored = set(run(db, "SELECT n FROM tree_tiles WHERE level = 0").scalars())
        assert stored == set(range(7)) if kept == 700 else {0, 1, 2, 3, 6} <= stored < set(range(7))
        found = treetiles.read_leaf_hashes(db, range(ledger.size()))
        known = {leaf_hash(raw) for raw in raws}
        assert len(found) == ledger.size() and known <= set(found.values())
        for n in range(7):
            width = min(256, ledger.size() - 256 * n)
            tile = b"".join(found[at] for at in range(256 * n, 256 * n + width))
            assert treetiles.read_tile(db, 0, n, width) == tile
        assert tree_root(ledger.size(), TileHashes(read_from(db), ledger.size())) == log.read_state(db).root
        with pytest.raises(LookupError):
            treetiles.read_tile(db, 0, 6, 256)


def test_a_duplicate_whose_entry_leaves_meanwhile_is_an_error_of_the_ledger(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = grow(ledger, 3)
    # As PostgreSQL shows it: gone when looked for, and its tile not yet there when that was.
    monkeypatch.setattr(treetiles, "read_leaf_hashes", lambda db, indices: {})
    with pytest.raises(RequestRefused) as refused:
        ledger.accept(raws)
    assert refused.value.refusal.code == "busy"


@pytest.mark.parametrize("engine", ENGINES)
def test_two_entries_far_apart_are_found_by_reading_all_between(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(new_url(engine, tmp_path), create=True)
    rows = [log.Batch(2 * at, 1 + at, 1, b"root", 0) for at in range(2000)]
    with store.write() as db:
        log.begin_log(db, log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0))
        log.append_batches(db, rows)
        insert_rows(db, schema.entries, [(1 + at, b"%d" % at) for at in range(2000)])
    seen: list[int] = []
    made = log._batches

    def counted(found: Any) -> list[log.Batch]:
        batches = made(found)
        seen.append(len(batches))
        return batches

    monkeypatch.setattr(log, "_batches", counted)
    with store.read() as db:
        assert log.read_entries_at(db, [3998, 0, 5, 1]) == {0: b"0", 1: b"root", 5: b"root", 3998: b"1999"}
        assert log.index_of(db, [2000, 1, 3]) == {1: 0, 3: 4, 2000: 3998}
    assert sum(seen) <= 2 * (3 + 1), "rows of batches"
    store.close()


def test_what_comes_after_is_taken_sequenced_and_judged_otherwise(ledger: SmallLedger) -> None:
    raws = grow(ledger, 300, 300, 1)
    whole = ledger.entries()
    publish(ledger.store, ledger.size())
    let_leave(ledger)
    ledger.reopen()
    ledger.sequencer.load()
    with ledger.store.read() as db:
        assert first_leaf_held(db) == 512
    known = {leaf_hash(raw): at for at, raw in enumerate(whole)}
    for outcome, raw in zip(ledger.accept(raws), raws, strict=True):
        assert isinstance(outcome, Duplicate) and outcome.at == known[leaf_hash(raw)]
    for at in (0, 299, 300):
        label = decode_entry(raws[at]).label  # type: ignore[union-attr]
        (refused,) = ledger.accept([record(label=label)])
        assert isinstance(refused, Refusal) and refused.code == "label-conflict"
    right, wrong = coverage(len(raws)), coverage(len(raws) - 1)
    (refused,) = ledger.accept([wrong])
    assert isinstance(refused, Refusal)
    new = [right, *(record(day=NOW // 86_400) for _ in range(9))]
    assert all(isinstance(outcome, Accepted) for outcome in ledger.accept(new))
    ledger.sequencer.step()
    with ledger.store.read() as db:
        assert log.read_entries(db, len(whole), ledger.size())[:-1] == new
        assert log.read_entries(db, 512, len(whole)) == whole[512:]
        assert log.read_charter_entry(db) == whole[0]


def test_the_index_cannot_be_followed_without_the_entries(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bucket hashes written for a later size, and changes dropped: the labels are read where they are."""
    monkeypatch.setattr(sequencer_run, "PAGES_EVERY", 200)
    monkeypatch.setattr(settling, "RECENT", 150)
    roots = {}
    for _ in range(8):
        grow(ledger, 100)
        while ledger.sequencer.settle():
            pass
        with ledger.store.read() as db:
            state = log.read_state(db)
            roots[state.size] = state.index_root
    with ledger.store.read() as db:
        before = {size: sorted(labels_between(db, size, ledger.size())) for size in roots}
    publish(ledger.store, ledger.size())
    let_leave(ledger)
    with ledger.store.read() as db:
        assert first_leaf_held(db) == 768
        for size, root in roots.items():
            assert sorted(labels_between(db, size, ledger.size())) == before[size]
            rows = StoredRows(size - 1)
            rows.db = db
            tree = PrefixTree(rows)
            load_tree(db, tree, size)
            assert tree.root == root


def test_an_erasure_in_the_middle_of_which_entries_leave_says_that_they_are_unknown(
    ledger: SmallLedger,
) -> None:
    raws = grow(ledger, 300)
    publish(ledger.store, ledger.size())
    leaves = [leaf_hash(raws[0])]
    with ledger.store.read() as db:
        assert missing_entries(db, leaves) == {}
    let_leave(ledger)
    with pytest.raises(StoreBusy, match="just now"), ledger.store.write() as db:
        erase_envelopes(db, 1, leaves)
    with ledger.store.read() as db:
        (number,) = missing_entries(db, leaves)
    with ledger.store.write() as db:
        assert erase_envelopes(db, 1, leaves, {number: raws[0]})[0].value == "erased"
        assert erase_envelopes(db, 1, [os.urandom(32)])[0].value == "unknown"
