"""The sequencer's leadership, its transaction, and how it starts again.

Everything a batch changes (which numbers its leaves are, tiles, counts, index, state) is one transaction under
compare-and-swap of the log's size, and under a check that whoever writes it still leads.  A crash at any point leaves
the last committed state and nothing else, so starting after a crash is starting: there is no separate recovery.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from ledger.core.entries import REGISTRY, decode_entry
from ledger.core.errors import Malformed
from ledger.core.index import EMPTY
from ledger.core.indexparts import PartedTree
from ledger.core.merkle import EMPTY_ROOT, leaf_hash
from ledger.core.registry import Register
from ledger.sequencer.leaving import Leaving
from ledger.sequencer.plan import Batch, Close, close_batch, edge_root, edge_tiles, plan_batch
from ledger.store import (
    Connection,
    Leadership,
    LeadershipLost,
    Store,
    StoreBusy,
    StoreUnusable,
    Writer,
    acceptances,
    inbox,
    labels,
    log,
    recents,
    treetiles,
)
from ledger.store.buckets import PAGES_EVERY, load_tree, pages_of, write_tree
from ledger.store.settling import GrowingRows

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
    rows: GrowingRows
    tree: PartedTree
    pages: set[int]  # of bucket hashes, changed since they were written


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
    empty = log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0)
    entry = decode_entry(charter)
    label = entry.index_label
    if label is None:  # Register.add would have refused it
        raise StoreUnusable("the charter has no index label")

    def begin(db: Connection) -> None:
        if log.has_log(db):
            raise StoreUnusable("the database holds a log already; every log needs its own")
        log.begin_log(db, empty)
        first = inbox.next_number(db)
        inbox.put(db, first, inbox.Arrivals((charter, label, leaf_hash(charter), None, None)))
        acceptances.note_runs(db, [acceptances.Run(first, int(time.time()), 0)])
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
        self.batch = batch
        self._tip: _Tip | None = None

    def load(self) -> None:
        """Read the log's end from the store.  Raises StoreUnusable when it does not fit its own hashes."""
        with self._store.read(patient=True) as db:
            state = log.read_state(db)
            try:
                edge = {
                    t.level: treetiles.read_tile(db, t.level, t.n, t.width) for t in edge_tiles(state.size)
                }
            except LookupError as error:
                raise StoreUnusable(f"{error}: restore a backup") from None
            if edge_root(state.size, edge) != state.root:
                raise StoreUnusable("the stored tiles do not hash to the stored root: restore a backup")
            register = Register(self._origin)
            for _, index, entry in log.read_registrations(db):
                if index is not None:
                    register.add(index, entry)
            rows = GrowingRows()
            rows.load(db)
            rows.db = db
            tree = PartedTree(rows)
            pages = load_tree(db, tree, state.size)
            held = labels.count_labels(db, state.last)
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
            batch = self._plan(db, tip)
            root = self._extend_index(db, tip, batch) if batch.leaves else b""
        if not batch.last:
            self._tip = tip
            return None
        before = tip.state
        if not batch.leaves:
            self._writer.change(lambda db: self._drop(db, before, batch))
            return Sequenced(0, before.size, len(batch.refused))
        close = close_batch(before.size, tip.edge, batch.leaves, root, tip.tree.labels)
        size = before.size + len(batch.leaves) + 1
        anew = size - before.pages_covers >= PAGES_EVERY or not before.pages_covers
        state = log.State(
            size,
            close.root,
            tip.tree.labels,
            root,
            batch.registrations,
            size if anew else before.pages_covers,
            batch.last,
        )
        self._write(tip, batch, close, state)
        self._tip = replace(tip, state=state, edge=close.edge, register=batch.register)
        return Sequenced(len(batch.leaves), state.size, len(batch.refused))

    def _plan(self, db: Connection, tip: _Tip) -> Batch:
        state = tip.state
        waiting = inbox.take_waiting(db, state.last, self.batch)
        runs = acceptances.read_runs(db, waiting[0][0], waiting[-1][0]) if waiting else []
        return plan_batch(
            self._origin,
            state.size,
            tip.register,
            state.registrations,
            waiting,
            runs,
            lambda source, day: log.read_day_count(db, source, day),
        )

    def _extend_index(self, db: Connection, tip: _Tip, batch: Batch) -> bytes:
        with self._reading(db, tip):
            taken = tip.tree.insert_packed(tip.rows, batch.labels)
        if taken:
            raise StoreUnusable(f"{len(taken)} index labels in the inbox are in the log already")
        return tip.tree.root

    @staticmethod
    @contextlib.contextmanager
    def _reading(db: Connection, tip: _Tip) -> Iterator[None]:
        """The index's rows are read in this transaction."""
        tip.rows.db = db
        try:
            yield
        except Malformed as error:
            if log.read_state(db) != tip.state:
                raise SequencerLost("the log has grown by another's hand") from None
            raise StoreUnusable(f"{error}: restore a backup") from None
        finally:
            tip.rows.db = None

    def _swap(self, db: Connection, before: log.State, state: log.State) -> None:
        if not log.swap_state(db, before, state):
            raise SequencerLost(f"the log is no longer of size {before.size}")

    def _drop(self, db: Connection, before: log.State, batch: Batch) -> None:
        self._swap(db, before, replace(before, last=batch.last))
        self._leave_out(db, batch)

    def _write(self, tip: _Tip, batch: Batch, close: Close, state: log.State) -> None:
        changes = tip.tree.take_changed_packed()
        tip.pages |= pages_of(changes)
        now = int(time.time())
        spans = [log.Batch(*span, None, now) for span in batch.spans()]
        spans[-1] = spans[-1]._replace(root=close.index_root)

        def write(db: Connection) -> None:
            self._swap(db, tip.state, state)
            log.append_batches(db, spans)
            treetiles.write_tiles(db, close.tiles)
            treetiles.drop_leaf_tiles(db, tip.state.size, state.size)
            log.add_day_counts(db, [(*key, count) for key, count in batch.counts().items()])
            labels.add_changes(db, state.size, changes)
            if state.pages_covers == state.size:
                write_tree(db, tip.tree, tip.pages)
                labels.drop_changes(db, state.size - PAGES_EVERY)
            log.place_registrations(db, batch.placed)
            self._leave_out(db, batch)
            recents.join_small(db, tip.state.last, state.last)

        self._writer.change(write)
        if state.pages_covers == state.size:
            tip.pages.clear()

    def settle(self) -> bool:
        """Let labels and keys settle that were sequenced lately, as far as it is time; whether it was.

        Changes where they lie and nothing else. Raises StoreBusy, and SequencerLost as `step` does.
        """
        tip = self._tip
        part = tip.rows.due(tip.state.last) if tip else None
        if tip is None or part is None:
            return False
        state, rows = tip.state, tip.rows
        with self._store.read() as db:
            rows.prepare(db, state.last)
        self._tip = None

        def write(db: Connection) -> None:
            self._swap(db, state, state)
            rows.settle(db, part, state.last)

        self._writer.change(write)
        rows.settled(part, state.last)
        self._tip = tip
        return True

    def warm(self) -> None:
        """Make ready, a little at a time, what later labels cost less by. Raises StoreBusy, SequencerLost as
        `step` does, and StoreUnusable when the labels do not hash to the index."""
        tip = self._tip
        if tip is not None and tip.tree.cold:
            with self._store.read() as db, self._reading(db, tip):
                tip.tree.warm()

    def _leave_out(self, db: Connection, batch: Batch) -> None:
        for refused in batch.refused:
            _log.error(
                "accepted entry left out", number=refused.number, rule=refused.error.evidence.get("rule")
            )
            inbox.drop(db, refused.number)
            if refused.entry[1] == REGISTRY:
                log.drop_registration(db, refused.registrations + 1)


