"""Which labels are taken, as several processes see it that accept in turn while what they accepted is sequenced and
settles: what is looked up in memory against a plain set."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from smallledger import ORIGIN, SmallLedger, record, submission
from sqlalchemy import Connection

from ledger.core.entries import decode_entry
from ledger.core.merkle import leaf_hash
from ledger.sequencer.run import Sequencer
from ledger.service.acceptance import Acceptance
from ledger.service.placing import Accepted, Duplicate
from ledger.store import Store, acceptances, inbox, keys, labelfilter, log, recentlabels, recents, settling
from ledger.store.engine import run
from ledger.store.knownlabels import KnownLabels, Place
from ledger.store.labelfilter import LabelFilter
from ledger.store.settling import GrowingRows

SEED = random.randrange(1 << 32)


class Model:
    """A store, those who accept into it, and what they must find: the number of each label."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.processes = [KnownLabels() for _ in range(3)]
        self.rows = GrowingRows()
        self.numbers: dict[bytes, int] = {}
        self.left_out: list[bytes] = []
        self.size = self.last = 0

    def accept(self, at: int) -> None:
        """A process hands labels in: new ones, taken ones, and ones of entries that were left out."""
        new = [os.urandom(32) for _ in range(self.chance.choice((1, 1, 3, 40)))]
        if self.left_out and self.chance.random() < 0.5:
            new.append(self.left_out.pop())
        taken = self.chance.sample(sorted(self.numbers), min(20, len(self.numbers)))
        with self.store.write() as db:
            first = inbox.next_number(db)
            self.processes[at].catch_up(db, first - 1)
            found = self.processes[at].find(db, [*new, *taken])
            index_of = log.index_of(
                db, [place.number for place in found.values() if place.number is not None]
            )
            for label, place in list(found.items()):
                if place.number is not None and place.number <= self.last and place.number not in index_of:
                    del found[label]  # as whoever accepts does (placing.py)
            assert found.keys() == set(taken)
            for label, place in found.items():
                number = self.numbers[label]
                assert place in (Place(number, None), Place(None, log.index_of(db, [number]).get(number)))
            inbox.put(db, first, inbox.Arrivals(*((label, label, label, None, None) for label in new)))
        self.numbers |= {label: first + place for place, label in enumerate(new)}

    def sequence(self) -> None:
        """As the sequencer does it, but for the index, of which nothing here is asked."""
        with self.store.write() as db:
            waiting = inbox.take_waiting(db, self.last, self.chance.choice((5, 50, 500)))
            if not waiting:
                return
            before = self.last
            if self.chance.random() < 0.3:
                number, label = waiting.pop(self.chance.randrange(len(waiting)))
                inbox.drop(db, number)
                del self.numbers[label]
                self.left_out.append(label)
                self.last = max(self.last, number)
            for number, _ in waiting:
                log.append_batches(db, [log.Batch(self.size, number, 1, None, 0)])
                self.size += 1
                self.last = max(self.last, number)
            state = log.State(self.size, b"r" * 32, 1, b"i" * 32, 1, 2, self.last)
            assert log.swap_state(db, log.read_state(db), state)
            recents.join_small(db, before, self.last)
        with self.store.read() as db:
            run, self.rows = self.rows._run, GrowingRows()
            self.rows.load(db)
            if self.chance.random() < 0.8:  # else as after a change of leader
                self.rows._run = run

    def settle(self) -> None:
        part = self.rows.due(self.last)
        if part is None:
            return
        with self.store.write() as db:
            self.rows.prepare(db, self.last)
            self.rows.settle(db, part, self.last)
        self.rows.settled(part, self.last)

    def fill(self, at: int, steps: int) -> None:
        """As a process does beside all else."""
        for _ in range(steps):
            with self.store.read() as db:
                self.processes[at].fill(db)


