"""Which entries may leave the database, and how."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from engines import ENGINES, new_url
from hypothesis import given, settings
from hypothesis import strategies as st
from letleave import grow, held_numbers, let_leave, publish
from smallledger import ORIGIN, SmallLedger, record
from sqlalchemy import event

from ledger.core.index import EMPTY
from ledger.core.merkle import EMPTY_ROOT, Frontier, leaf_hash
from ledger.sequencer import leaving
from ledger.sequencer import run as sequencer_run
from ledger.sequencer.leaving import Leaving
from ledger.sequencer.run import Sequencer, run_sequencer
from ledger.store import (
    LeadershipLost,
    Store,
    StoreUnusable,
    inbox,
    log,
    schema,
    treetiles,
)
from ledger.store.engine import run
from ledger.store.retention import drop_entries, first_leaf_held, may_leave
from ledger.store.statements import insert_rows

Batches = list[tuple[int, bool, int]]
"""Entries of a batch; whether the number behind them was left out of the log; how much later it closed."""


class Model:
    """What a log of such batches holds, entry by entry: (number, leaf, closed), leaves of index roots left aside."""

    def __init__(self, batches: Batches) -> None:
        self.rows: list[log.Batch] = []
        self.places: list[tuple[int, int, int]] = []
        self.left_out: list[int] = []
        number, leaf, now = 1, 0, 1000
        for width, gap, later in batches:
            now += later
            # A gap inside of a batch makes two rows of it, the first without a root.
            parts = [(width, None), (1, b"root")] if gap else [(width, b"root")]
            for many, root in parts:
                self.rows.append(log.Batch(leaf, number, many, root, now))
                self.places += [(number + at, leaf + at, now) for at in range(many)]
                number, leaf = number + many, leaf + many + (root is not None)
                if root is None:
                    self.left_out.append(number)
                    number += 1
        self.size, self.next, self.now = leaf, number, now

    def leaf_hashes(self) -> list[bytes]:
        hashes = [leaf_hash(b"root")] * self.size
        for number, leaf, _ in self.places:
            hashes[leaf] = leaf_hash(b"%d" % number)
        return hashes

    def roots_of_tiles(self) -> bytes:
        hashes, roots = self.leaf_hashes(), []
        for start in range(0, self.size - 255, 256):
            tile = Frontier()
            tile.extend(hashes[start : start + 256])
            roots.append(tile.root())
        return b"".join(roots)


@pytest.mark.parametrize("engine", ENGINES)
def test_something_leaves_that_is_needed_or_too_young(engine: str, tmp_path: Path) -> None:
    store = Store.open(new_url(engine, tmp_path), create=True)
    with store.write() as db:
        log.begin_log(db, log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0))

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(1, 300), st.booleans(), st.integers(-2, 9)), min_size=1, max_size=9),
        st.floats(0, 1),
        st.floats(-0.2, 1.2),
        st.integers(0, 3),
        st.sampled_from([1, 100, 1000]),
    )
    def check(batches: Batches, published: float, at: float, waiting: int, most: int) -> None:
        model = Model(batches)
        size, closed_by = int(model.size * published), 1000 + int((model.now - 1000) * at)
        with store.write() as db:
            for table in ("entries", "batches", "tree_tiles"):
                run(db, f"DELETE FROM {table}")
            log.append_batches(db, model.rows)
            run(db, "UPDATE state SET size = ?, last = ?", (model.size, model.next - 1))
            run(db, "UPDATE publication SET published_size = ?", (size,))
            numbers = [number for number, _, _ in model.places]
            there = [*numbers, *range(model.next, model.next + waiting)]
            # No tile of leaf hashes is stored, as if all had been dropped; what is above them stays.
            treetiles.write_tiles(db, [(1, 0, model.roots_of_tiles())])
            insert_rows(db, schema.entries, [(number, b"%d" % number) for number in there])
        # Leaves are given up from the beginning on, up to the first that is young or not in a full bundle.
        kept = next(
            (
                at
                for at, (_, leaf, closed) in enumerate(model.places)
                if closed > closed_by or leaf >= size // 256 * 256
            ),
            len(model.places),
        )
        low = 0
        while True:
            with store.write() as db:
                first, stop = may_leave(db, closed_by, low)
                if first == stop:
                    break
                low = min(first + most, stop)
                drop_entries(db, first, low)
        with store.read() as db:
            assert held_numbers(db) == [*numbers[kept:], *range(model.next, model.next + waiting)]
            first_held = first_leaf_held(db)
            assert first_held == (model.places[kept][1] if kept < len(numbers) else model.size)
            found = log.read_entries(db, first_held, model.size)
            assert len(found) == model.size - first_held
            assert may_leave(db, closed_by)[0] == may_leave(db, closed_by)[1], "asked from the beginning"
            if kept:
                with pytest.raises(LookupError):
                    log.read_entries(db, 0, model.size)
            whole = log.read_entries_at(db, range(model.size))
            assert whole.keys() == set(range(model.size)) - {leaf for _, leaf, _ in model.places[:kept]}
            found_hashes = treetiles.read_leaf_hashes(db, range(model.size))
            assert [found_hashes[leaf] for leaf in range(model.size)] == model.leaf_hashes()

    check()
    store.close()


def test_entries_leave_before_their_time_or_never(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(ledger, 600)
    with ledger.store.read() as db:
        closed = log.read_batches(db, 0, ledger.size())[-1].closed
    clock = 0
    one = Leaving(ledger.store, ledger.store, 100, lambda: closed + clock)
    monkeypatch.setattr(leaving, "LOOK_S", 0.0)
    monkeypatch.setattr(leaving, "SLICE", 100)

    def first(moved: int) -> int:
        nonlocal clock
        clock = moved
        while one.step():
            pass
        with ledger.store.read() as db:
            return first_leaf_held(db)

    assert first(1000) == 0, "nothing is published"
    publish(ledger.store, ledger.size())
    assert first(90) == 0
    assert first(101) == 512
    assert ledger.size() == 605
    with ledger.store.write() as db:
        run(db, "UPDATE publication SET published_size = 6")
    assert first(1000) == 512, "the published size went back, and no more than had left is gone"


def test_an_entry_leaves_that_does_not_hash_to_the_tree(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its leaf hash would be wrong for ever."""
    monkeypatch.setattr(treetiles, "TILES_KEPT", 0)
    grow(ledger, 300)
    publish(ledger.store, ledger.size())
    with ledger.store.write() as db:
        (raw,) = run(db, "SELECT entry FROM entries WHERE number = 77").scalars()
        run(db, "UPDATE entries SET entry = ? WHERE number = 77", (bytes(raw)[:-1] + b"?",))
    with pytest.raises(StoreUnusable, match="entries 0 to 255 do not hash to the stored tree"):
        let_leave(ledger)
    with ledger.store.read() as db:
        assert first_leaf_held(db) == 0