def run_sequencer(
    store: Store,
    origin: str,
    *,
    interval_s: float,
    batch: int,
    stop: Callable[[], bool],
    keep_s: int | None = None,
) -> None:
    """Sequence until `stop()`, standing by as long as another process leads.

    Two batches begin at least `interval_s` seconds apart, but after a full one the next begins at once.  `keep_s`
    seconds after that, entries may leave the database; None: never.  Raises StoreUnusable.
    """
    waited = False
    while not stop():
        try:
            with store.lead("sequencer") as leadership:
                if leadership is not None:
                    waited = False
                    sequencer = Sequencer(store, origin, batch, leadership)
                    leaving = None if keep_s is None else Leaving(store, leadership, keep_s)
                    _run(sequencer, leaving, leadership, interval_s, stop)
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
    sequencer: Sequencer,
    leaving: Leaving | None,
    leadership: Leadership,
    interval_s: float,
    stop: Callable[[], bool],
) -> None:
    _log.info("sequencing")
    while not stop() and not leadership.lost:
        begun = time.monotonic()
        try:
            done = sequencer.step()
            while sequencer.settle():
                pass
            # One slice at most between two batches.
            more = leaving is not None and leaving.step()
        except StoreBusy as error:
            _log.warning("cannot sequence now; trying again", why=str(error))
            time.sleep(BUSY_S)
            continue
        if done is None:
            if not more:
                with contextlib.suppress(StoreBusy):
                    sequencer.warm()
            time.sleep(0.0 if more else POLL_S)
            continue
        _log.info("sequenced", entries=done.entries, size=done.size, refused=done.refused)
        if done.entries + done.refused < sequencer.batch:  # a full batch has left others waiting
            time.sleep(max(0.0, interval_s - (time.monotonic() - begun)))