@pytest.mark.parametrize("busy", [3, 2, 1])
def test_a_taken_label_is_called_free_or_a_free_one_taken(
    store: Store, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`busy` of three processes accept most of the time; the others sleep while all they knew settles."""
    monkeypatch.setattr(settling, "RECENT", 30)
    monkeypatch.setattr(recentlabels, "STALE", 50)
    monkeypatch.setattr(recents, "SMALL", 20)
    monkeypatch.setattr(labelfilter, "AT_A_TIME", 100)
    chance = random.Random(SEED + busy)
    print("seed", SEED)
    model = Model(store, chance)
    for step in range(400):
        match chance.randrange(8):
            case 0 | 1:
                model.accept(chance.randrange(busy))
            case 2:
                model.sequence()
            case 3 | 4 | 5:
                model.settle()
            case 6:
                model.fill(chance.randrange(busy), 1)
            case _ if chance.random() < 0.2:
                at = chance.randrange(3)
                model.processes[at] = KnownLabels()  # started anew
                model.fill(at, 20)
                assert not model.processes[at].lacking
        if step % 80 == 79:
            for at in range(3):
                model.accept(at)
                model.fill(at, 20)
    with store.read() as db:
        assert (recents.oldest(db) or 1 << 60) > 1, "some have settled"
        held = sum(len(data) // 32 for _, data in recents.read_after(db, 0))
        assert held < len(model.numbers) / 2


def test_what_was_taken_in_before_an_error_is_called_free(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database fails just when memory is to be tidied; all that was accepted before settles then."""
    monkeypatch.setattr(settling, "RECENT", 50)
    monkeypatch.setattr(recents, "SMALL", 5)
    monkeypatch.setattr(recentlabels, "STALE", 10)
    model = Model(store, random.Random(1))
    known = model.processes[0]
    model.fill(0, 1)
    assert not known.lacking
    while len(model.numbers) < 30:
        model.accept(1)

    def fails(_db: Connection) -> int:
        raise OSError

    with store.read() as db:
        known.catch_up(db)
    while len(model.numbers) < 60:
        model.accept(1)
    with monkeypatch.context() as broken, store.read() as db:
        broken.setattr(recents, "oldest", fails)
        with pytest.raises(OSError):
            known.catch_up(db)
    for _ in range(60):
        model.accept(0)
        model.sequence()
        while model.rows.due(model.last) is not None:
            model.settle()
    assert not known.lacking, "it has missed nothing, and looks little up"
    with store.read() as db:
        assert (recents.oldest(db) or 0) > 60


def test_a_slice_without_labels_keeps_all_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes labels can see to it that none of his begins with some bits."""
    monkeypatch.setattr(settling, "RECENT", 20)
    monkeypatch.setattr(recents, "SMALL", 20)
    model = Model(store, random.Random(1))
    for _ in range(40):
        with store.write() as db:
            first = inbox.next_number(db)
            new = [bytes((at % 15 << 4,)) + os.urandom(31) for at in range(15)]
            inbox.put(db, first, inbox.Arrivals(*((label, label, label, None, None) for label in new)))
        model.numbers |= {label: first + at for at, label in enumerate(new)}
        model.sequence()
        for _ in range(20):
            model.settle()
    with store.read() as db:
        assert sum(len(data) // 32 for _, data in recents.read_after(db, 0)) < 200


def test_a_database_taken_back_makes_labels_free(store: Store) -> None:
    """Numbers are given again, and what was in memory is not what is stored."""
    known = KnownLabels()
    before, after = [os.urandom(32) for _ in range(20)], [os.urandom(32) for _ in range(10)]

    def put(labels: list[bytes]) -> None:
        with store.write() as db:
            rows = inbox.Arrivals(*((label, label, label, None, None) for label in labels))
            inbox.put(db, inbox.next_number(db), rows)

    put(before)
    with store.read() as db:
        known.catch_up(db, 20)
    with store.write() as db:
        for table in ("recents", "entries"):
            run(db, f"DELETE FROM {table}")
        run(db, "UPDATE deposits SET next = 1")
    put(after)
    with store.read() as db:
        known.catch_up(db, 10)
        assert known.find(db, before + after) == {label: Place(at, None) for at, label in enumerate(after, 1)}


def test_small_rows_are_lost_or_doubled_when_they_are_joined(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recents, "SMALL", 4)
    sizes = [1, 1, 1, 5, 1, 2, 3, 1, 9, 1]
    names = iter(range(100))

    def rows(db: Connection) -> list[tuple[int, int]]:
        return [(first, len(data) // 32) for first, data in recents.read_after(db, 0)]

    with store.write() as db:
        for size in sizes:
            some = [b"%032d" % next(names) for _ in range(size)]
            new = inbox.Arrivals(*((name, name, leaf_hash(name), name, leaf_hash(name)) for name in some))
            inbox.put(db, inbox.next_number(db), new)
        whole = b"".join(data for _, data in recents.read_after(db, 0))
        recents.join_small(db, 0, 2)
        assert rows(db)[:2] == [(1, 2), (3, 1)]
        recents.join_small(db, 2, 9)
        assert rows(db)[:3] == [(1, 8), (9, 1), (10, 2)], "what is below SMALL goes with the next"
        recents.join_small(db, 9, 20)  # a batch that ends within a row
        assert rows(db) == [(1, 8), (9, 6), (15, 1), (16, 9), (25, 1)]
        recents.join_small(db, 20, 25)
        assert rows(db) == [(1, 8), (9, 6), (15, 10), (25, 1)]
        assert b"".join(data for _, data in recents.read_after(db, 0)) == whole
        assert b"".join(data for _, data in recents.read_after(db, 11)) == whole[32 * 11 :]
        for kind in (keys.LEAF, keys.FETCH):
            hashes = [leaf_hash(b"%032d" % at) for at in range(25)]
            found = keys.find_numbers(db, kind, hashes)
            assert [found[keys.short_key(digest)] for digest in hashes] == [[at] for at in range(1, 26)]


def test_an_entry_that_was_left_out_keeps_its_label(url: str, tmp_path: Path) -> None:
    """Accepted, and unfit when it is sequenced: then its label is free again, also where it was in memory."""
    ledger = SmallLedger(tmp_path, url)
    store, acceptance = ledger.store, Acceptance(ledger.store, ORIGIN, 1000)
    good, again = record(), record()
    unfit = good[:-64] + bytes(64)
    label = decode_entry(good).index_label
    assert label is not None
    with store.write() as db:
        first = inbox.next_number(db)
        inbox.put(db, first, inbox.Arrivals((unfit, label, leaf_hash(unfit), b"e", b"f" * 32)))
        acceptances.note_runs(db, [acceptances.Run(first, 0, 1)])
    (other,) = ledger.hand_in([submission(again)], by=acceptance)
    assert isinstance(other, Accepted) and other.number == first + 1
    done = ledger.sequencer.step()
    assert done is not None and done.refused == 1
    (outcome,) = ledger.hand_in([submission(good)], by=acceptance)
    assert isinstance(outcome, Accepted) and outcome.number == first + 2
    ledger.sequencer.step()
    Sequencer(store, ORIGIN).load()
    for found in (ledger.hand_in([submission(good)], by=acceptance), ledger.accept([good])):
        assert isinstance(found[0], Duplicate)
    assert ledger.violations() == []
    acceptance.close()
    ledger.close()


def test_the_filter_forgets_a_label_or_lets_all_be_looked_up() -> None:
    known = [os.urandom(32) for _ in range(20_000)]
    found = LabelFilter()
    found.add(b"".join(known))
    others = [os.urandom(32) for _ in range(20_000)]
    assert found.maybe(others) == others, "it has not been filled"
    found._filled = 1 << 20
    assert found.maybe(known) == known
    assert len(found.maybe(others)) < 5, "one is to be expected in thirty runs"


def test_a_filter_of_too_many_labels_says_that_one_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelfilter, "MOST", 10)
    found = LabelFilter()
    found._filled = 1 << 20
    labels = [os.urandom(32) for _ in range(11)]
    found.add(b"".join(labels[:10]))
    assert (found.useful, found.maybe(labels)) == (True, labels[:10])
    found.add(labels[10])
    assert (found.useful, found.maybe([bytes(32)])) == (False, [bytes(32)])
