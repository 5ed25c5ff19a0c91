"""What the rest of the ledger relies on of its database, whatever engine that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from smallledger import ORIGIN, SmallLedger, record
from sqlalchemy.exc import IntegrityError

from ledger.core.entries import decode_entry
from ledger.core.index import PrefixTree
from ledger.core.merkle import leaf_hash
from ledger.sequencer import run as sequencer_run
from ledger.sequencer.run import Sequencer
from ledger.store import Store, StoreUnusable, envelopes, inbox, labels, log, publication
from ledger.store.buckets import BucketPages, StoredRows, follow_tree, labels_between, load_tree


def waiting(
    number: int, label: bytes, entry: bytes = b"entry", day: int = 3
) -> tuple[int, bytes, bytes, bytes, int, int, int]:
    return (number, label, leaf_hash(entry), entry, 1, day, 1)


def test_what_a_failed_transaction_wrote_is_gone(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write() as db:
        labels.add_labels(db, [(b"a" * 32, 0)])
        raise RuntimeError("the process dies here")
    with store.read() as db:
        assert labels.find_labels(db, [b"a" * 32]) == {}


def test_a_label_cannot_be_stored_twice_in_log_or_inbox(store: Store) -> None:
    with store.write() as db:
        labels.add_labels(db, [(b"a" * 32, 0)])
        inbox.put(db, [waiting(1, b"b" * 32)])
    with pytest.raises(IntegrityError), store.write() as db:
        labels.add_labels(db, [(b"a" * 32, 1)])
    with pytest.raises(IntegrityError), store.write() as db:
        inbox.put(db, [waiting(2, b"b" * 32)])


def test_state_changes_only_for_whoever_knows_its_size(store: Store) -> None:
    new = log.State(2, b"r" * 32, 1, b"i" * 32, 1, 2)
    with store.write() as db:
        assert not log.swap_state(db, 1, new)
        assert log.swap_state(db, 0, new)
    with store.write() as db:
        assert log.read_state(db) == new
        assert not log.swap_state(db, 0, new)


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


def test_the_inbox_gives_its_rows_back_in_the_order_of_acceptance(store: Store) -> None:
    with store.write() as db:
        first = inbox.take_numbers(db, 3)
        inbox.put(db, [waiting(first + at, bytes([9 - at]) * 32, b"entry %d" % at) for at in range(3)])
        assert inbox.take_numbers(db, 1) == first + 3
    with store.write() as db:
        rows = inbox.take_waiting(db, 2)
        assert [row.entry for row in rows] == [b"entry 0", b"entry 1"]
        inbox.clear(db, rows[-1].number)
        assert [row.entry for row in inbox.take_waiting(db, 9)] == [b"entry 2"]
        assert inbox.backlog(db) == 1
        assert inbox.waiting_entry(db, leaf_hash(b"entry 2")) == b"entry 2"
        assert inbox.waiting_entry(db, leaf_hash(b"entry 0")) is None


def test_records_of_a_source_and_day_are_counted_in_log_and_inbox_and_nothing_else(store: Store) -> None:
    with store.write() as db:
        inbox.put(db, [waiting(1, b"a" * 32), waiting(2, b"b" * 32), waiting(3, b"c" * 32, day=-1)])
        assert log.accepted_day_counts(db, [(1, 3), (1, 4), (2, 3)]) == {(1, 3): 2}
        log.add_day_counts(db, [(1, 3, 5), (2, 3, 1), (2, 4, 9)])
        assert log.accepted_day_counts(db, [(1, 3), (1, 4), (2, 3)]) == {(1, 3): 7, (2, 3): 1}


def test_day_counts_add_up(store: Store) -> None:
    with store.write() as db:
        log.add_day_counts(db, [(1, 5, 2), (2, 5, 1)])
        log.add_day_counts(db, [(1, 5, 3)])
        assert log.read_day_count(db, 1, 5) == 5
        assert log.read_day_count(db, 2, 5) == 1
        assert log.read_day_count(db, 2, 6) == 0


def test_many_labels_are_found_in_pieces(store: Store) -> None:
    rows = sorted((os.urandom(32), at) for at in range(1203))
    with store.write() as db:
        labels.add_labels(db, rows)
        asked = [label for label, _ in rows] + [os.urandom(32)]
        assert labels.find_labels(db, asked) == dict(rows)


def test_entries_are_read_by_range_by_index_and_by_leaf_hash(store: Store) -> None:
    raws = [b"entry %d" % at for at in range(5)]
    with store.write() as db:
        log.append_entries(db, 0, [(leaf_hash(raw), at, raw) for at, raw in enumerate(raws)])
        assert log.read_entries(db, 1, 4) == raws[1:4]
        assert log.read_entries_at(db, [4, 0, 9]) == {4: raws[4], 0: raws[0]}
        assert log.find_leaf(db, leaf_hash(raws[2])) == [(2, raws[2])]
        assert log.find_leaf(db, leaf_hash(b"another")) == []
        with pytest.raises(LookupError):
            log.read_entries(db, 3, 6)


def test_a_tile_is_cut_to_the_tree_asked_for_and_missing_hashes_are_said(store: Store) -> None:
    with store.write() as db:
        log.write_tiles(db, [(0, 0, b"a" * 32)])
        log.write_tiles(db, [(0, 0, b"a" * 32 + b"b" * 32), (1, 0, b"c" * 32)])
        assert log.read_tile(db, 0, 0, 1) == b"a" * 32
        assert list(log.read_tiles(db, 0, 0, 5)) == [(0, b"a" * 32 + b"b" * 32)]
        with pytest.raises(LookupError):
            log.read_tile(db, 0, 0, 3)
        with pytest.raises(LookupError):
            log.read_tile(db, 0, 1, 1)


def test_envelopes_are_found_by_the_whole_hash_and_the_first_deposit_stays(store: Store) -> None:
    fetch = os.urandom(32)
    same_key = fetch[:8] + os.urandom(24)
    with store.write() as db:
        envelopes.deposit_envelopes(db, [(1, fetch, b"first"), (2, same_key, b"other"), (3, fetch, b"again")])
        found = envelopes.find_envelopes(db, [same_key, os.urandom(32), fetch])
    assert found == [b"other", None, b"first"]


def test_buckets_as_of_an_earlier_size_leave_out_what_came_later(store: Store) -> None:
    low, high = bytes(32), b"\xff" * 32
    with store.write() as db:
        labels.add_labels(db, [(low, 1), (high, 2), (b"\xff" * 31 + b"\xfe", 7)])
        rows = StoredRows(covers=7)
        rows.db = db
        assert [list(bucket) for bucket in rows.buckets([0, 5, 255], 8)] == [[(low, 1)], [], [(high, 2)]]
        rows.covers = 8
        assert [len(bucket) for bucket in rows.buckets([255], 8)] == [2]
        assert labels.read_bucket(db, 255, 8, 7) == [(high, 2)]


def test_persisted_bucket_hashes_come_back_as_they_were(store: Store) -> None:
    tree_rows = [(os.urandom(32), at) for at in range(300)]
    rows = StoredRows(covers=300)
    with store.write() as db:
        rows.db = db
        tree = PrefixTree(rows, 12)
        tree.insert_many(tree_rows)
        pages = BucketPages()
        pages.update(tree.take_changed())
        pages.write(db)
    with store.read() as db:
        again = PrefixTree(StoredRows(300), 12)
        again.load(BucketPages(labels.read_pages(db)))
    assert (again.root, again.labels) == (tree.root, 300)


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
            tree, _ = load_tree(db, rows, size)
            assert tree.root == root
        found = list(labels_between(db, 0, ledger.size()))
    assert found == [label for raw in ledger.entries() if (label := decode_entry(raw).index_label)]


def test_a_follower_reaches_the_index_root_of_every_batch(ledger: SmallLedger) -> None:
    for dropped in (False, True):  # with the changes of each batch, and from the rows when they are gone
        with ledger.store.read() as db:
            start = log.read_size(db)
            rows = StoredRows(start - 1)
            rows.db = db
            tree, _ = load_tree(db, rows, start)
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
        tree = PrefixTree(StoredRows(state.size))
        tree.load(BucketPages(labels.read_pages(db)))
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
    with store.write() as db:
        inbox.put(db, [waiting(1, secret, secret)])
    with pytest.raises(IntegrityError) as caught, store.write() as db:
        inbox.put(db, [waiting(2, secret, secret)])
    assert secret.decode() not in str(caught.value)
    assert ORIGIN not in str(caught.value)


def test_nothing_asked_for_is_nothing_found_and_nothing_changed(store: Store) -> None:
    with store.write() as db:
        assert inbox.find_in_inbox(db, []) == {} == labels.find_labels(db, [])
        assert log.read_entries_at(db, []) == {} == log.accepted_day_counts(db, [])
        assert envelopes.find_envelopes(db, []) == [] == envelopes.erase_envelopes(db, 1, [])
        assert envelopes.erase_envelopes(db, 1, [bytes(32)]) == [envelopes.Erased.UNKNOWN]
        inbox.put(db, [])
        log.write_tiles(db, [])
        assert inbox.backlog(db) == 0
