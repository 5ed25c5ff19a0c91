"""Logs whose entries leave the database, for tests: grown, published, and let go."""

from __future__ import annotations

from collections.abc import Callable

from smallledger import NOW, SmallLedger, record

from ledger.core.tiles import Tile
from ledger.sequencer.leaving import Leaving
from ledger.store import (
    Connection,
    Store,
    publication,
    treetiles,
)
from ledger.store.engine import run


def publish(store: Store, size: int) -> None:
    """The row a publisher writes once a checkpoint of this size is published."""
    with store.write() as db:
        assert publication.swap_signed(db, publication.read_publication(db), size, b"note %d" % size)
        assert publication.swap_published(db, publication.read_publication(db), size, b"note %d" % size, NOW)


def held_numbers(db: Connection) -> list[int]:
    return list(run(db, "SELECT number FROM entries ORDER BY number").scalars())


def grow(ledger: SmallLedger, *counts: int) -> list[bytes]:
    raws = [record() for _ in range(sum(counts))]
    at = 0
    for count in counts:
        ledger.accept(raws[at : at + count])
        ledger.sequencer.step()
        at += count
    return raws


def let_leave(ledger: SmallLedger, keep_s: int = 0) -> None:
    one = Leaving(ledger.store, ledger.store, keep_s)
    while one.step():
        pass


def read_from(db: Connection) -> Callable[[Tile], bytes]:
    return lambda tile: treetiles.read_tile(db, tile.level, tile.n, tile.width)