def test_one_slice_takes_all_at_once(ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(ledger, 600)
    publish(ledger.store, ledger.size())
    monkeypatch.setattr(leaving, "SLICE", 200)
    one = Leaving(ledger.store, ledger.store, 0)
    left = []
    while one.step():
        with ledger.store.read() as db:
            left.append(first_leaf_held(db))
    assert left == [202, 402], "leaf 1 is the index root after the charter, leaf 3 that after the source"
    assert not one.step(), "and it is not asked again at once"


def test_a_sequencer_that_no_longer_leads_lets_entries_leave(tmp_path: Path) -> None:
    ledger = SmallLedger(tmp_path, new_url("postgresql", tmp_path))
    grow(ledger, 300)
    publish(ledger.store, ledger.size())
    with ledger.store.lead("sequencer") as leadership:
        assert leadership is not None
        one = Leaving(ledger.store, leadership, 0)
        with ledger.store.write() as db:
            run(db, "UPDATE leases SET holder = 'another', term = term + 1 WHERE role = 'sequencer'")
        with pytest.raises(LeadershipLost):
            one.step()
    with ledger.store.read() as db:
        assert first_leaf_held(db) == 0
    ledger.close()


def test_a_busy_sequencer_lets_nothing_leave_or_is_held_up(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch after batch waits, and between two of them a slice leaves."""
    monkeypatch.setattr(leaving, "SLICE", 50)
    grow(ledger, 600)
    publish(ledger.store, ledger.size())
    for _ in range(40):
        ledger.accept([record() for _ in range(5)])
    stop = 0

    def enough() -> bool:
        nonlocal stop
        stop += 1
        return stop > 30

    sizes = []

    def sequenced(_db: object, _cursor: object, text: str, *_more: object) -> None:
        if text.startswith(("DELETE FROM entries", "INSERT INTO batches")):
            sizes.append(text[:6])

    event.listen(ledger.store.engine, "before_cursor_execute", sequenced)
    run_sequencer(ledger.store, ORIGIN, interval_s=0.0, batch=5, stop=enough, keep_s=0)
    event.remove(ledger.store.engine, "before_cursor_execute", sequenced)
    assert sizes[:22] == ["INSERT", "DELETE"] * 11
    assert sizes[22:] == ["INSERT"] * (len(sizes) - 22) and len(sizes) > 30
    with ledger.store.read() as db:
        assert first_leaf_held(db) == 512


def test_entries_wait_behind_a_full_batch_or_batches_follow_too_soon(
    ledger: SmallLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve wait and five are a batch: two full ones and one of two at once, and only then the interval."""
    slept: list[tuple[int, float]] = []

    def sleep(seconds: float) -> None:
        slept.append((ledger.size() - before, seconds))

    before = ledger.size()
    ledger.accept([record() for _ in range(12)])
    monkeypatch.setattr(
        sequencer_run, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic, time=time.time)
    )
    run_sequencer(ledger.store, ORIGIN, interval_s=60.0, batch=5, stop=lambda: bool(slept))
    ((appended, seconds), *_) = slept
    assert appended == 12 + 3, "three batches, each with its index root"
    assert 50 < seconds <= 60


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("name", ["before_cursor_execute", "after_cursor_execute", "commit"])
def test_a_crash_while_entries_leave_tears_the_log(
    ledger: SmallLedger, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "SLICE", 100)
    grow(ledger, 500)
    waiting = record()
    ledger.accept([waiting])
    whole = ledger.entries()
    publish(ledger.store, ledger.size())
    sizes = set()
    for at in range(12):
        left = at

        def crash(*_: object) -> None:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1

        event.listen(ledger.store.engine, name, crash)
        try:
            let_leave(ledger)
        except Crash:
            pass
        finally:
            event.remove(ledger.store.engine, name, crash)
        ledger.reopen()
        with ledger.store.read() as db:
            held = first_leaf_held(db)
            assert log.read_entries(db, held, len(whole)) == whole[held:]
            assert inbox.take_waiting(db, log.read_state(db).last, 9)[0][1] == waiting
        sizes.add(held)
    let_leave(ledger)
    with ledger.store.read() as db:
        assert first_leaf_held(db) == 256
    assert sizes >= {0, 102}, "it was interrupted before and after the first slice"
    ledger.sequencer.step()
    Sequencer(ledger.store, ORIGIN).load()
    with ledger.store.read() as db:
        assert log.read_entries(db, 256, ledger.size())[-2] == waiting
