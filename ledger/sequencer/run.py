"""The sequencer's leadership, its transaction, and how it starts again.

Everything a batch changes (entries, labels, tiles, counts, state, the emptied inbox) is one transaction under
compare-and-swap of the log's size, and under a check that whoever writes it still leads.  A crash at any point leaves
the last committed state and nothing else, so starting after a crash is starting: there is no separate recovery.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from ledger.core.entries import REGISTRY, decode_entry
from ledger.core.errors import Malformed
from ledger.core.index import EMPTY, PrefixTree
from ledger.core.merkle import EMPTY_ROOT, leaf_hash
from ledger.core.registry import Register
from ledger.sequencer.plan import Batch, Close, close_batch, edge_root, edge_tiles, plan_batch
from ledger.store import (
    Connection,
    Leadership,
    LeadershipLost,
    Store,
    StoreBusy,
    StoreUnusable,
    Writer,
    inbox,
    labels,
    log,
)
from ledger.store.buckets import PAGES_EVERY, BucketPages, StoredRows, load_tree, pack_changes

POLL_S = 0.05
BUSY_S = 1.0

_log = structlog.get_logger("ledger.sequencer")


class SequencerLost(Exception):
    """Another sequencer has moved the log: this one changed nothing and must start again from the store."""


@dataclass(slots=True)
class _Tip:
    """The log's end in memory: what the next batch needs and the store would have to be asked for."""

    state: log.State
    edge: dict[int, bytes]
    register: Register
    rows: StoredRows
    tree: PrefixTree
    pages: BucketPages


@dataclass(frozen=True, slots=True)
class Sequenced:
    """What one batch did: entries appended (but the index root), the log's size after it, refusals."""

    entries: int
    size: int
    refused: int


def begin_log(store: Store, origin: str, charter: bytes) -> int:
    """Begin a log with its charter, a registry entry: leaf 0, and an index root at leaf 1. The size, 2.

    The store was opened with `create`.  Raises what `Register.add` does when the charter breaks a rule, and
    StoreUnusable when the database holds a log already.
    """
    Register(origin).add(0, charter)
    empty = log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0)
    entry = decode_entry(charter)
    label = entry.index_label
    if label is None:  # Register.add would have refused it
        raise StoreUnusable("the charter has no index label")

    def begin(db: Connection) -> None:
        if log.has_log(db):
            raise StoreUnusable("the database holds a log already; every log needs its own")
        log.begin_log(db, empty)
        number = inbox.take_numbers(db, 1)
        inbox.put(db, [(number, label, leaf_hash(charter), charter, 0, -1, 0)])
        log.add_registration(db, 1, None, charter)

    store.change(begin)
    done = Sequencer(store, origin, batch=1).step()
    if done is None or done.refused:
        raise StoreUnusable("the charter was not sequenced")
    return done.size


