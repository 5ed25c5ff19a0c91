"""Keys that settle and are merged, against a plain dict."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import pytest

from ledger.store import Store, keyruns, keys, recents
from ledger.store.engine import Connection, run
from ledger.store.keyruns import KeyRun

SEED = random.randrange(1 << 32)


class Crash(Exception):
    """The process ends here."""


class Model:
    """A store, and what must be found in it: by kind and hash, the numbers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.last = 0
        self.numbers: dict[keys.Kind, dict[bytes, list[int]]] = {keys.LEAF: {}, keys.FETCH: {}}
        self.run: KeyRun | None = None

    def accept(self, leaves: list[bytes], fetches: list[bytes]) -> None:
        """Entries with these hashes, of which only the first six bytes count here."""
        with self.store.write() as db:
            recents.add(db, self.last + 1, leaves, leaves, list(fetches))
        for kind, hashes in ((keys.LEAF, leaves), (keys.FETCH, fetches)):
            for number, digest in enumerate(hashes, self.last + 1):
                self.numbers[kind].setdefault(digest[:6], []).append(number)
        self.last += len(leaves)

    def settle(self, crash: bool = False) -> bool:
        """The next slices; whether those were the last. Then no label is recent either."""
        with self.store.read() as db:
            self.run = self.run or KeyRun(db, self.last)
        try:
            with self.store.write() as db:
                self.run.write(db)
                if crash:
                    raise Crash
        except Crash:
            self.run = None
            return False
        if not self.run.written():
            return False
        self.run = None
        with self.store.write() as db:
            marks = recents.read_marks(db)
            for part in range(16):
                recents.mark(db, part, marks[16])
        return True

    def settle_all(self, leaves: list[bytes], fetches: list[bytes]) -> None:
        """Take these in, and let them settle."""
        self.accept(leaves, fetches)
        while not self.settle():
            pass

    def check(self, db: Connection, asked: int | None = None) -> None:
        """Each hash, or some of them, leads to its numbers and no other; unknown ones lead nowhere."""
        for kind, numbers in self.numbers.items():
            known = list(numbers) if asked is None else random.sample(list(numbers), min(asked, len(numbers)))
            found = keys.find_numbers(db, kind, [*known, *(os.urandom(32) for _ in range(3))])
            assert found == {keys.short_key(key): numbers[key] for key in known}


@pytest.fixture
def model(store: Store, monkeypatch: pytest.MonkeyPatch) -> Model:
    """In which a few keys do what otherwise takes thousands."""
    print("seed", SEED)
    for module, name, value in (
        (keys, "CHUNK", 30),
        (keys, "USUAL", 1),
        (keyruns, "FEWEST", 2),
        (keyruns, "SPREAD", 3),
        (keyruns, "MOST", 12),
    ):
        monkeypatch.setattr(module, name, value)
    return Model(store)


