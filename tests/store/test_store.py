"""What the rest of the ledger relies on of its database, whatever engine that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from smallledger import DAY, ORIGIN, SmallLedger, coverage, record
from sqlalchemy.exc import IntegrityError

from ledger.core.entries import decode_entry
from ledger.core.index import PrefixTree
from ledger.core.indexproof import ROW
from ledger.core.merkle import leaf_hash
from ledger.sequencer import run as sequencer_run
from ledger.sequencer.run import Sequencer
from ledger.store import (
    Store,
    StoreUnusable,
    envelopes,
    inbox,
    keys,
    labels,
    log,
    publication,
    recents,
    settling,
    treetiles,
)
from ledger.store.buckets import StoredRows, follow_tree, labels_between, load_tree
from ledger.store.engine import Connection, run
from ledger.store.knownlabels import KnownLabels, Place
from ledger.store.settling import GrowingRows

Row = tuple[bytes, bytes, bytes, bytes | None, bytes | None]


def accepted(label: bytes, entry: bytes = b"entry") -> Row:
    return entry, label, leaf_hash(entry), None, None


def state(size: int, last: int) -> log.State:
    return log.State(size, b"r" * 32, 1, b"i" * 32, 1, 2, last)


def put(store: Store, *rows: Row) -> int:
    with store.write() as db:
        first = inbox.next_number(db)
        inbox.put(db, first, inbox.Arrivals(*rows))
    return first


def found_labels(db: Connection, asked: list[bytes]) -> dict[bytes, Place]:
    known = KnownLabels()
    known.catch_up(db)
    return known.find(db, asked)


def settle(db: Connection, rows: GrowingRows, part: int, last: int) -> None:
    rows.prepare(db, last)
    rows.settle(db, part, last)
    rows.settled(part, last)


def test_what_a_failed_transaction_wrote_is_gone(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as db:
        inbox.put(db, inbox.next_number(db), inbox.Arrivals(accepted(b"a" * 32)))
        raise RuntimeError("the process dies here")
    with store.read() as db:
        assert found_labels(db, [b"a" * 32]) == {}
        assert inbox.backlog(db) == 0


def test_state_changes_only_for_whoever_knows_it(store: Store) -> None:
    with store.read() as db:
        empty = log.read_state(db)
    with store.write() as db:
        assert not log.swap_state(db, state(1, 0), state(2, 1))
        assert not log.swap_state(db, state(0, 7), state(2, 1))
        assert log.swap_state(db, empty, state(2, 1))
    with store.write() as db:
        assert log.read_state(db) == state(2, 1)
        assert not log.swap_state(db, empty, state(2, 1))


def test_publication_changes_only_for_whoever_knows_it(store: Store) -> None:
    with store.write() as db:
        first = publication.read_publication(db)
        assert publication.swap_signed(db, first, 4, b"note 4")
        assert not publication.swap_signed(db, first, 6, b"note 6")
        now = publication.read_publication(db)
        assert not publication.swap_published(db, now, 6, b"note 6", 100), "nothing of size 6 was signed"
        assert publication.swap_published(db, now, 4, b"note 4 cosigned", 100)
        assert not publication.swap_published(db, now, 4, b"another", 101)
        assert publication.read_publication(db) == publication.Publication(
            4, b"note 4", 4, b"note 4 cosigned", 100
        )


def test_the_inbox_gives_its_entries_back_in_the_order_of_acceptance(store: Store) -> None:
    first = put(store, *(accepted(bytes([9 - at]) * 32, b"entry %d" % at) for at in range(3)))
    assert put(store, accepted(b"z" * 32, b"entry 3")) == first + 3
    with store.write() as db:
        assert inbox.take_waiting(db, 0, 2) == [(first, b"entry 0"), (first + 1, b"entry 1")]
        assert inbox.backlog(db) == 4
        assert log.swap_state(db, log.read_state(db), state(3, first + 1))
        assert inbox.take_waiting(db, first + 1, 9) == [(first + 2, b"entry 2"), (first + 3, b"entry 3")]
        assert inbox.backlog(db) == 2


def test_the_inbox_counts_records_by_source_and_day_and_nothing_else(store: Store) -> None:
    one, other = record(), record(day=DAY - 1)
    first = put(store, *(accepted(os.urandom(32), raw) for raw in (one, record(), other, coverage(1))))
    with store.write() as db:
        assert inbox.waiting_day_counts(db) == {inbox.day_key(one): 2, inbox.day_key(other): 1}
        assert log.swap_state(db, log.read_state(db), state(2, first))
        assert inbox.waiting_day_counts(db) == {inbox.day_key(one): 1, inbox.day_key(other): 1}


def test_day_counts_add_up(store: Store) -> None:
    with store.write() as db:
        log.add_day_counts(db, [(1, 5, 2), (2, 5, 1)])
        log.add_day_counts(db, [(1, 5, 3)])
        assert log.read_day_count(db, 1, 5) == 5
        assert log.read_day_count(db, 2, 5) == 1
        assert log.read_day_count(db, 2, 6) == 0


def test_labels_are_found_where_they_are_recent_and_where_they_have_settled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RECENT", 600)
    known = [os.urandom(32) for _ in range(1203)]
    first = put(store, *(accepted(label, b"%d" % at) for at, label in enumerate(known)))
    numbers = {label: Place(first + at, None) for at, label in enumerate(known)}
    asked = [*known, os.urandom(32)]
    rows = GrowingRows()
    with store.write() as db:
        assert found_labels(db, asked) == numbers
        log.append_batches(db, [log.Batch(0, first, 1203, b"root", 0)])
        assert log.swap_state(db, log.read_state(db), state(1204, first + 1202))
        rows.load(db)
        parts = []
        while (part := rows.due(first + 1202)) is not None:
            settle(db, rows, part, first + 1202)
            parts.append(part)
        assert len(set(parts)) == len(parts) > 4
        marks = recents.read_marks(db)
        assert marks[:16] == [first + 1202 if part in parts else 0 for part in range(16)]
        assert marks[16:] == [first + 1202] * 16, "four slices of keys with each of the labels"
        assert found_labels(db, asked) == numbers, "whose keys have not settled are recent still"
        check_keys(db, first, 1203)
        assert labels.count_labels(db, first + 1202) == 1203
        rows = GrowingRows()  # as after a restart: what keys have settled do so again
        rows.load(db)
        monkeypatch.setattr(settling, "RECENT", -1)
        for part in range(16):
            settle(db, rows, part, first + 1202)
        assert recents.oldest(db) is None
        places = {label: Place(None, at) for at, label in enumerate(known)}
        assert found_labels(db, asked) == places
        check_keys(db, first, 1203)
        assert labels.count_labels(db, first + 1202) == 1203


def check_keys(db: Connection, first: int, count: int) -> None:
    """Each of the entries b"0", b"1" … is found by its leaf hash, once, among few asked for as among many."""
    leaves = [leaf_hash(b"%d" % at) for at in range(count)]
    for asked in (leaves, leaves[:5], leaves[-1:]):
        found = keys.find_numbers(db, keys.LEAF, asked)
        numbers = [number for leaf in asked for number in found[keys.short_key(leaf)]]
        assert numbers == [first + leaves.index(leaf) for leaf in asked]


def test_what_waits_does_not_settle(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "RECENT", 0)
    known = sorted(os.urandom(32) for _ in range(40))
    first = put(store, *(accepted(label, b"%d" % at) for at, label in enumerate(known)))
    with store.write() as db:
        log.append_batches(db, [log.Batch(0, first, 20, b"root", 0)])
        assert log.swap_state(db, log.read_state(db), state(21, first + 19))
        rows = GrowingRows()
        rows.load(db)
        while (part := rows.due(first + 19)) is not None:
            settle(db, rows, part, first + 19)
        for part in range(16):  # until the keys have settled as well
            settle(db, rows, part, first + 19)
        settled = b"".join(labels.read_part_range(db, 0, 1 << 20))
        assert sorted(ROW.iter_unpack(settled)) == [(label, at) for at, label in enumerate(known[:20])]
        keys_settled = b"".join(run(db, "SELECT data FROM leaf_chunks").scalars())
        numbers = [int.from_bytes(keys_settled[at + 6 : at + 12], "big") for at in range(0, 12 * 20, 12)]
        assert len(keys_settled) == 12 * 20 and sorted(numbers) == [*range(first, first + 20)]
        found = found_labels(db, known)
        assert [found[label].number for label in known[20:]] == [*range(first + 20, first + 40)]


def test_entries_are_read_by_range_by_index_and_by_number(store: Store) -> None:
    raws = [b"entry %d" % at for at in range(6)]
    first = put(store, *(accepted(bytes([at]) * 32, raw) for at, raw in enumerate(raws)))
    with store.write() as db:
        inbox.drop(db, first + 2)  # left out: the batch goes on behind it
        spans = [(0, first, 2, None, 5), (2, first + 3, 1, b"root 3", 5), (4, first + 4, 2, b"root 6", 6)]
        log.append_batches(db, [log.Batch(*span) for span in spans])
        whole = [raws[0], raws[1], raws[3], b"root 3", raws[4], raws[5], b"root 6"]
        for start in range(8):
            for stop in range(start, 8):
                assert log.read_entries(db, start, stop) == whole[start:stop]
        assert log.read_entries_at(db, [6, 0, 9, 3]) == {6: whole[6], 0: whole[0], 3: whole[3]}
        assert log.read_numbers_at(db, [5, 3, 2, 7]) == {5: first + 5, 2: first + 3}
        assert log.index_of(db, [first, first + 2, first + 3, first + 5, first + 6]) == {
            first: 0, first + 3: 2, first + 5: 5,
        }  # fmt: skip
        assert log.read_numbered(db, [first + 1, first + 2]) == {first + 1: raws[1]}
        with pytest.raises(LookupError):
            log.read_entries(db, 3, 8)


def test_a_tile_is_cut_to_the_tree_asked_for_and_missing_hashes_are_said(store: Store) -> None:
    with store.write() as db:
        treetiles.write_tiles(db, [(0, 0, b"a" * 32)])
        treetiles.write_tiles(db, [(0, 0, b"a" * 32 + b"b" * 32), (1, 0, b"c" * 32)])
        assert treetiles.read_tile(db, 0, 0, 1) == b"a" * 32
        assert treetiles.read_tile(db, 0, 0, 2) == b"a" * 32 + b"b" * 32
        with pytest.raises(LookupError):
            treetiles.read_tile(db, 0, 0, 3)
        with pytest.raises(LookupError):
            treetiles.read_tile(db, 0, 1, 1)


def test_envelopes_are_found_by_the_whole_hash_and_the_first_deposit_stays(store: Store) -> None:
    fetch = os.urandom(32)
    same_key = fetch[:6] + os.urandom(26)
    put(
        store,
        *(
            (b"%d" % at, bytes([at]) * 32, os.urandom(32), body, token)
            for at, (token, body) in enumerate(((fetch, b"first"), (same_key, b"other"), (fetch, b"again")))
        ),
    )
    with store.read() as db:
        found = envelopes.find_envelopes(db, [same_key, os.urandom(32), fetch])
    assert found == [b"other", None, b"first"]


@pytest.fixture
def ledger(url: str, tmp_path: Path) -> Iterator[SmallLedger]:
    ledger = SmallLedger(tmp_path, url)
    yield ledger
    ledger.close()


def test_the_index_can_be_loaded_for_any_earlier_size(ledger: SmallLedger) -> None:
    roots = {}
    for _ in range(4):
        ledger.accept([record() for _ in range(5)])
        ledger.sequencer.step()
        with ledger.store.read() as db:
            state = log.read_state(db)
            roots[state.size] = state.index_root
    with ledger.store.read() as db:
        for size, root in roots.items():
            rows = StoredRows(size - 1)
            rows.db = db
            tree = PrefixTree(rows)
            load_tree(db, tree, size)
            assert tree.root == root
            known = [label for label in labels_between(db, 0, size) if label]
            assert all(tree.prove_many(known)), "the rows are those of that size"
        found = list(labels_between(db, 0, ledger.size()))
    assert found == [label for raw in ledger.entries() if (label := decode_entry(raw).index_label)]


def test_a_follower_reaches_the_index_root_of_every_batch(ledger: SmallLedger) -> None:
    for dropped in (False, True):  # with the changes of each batch, and from the rows when they are gone
        with ledger.store.read() as db:
            start = log.read_size(db)
            rows = StoredRows(start - 1)
            rows.db = db
            tree = PrefixTree(rows)
            load_tree(db, tree, start)
        for _ in range(3):
            ledger.accept([record() for _ in range(5)])
            ledger.sequencer.step()
        with ledger.store.write() as db:
            if dropped:
                labels.drop_changes(db, log.read_size(db))
            state = log.read_state(db)
            rows.db, rows.covers = db, state.size - 1
            taken_over = follow_tree(db, tree, start, state.size)
            assert tree.root == state.index_root and tree.labels == state.labels
            assert bool(taken_over) is not dropped


def test_pages_written_after_a_restart_hold_what_changed_before_it(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.accept([record() for _ in range(5)])
    ledger.sequencer.step()
    monkeypatch.setattr(sequencer_run, "PAGES_EVERY", 1)
    restarted = Sequencer(ledger.store, ORIGIN)
    ledger.accept([record() for _ in range(5)])
    restarted.step()
    with ledger.store.read() as db:
        state = log.read_state(db)
        assert state.pages_covers == state.size
        rows = StoredRows(state.size)
        rows.db = db
        tree = PrefixTree(rows)
        assert not load_tree(db, tree, state.size), "the pages alone hold it"
    assert (tree.root, tree.labels) == (state.index_root, state.labels)


def test_a_missing_an_empty_and_a_foreign_database_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="no database there"):
        Store.open(f"sqlite:///{tmp_path}/none.sqlite")
    for name, content in (("empty", b""), ("zeros", bytes(8192)), ("text", b"no database at all\n" * 100)):
        path = f"{tmp_path}/{name}.sqlite"
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(StoreUnusable, match="is damaged"):
            Store.open(f"sqlite:///{path}")


def test_a_role_is_held_by_one_at_a_time(store: Store) -> None:
    with store.lead("sequencer") as leadership:
        assert leadership is not None and store.is_led("sequencer")
        with store.lead("sequencer") as again:
            assert again is None
        with store.lead("publisher") as other:
            assert other is not None
    assert not store.is_led("sequencer")
    with store.lead("sequencer") as leadership:
        assert leadership is not None


def test_an_error_of_the_database_does_not_show_what_was_written(store: Store) -> None:
    secret = b"what must not be in a log line!!"
    first = put(store, accepted(secret, secret))
    with pytest.raises(IntegrityError) as caught, store.write() as db:
        inbox.put(db, first, inbox.Arrivals(accepted(secret, secret)))
    assert secret.decode() not in str(caught.value)
    assert ORIGIN not in str(caught.value)


def test_nothing_asked_for_is_nothing_found_and_nothing_changed(store: Store) -> None:
    with store.write() as db:
        assert found_labels(db, []) == {} == keys.find_numbers(db, keys.LEAF, [])
        assert log.read_entries_at(db, []) == {} == log.index_of(db, [])
        assert envelopes.find_envelopes(db, []) == [] == envelopes.erase_envelopes(db, 1, [])
        assert envelopes.erase_envelopes(db, 1, [bytes(32)]) == [envelopes.Erased.UNKNOWN]
        inbox.put(db, inbox.next_number(db), inbox.Arrivals())
        log.append_batches(db, [])
        treetiles.write_tiles(db, [])
        assert inbox.backlog(db) == 0