class Sequencer:
    """Sequences one log; `leadership` of the role `sequencer` is checked by each write."""

    def __init__(
        self, store: Store, origin: str, batch: int = 10_000, leadership: Leadership | None = None
    ) -> None:
        self._store = store
        self._writer: Writer = leadership or store
        self._origin = origin
        self._batch = batch
        self._tip: _Tip | None = None

    def load(self) -> None:
        """Read the log's end from the store.  Raises StoreUnusable when it does not fit its own hashes."""
        with self._store.read() as db:
            state = log.read_state(db)
            try:
                edge = {t.level: log.read_tile(db, t.level, t.n, t.width) for t in edge_tiles(state.size)}
            except LookupError as error:
                raise StoreUnusable(f"{error}: restore a backup") from None
            if edge_root(state.size, edge) != state.root:
                raise StoreUnusable("the stored tiles do not hash to the stored root: restore a backup")
            register = Register(self._origin)
            for _, index, entry in log.read_registrations(db):
                if index is not None:
                    register.add(index, entry)
            rows = StoredRows(state.size)
            rows.db = db
            tree, pages = load_tree(db, rows, state.size)
            held = labels.count_labels(db)
            if held != state.labels:
                raise StoreUnusable(f"{held} index labels are stored, not {state.labels}: restore a backup")
            if tree.root != state.index_root or tree.labels != state.labels:
                raise StoreUnusable(
                    "the stored labels do not hash to the stored index root: restore a backup"
                )
            rows.db = None
        self._tip = _Tip(state, edge, register, rows, tree, pages)

    def step(self) -> Sequenced | None:
        """Sequence what waits, at most one batch.  None when nothing does.

        Raises StoreBusy when the store cannot be read or written now; nothing was changed then, or, when the
        commit was not answered, all of it: the next call reads the log's end from the store either way.
        Raises SequencerLost and LeadershipLost when another sequencer is at work; nothing was changed then.
        """
        if self._tip is None:
            self.load()
        tip, self._tip = self._tip, None
        assert tip is not None
        # If anything below fails, the tip may be half changed and is read anew: it is put back at the end.
        with self._store.read() as db:
            waiting = inbox.take_waiting(db, self._batch)
            if waiting:
                batch = plan_batch(
                    self._origin,
                    tip.state.size,
                    tip.register,
                    tip.state.registrations,
                    waiting,
                    lambda source, day: log.read_day_count(db, source, day),
                )
                tip.rows.db = db
                try:
                    taken = tip.tree.insert_many(batch.labels)
                except Malformed as error:
                    raise StoreUnusable(f"{error}: restore a backup") from None
                if taken:
                    raise StoreUnusable(f"{len(taken)} index labels in the inbox are in the log already")
                root, count = tip.tree.root, tip.tree.labels
                tip.rows.db = None
        if not waiting:
            self._tip = tip
            return None
        if not batch.entries:
            self._drop(batch)
            return Sequenced(0, tip.state.size, len(batch.refused))
        close = close_batch(tip.state.size, tip.edge, [leaf for leaf, _, _ in batch.entries], root, count)
        size = tip.state.size + len(batch.entries) + 1
        pages_covers = tip.state.pages_covers
        if size - pages_covers >= PAGES_EVERY or not pages_covers:
            pages_covers = size
        state = log.State(
            size,
            close.root,
            count,
            root,
            batch.registrations,
            pages_covers,
        )
        self._write(tip, batch, close, state)
        self._tip = _Tip(state, close.edge, batch.register, tip.rows, tip.tree, tip.pages)
        return Sequenced(len(batch.entries), state.size, len(batch.refused))

    def _write(self, tip: _Tip, batch: Batch, close: Close, state: log.State) -> None:
        # Outside, because the transaction may be done twice.
        changed = tip.tree.take_changed()
        tip.pages.update(changed)
        added, packed = sorted(tip.rows.added), pack_changes(changed)

        def write(db: Connection) -> None:
            if not log.swap_state(db, tip.state.size, state):
                raise SequencerLost(f"the log is no longer of size {tip.state.size}")
            log.append_entries(db, batch.start, [*batch.entries, (close.leaf, 0, close.index_root)])
            labels.add_labels(db, added)
            log.write_tiles(db, close.tiles)
            log.add_day_counts(db, [(*key, count) for key, count in batch.counts.items()])
            labels.add_changes(db, state.size, packed)
            if state.pages_covers == state.size:
                tip.pages.write(db)
                labels.drop_changes(db, state.size - PAGES_EVERY)
            log.place_registrations(db, batch.placed)
            self._clear(db, batch)

        self._writer.change(write)
        tip.rows.added.clear()
        tip.rows.covers = state.size
        if state.pages_covers == state.size:
            tip.pages.written()

    def _drop(self, batch: Batch) -> None:
        self._writer.change(lambda db: self._clear(db, batch))

    def _clear(self, db: Connection, batch: Batch) -> None:
        for row, error in batch.refused:
            # Accepted and yet not fit: it cannot happen while only this program writes the inbox.
            _log.error("accepted entry left out", number=row.number, rule=error.evidence.get("rule"))
            if row.entry[1] == REGISTRY:
                log.drop_registration(db, row.registrations + 1)
        inbox.clear(db, batch.last)


def run_sequencer(
    store: Store, origin: str, *, interval_s: float, batch: int, stop: Callable[[], bool]
) -> None:
    """Sequence until `stop()`, standing by as long as another process leads.

    Two batches begin at least `interval_s` seconds apart.  Raises StoreUnusable.
    """
    waited = False
    while not stop():
        try:
            with store.lead("sequencer") as leadership:
                if leadership is not None:
                    waited = False
                    _run(store, origin, leadership, interval_s, batch, stop)
                    continue
            if not waited:
                _log.info("standing by: another sequencer is active")
            waited = True
        except (LeadershipLost, SequencerLost) as error:
            _log.warning("another sequencer has taken over; standing by", why=str(error))
            waited = True
        except StoreBusy as error:
            _log.warning("cannot sequence now; trying again", why=str(error))
        time.sleep(BUSY_S)


def _run(
    store: Store, origin: str, leadership: Leadership, interval_s: float, batch: int, stop: Callable[[], bool]
) -> None:
    sequencer = Sequencer(store, origin, batch, leadership)
    _log.info("sequencing")
    while not stop() and not leadership.lost:
        begun = time.monotonic()
        try:
            done = sequencer.step()
        except StoreBusy as error:
            _log.warning("cannot sequence now; trying again", why=str(error))
            time.sleep(BUSY_S)
            continue
        if done is None:
            time.sleep(POLL_S)
            continue
        _log.info("sequenced", entries=done.entries, size=done.size, refused=done.refused)
        time.sleep(max(0.0, interval_s - (time.monotonic() - begun)))