def rows(db: Connection, kind: keys.Kind) -> list[tuple[int, int, int]]:
    """Of each row: its level, its chunk, and how many keys it holds."""
    found = run(db, f"SELECT chunk, data FROM {kind.settled.name}").all()
    return [(keys.level_of(chunk), chunk, len(data) // 12) for chunk, data in found]


def some_hash(chance: random.Random, hot: list[bytes]) -> bytes:
    """Like a hot one in its first bytes, or in all of them, or in none."""
    same = chance.choice((0, 0, 0, 1, 2, 3, 4, 5, 6, 32))
    return chance.choice(hot)[:same] + chance.randbytes(32 - same)


def test_a_key_is_lost_or_found_twice_while_it_settles_and_moves(model: Model) -> None:
    """With processes that end, and others that begin where they stopped."""
    chance = random.Random(SEED)
    hot = [chance.randbytes(32) for _ in range(3)] + [b"\0" * 32, b"\xff" * 32]
    for step in range(120):
        if chance.random() < 0.35:
            count = chance.choice((1, 5, 40, 90))
            model.accept(*([some_hash(chance, hot) for _ in range(count)] for _ in range(2)))
        elif model.last:
            model.settle(crash=chance.random() < 0.1)
            if chance.random() < 0.1:
                model.run = None  # as after a change of leader
        with model.store.read() as db:
            model.check(db, None if step % 20 == 19 else 40)
    while not model.settle():
        pass
    with model.store.read() as db:
        model.check(db)
        for kind in model.numbers:
            found = rows(db, kind)
            assert {level for level, _, _ in found} >= {0, 1, 2, 10}
            assert sum(count for _, _, count in found) <= model.last, "some are there twice"


def test_rows_of_a_chunk_grow_in_number_or_size_with_the_log(model: Model) -> None:
    chance = random.Random(SEED)
    for _ in range(15):
        model.settle_all(*([chance.randbytes(32) for _ in range(300)] for _ in range(2)))
        with model.store.read() as db:
            for kind in model.numbers:
                found = rows(db, kind)
                assert max(Counter(chunk for _, chunk, _ in found).values()) < 2 + 3
                assert max(count for _, _, count in found) <= 12
                assert sum(count for _, _, count in found) == model.last
    with model.store.read() as db:
        assert {level for level, _, _ in rows(db, keys.LEAF)} >= {0, 1, 2}
        model.check(db)


def test_all_chunks_with_equally_many_rows_are_merged_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged: list[int] = []
    take = keyruns._take

    def counted(db: Connection, table: Any, chunk: int) -> Any:
        merged.append(chunk)
        return take(db, table, chunk)

    monkeypatch.setattr(keyruns, "_take", counted)
    model, most = Model(store), 0
    hashes = [bytes([first]) + os.urandom(31) for first in range(256)]
    for _ in range(60):
        model.accept(hashes, hashes)
        done = False
        while not done:
            merged.clear()
            done = model.settle()
            most = max(most, sum(keys.level_of(chunk) == 0 for chunk in merged))
    # Of two kinds and so many slices, each with 16 chunks.
    assert 0 < most <= 2 * keyruns.AT_ONCE * 6
    with store.read() as db:
        model.check(db)


def test_keys_that_somebody_made_alike_make_rows_or_merges_large(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drop by drop or all at once: no row but of the last level, which nothing moves, is of more than MOST keys."""
    hot = os.urandom(32)
    taken: list[int] = []
    sort = keyruns._sorted

    def counted(packed: Any) -> list[bytes]:
        found = sort(packed)
        taken.append(len(found))
        return found

    for count in (3, 3, 3, 3, 500, 3, 3, 3, 3, 3, 500, 3, 3, 3):
        model.accept([hot] * count, [hot[:2] + os.urandom(30) for _ in range(count)])
        with model.store.read() as db:
            model.run = KeyRun(db, model.last)
        with monkeypatch.context() as patch:
            patch.setattr(keyruns, "_sorted", counted)
            while not model.settle():
                pass
        with model.store.read() as db:
            model.check(db)
            for kind in model.numbers:
                assert max((count for level, _, count in rows(db, kind) if level < 10), default=0) <= 12
    assert taken and max(taken) < (2 + 3) * 12
    with model.store.read() as db:
        assert {level for level, _, _ in rows(db, keys.LEAF)} >= {10}
        assert max(level for level, _, _ in rows(db, keys.FETCH)) < 10


@pytest.mark.parametrize("before", range(1, 8))
def test_a_key_that_moves_while_it_is_looked_up_is_missed(
    model: Model, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More settles before statement number `before` behind that of the recent ones, and before each that follows.

    In a transaction that sees what was committed before each statement, where the engine has that.
    """
    wanted = [os.urandom(32) for _ in range(5)]
    alike = [digest[:5] + bytes([digest[5] ^ 1]) + digest[6:] for digest in wanted]
    model.accept(wanted, wanted)
    if before > 1:
        while not model.settle():
            pass
    asked = 0
    look = run

    def run_later(db: Connection, sql: str, params: Any = ()) -> Any:
        nonlocal asked
        asked += 1
        if asked >= before:
            model.settle_all(alike, alike)
        return look(db, sql, params)

    monkeypatch.setattr(keys, "run", run_later)
    sqlite = model.store.engine.dialect.name == "sqlite"
    with (model.store.read if sqlite else model.store.write)() as db:
        found = keys.find_numbers(db, keys.LEAF, wanted)
    assert asked > 1
    assert found == {keys.short_key(digest): [1 + at] for at, digest in enumerate(wanted)}
