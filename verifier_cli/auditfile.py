"""How far an audit has come, kept in SQLite: it goes on after a kill, and needs no more memory for a larger log.

    with closing(AuditFile.open(path)) as file:
        replay = file.load(origin, newest)          as it was saved, or a fresh one
        advance(log, replay, checkpoint, jobs=2, save=file.save)

One save is one transaction and is durable when it returns; it writes what came since the one before. Only entries
proven under a signed root are ever saved (verifier_cli.auditing sees to it), so a lying mirror leaves nothing here.

The tables begin with `audit_`, so that a witness can keep them in its own file:

    audit_log        a log: its size and row of perfect subtrees, its index's root
    audit_stated     registry entries that took their label
    audit_day        counts and coverage of a source's day
    audit_violation  what broke a rule
    audit_recent     labels as they came, one row a save, with the buckets of the index that they changed
    audit_bucket     all labels before those, sorted, by bucket

Recent labels are in memory too, `RECENT_LABELS` of them at most; then they are folded into the buckets on disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.index import BUCKET, TOP_BITS, MemoryRows, PrefixTree, Row
from ledger.core.indexproof import ROW
from ledger.core.merkle import Frontier
from ledger.core.replay import Changes, Replay, Stated, Violation
from ledger.core.replaycounts import DayCount

RECENT_LABELS = 1_000_000
"""Labels held in memory, some 80 bytes each: an audit of a log no larger than that reads none from disk."""
MOST_BITS = 21
"""Levels of the index in memory at most: 150 MiB, for logs of two million entries and more."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS audit_log (
    log INTEGER PRIMARY KEY, origin TEXT NOT NULL UNIQUE, bits INTEGER NOT NULL, size INTEGER NOT NULL,
    frontier BLOB NOT NULL, ends_in_root INTEGER NOT NULL, left_out INTEGER NOT NULL,
    index_root BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS audit_stated (
    log INTEGER NOT NULL, leaf INTEGER NOT NULL, entry BLOB NOT NULL, in_force INTEGER NOT NULL,
    PRIMARY KEY (log, leaf));
CREATE TABLE IF NOT EXISTS audit_day (
    log INTEGER NOT NULL, source INTEGER NOT NULL, day INTEGER NOT NULL, counts TEXT NOT NULL,
    PRIMARY KEY (log, source, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit_violation (
    log INTEGER NOT NULL, number INTEGER NOT NULL, leaf INTEGER NOT NULL, kind TEXT NOT NULL,
    rule TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (log, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit_recent (
    log INTEGER NOT NULL, size INTEGER NOT NULL, labels BLOB NOT NULL, buckets BLOB NOT NULL,
    PRIMARY KEY (log, size));
CREATE TABLE IF NOT EXISTS audit_bucket (
    log INTEGER NOT NULL, prefix INTEGER NOT NULL, hash BLOB NOT NULL, labels BLOB NOT NULL,
    PRIMARY KEY (log, prefix)) WITHOUT ROWID;
"""
_TABLES = ("audit_stated", "audit_day", "audit_violation", "audit_recent", "audit_bucket", "audit_log")


class AuditFile:
    """Audits of logs by origin, over an open connection (in autocommit mode) that the caller may use otherwise too.

    One thread at a time. Every method raises `Malformed` for a file that cannot be one, and `sqlite3.Error` for a
    disk that is full or a file that another process holds on to.
    """

    def __init__(self, db: sqlite3.Connection, where: str = "audit file") -> None:
        self._db = db
        self._where = where
        self._loaded: dict[str, _Loaded] = {}
        with self._reading():
            db.executescript(_SCHEMA)

    @classmethod
    def open(cls, path: Path) -> AuditFile:
        """The file at `path`, made when there is none. Raises OSError when it cannot be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            raise OSError(f"{path}: {error}") from None
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            return cls(db, str(path))
        except sqlite3.DatabaseError as error:
            db.close()
            raise _no_audit(path, error) from None
        except BaseException:
            db.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        self._db.close()

    def size(self, origin: str) -> int:
        """How many entries of this log are audited and saved."""
        with self._reading():
            row = self._db.execute("SELECT size FROM audit_log WHERE origin = ?", (origin,)).fetchone()
        return row[0] if row else 0

    def load(self, origin: str, newest: int, expected: int = 0) -> Replay:
        """The replay as it was saved, a fresh one when there is none; it is the one that `save` takes from now on.

        `expected` is the size of the log, if known: of a fresh replay it decides how much of the index is in memory.
        """
        with self._reading():
            row = self._db.execute(
                "SELECT log, bits, size, frontier, ends_in_root, left_out, index_root FROM audit_log"
                " WHERE origin = ?",
                (origin,),
            ).fetchone()
            if row is None:
                bits = min(MOST_BITS, max(TOP_BITS, expected.bit_length() - 1))
                rows = _SavedRows(self._db, None, bits)
                replay = Replay(origin, newest, rows=rows, bits=bits)
                self._loaded[origin] = _Loaded(replay, rows, 0)
                return replay
            log, bits, size, frontier, ends_in_root, left_out, index_root = row
            rows = _SavedRows(self._db, log, bits)
            replay = Replay(origin, newest, rows=rows, bits=bits)
            replay.restore(Frontier.from_bytes(frontier), bool(ends_in_root), left_out, self._changes(log))
            rows.read(replay.tree)
            if replay.size != size or replay.tree.root != index_root:
                raise ValueError("its parts do not fit together")
            replay.tree.take_changed()
        self._loaded[origin] = _Loaded(replay, rows, size)
        return replay

    def save(self, replay: Replay) -> None:
        """Keep what came since the last save, durably, in one transaction. Every batch must have been reported.

        Raises `Malformed` when another process has saved an audit of this log here meanwhile.
        """
        loaded = self._loaded.get(replay.origin)
        if loaded is None or loaded.replay is not replay:
            raise ValueError("this replay was not loaded from this file")
        if replay.first_missing is not None:
            raise ValueError("this replay has not seen every entry")
        changes = replay.changes()
        if replay.size == loaded.size and not (changes.violations or changes.days or changes.stated):
            return
        db, rows = self._db, loaded.rows
        db.execute("BEGIN IMMEDIATE")
        try:
            self._check_alone(replay.origin, loaded.size)
            log = self._write_log(replay, rows.bits)
            self._write_changes(log, changes)
            rows.write(log, replay.size, replay.tree)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            # What is in memory may be ahead of the file now: only a fresh load fits it again.
            del self._loaded[replay.origin]
            raise
        rows.written()
        replay.saved()
        loaded.size = replay.size

    def forget(self, origin: str) -> None:
        """Drop what is kept of this log: it will be audited from its first entry."""
        self._loaded.pop(origin, None)
        row = self._db.execute("SELECT log FROM audit_log WHERE origin = ?", (origin,)).fetchone()
        if row is None:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for table in _TABLES:
                self._db.execute(f"DELETE FROM {table} WHERE log = ?", row)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError:
            raise  # held by another process, or unreadable: no word on what is in it
        except (sqlite3.DatabaseError, GlassbookError, ValueError, TypeError, IndexError) as error:
            raise _no_audit(self._where, error) from None

    def _changes(self, log: int) -> Changes:
        db = self._db
        stated = db.execute(
            "SELECT leaf, entry, in_force FROM audit_stated WHERE log = ? ORDER BY leaf", (log,)
        )
        days = db.execute("SELECT source, day, counts FROM audit_day WHERE log = ?", (log,))
        violations = db.execute(
            "SELECT leaf, kind, rule, detail FROM audit_violation WHERE log = ? ORDER BY number", (log,)
        )
        return Changes(
            [Stated(leaf, entry, bool(in_force)) for leaf, entry, in_force in stated],
            [DayCount.from_plain(source, day, json.loads(counts)) for source, day, counts in days],
            [Violation(*row) for row in violations],
        )

    def _check_alone(self, origin: str, size: int) -> None:
        row = self._db.execute("SELECT size FROM audit_log WHERE origin = ?", (origin,)).fetchone()
        if (row[0] if row else 0) != size:
            what = "another program audits this log with it; wait for that one, or use another file"
            raise Malformed(self._where, what)

    def _write_log(self, replay: Replay, bits: int) -> int:
        state = (
            replay.size, replay.frontier.to_bytes(), replay.ends_in_root, replay.left_out, replay.tree.root,
        )  # fmt: skip
        row = self._db.execute(
            "INSERT INTO audit_log (origin, bits, size, frontier, ends_in_root, left_out, index_root)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size = excluded.size,"
            " frontier = excluded.frontier, ends_in_root = excluded.ends_in_root,"
            " left_out = excluded.left_out, index_root = excluded.index_root RETURNING log",
            (replay.origin, bits, *state),
        ).fetchone()
        log: int = row[0]
        return log

    def _write_changes(self, log: int, changes: Changes) -> None:
        db = self._db
        db.executemany(
            "INSERT INTO audit_stated VALUES (?, ?, ?, ?)",
            [(log, stated.index, stated.raw, stated.in_force) for stated in changes.stated],
        )
        db.executemany(
            "INSERT OR REPLACE INTO audit_day VALUES (?, ?, ?, ?)",
            [(log, day.source, day.day, json.dumps(day.to_plain())) for day in changes.days],
        )
        first = db.execute("SELECT count(*) FROM audit_violation WHERE log = ?", (log,)).fetchone()[0]
        db.executemany(
            "INSERT INTO audit_violation VALUES (?, ?, ?, ?, ?, ?)",
            [
                (log, number, one.index, one.kind, one.rule, one.detail)
                for number, one in enumerate(changes.violations, first)
            ],
        )


class _Loaded:
    """A replay given out, its rows, and the size at which it was last saved."""

    __slots__ = ("replay", "rows", "size")

    def __init__(self, replay: Replay, rows: _SavedRows, size: int) -> None:
        self.replay = replay
        self.rows = rows
        self.size = size


class _SavedRows:
    """The labels of one log: `IndexRows` over the recent ones in memory and all others on disk."""

    def __init__(self, db: sqlite3.Connection, log: int | None, bits: int) -> None:
        self.bits = bits
        self._db = db
        self._log = log
        self._recent = MemoryRows(bits)
        self._recent_labels = 0
        self._unsaved: list[bytes] = []
        self._on_disk = False
        self._folded = False

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterable[Sequence[Row]]:
        """See `IndexRows`."""
        return [list(ROW.iter_unpack(data)) if data else () for data in self.packed(prefixes, bits)]

    def add(self, rows: Sequence[Row]) -> None:
        """See `IndexRows`."""
        self._recent.add(rows)
        self._recent_labels += len(rows)
        self._unsaved.append(b"".join([ROW.pack(*row) for row in rows]))

    def packed(self, prefixes: Sequence[int], bits: int) -> Iterable[bytes | None]:
        """See `PackedRows`."""
        recent = self._recent.packed(prefixes, bits)
        return map(_merged, self._stored(prefixes), recent) if self._on_disk else recent

    def replace(self, prefixes: Sequence[int], buckets: Sequence[bytes], fresh: Sequence[bytes]) -> None:
        """See `PackedRows`."""
        if self._on_disk:
            self._recent.add([ROW.unpack(row) for row in fresh])
        else:
            self._recent.replace(prefixes, buckets, fresh)
        self._recent_labels += len(fresh)
        self._unsaved.append(b"".join(fresh))

    def read(self, tree: PrefixTree) -> None:
        """Load the recent labels, and the tree from the hashes of all buckets."""
        stored = self._db.execute(
            "SELECT prefix, hash, length(labels) / ? FROM audit_bucket WHERE log = ?", (ROW.size, self._log)
        )
        newest = {prefix: (prefix, digest, labels) for prefix, digest, labels in stored}
        self._on_disk = bool(newest)
        recent = self._db.execute(
            "SELECT labels, buckets FROM audit_recent WHERE log = ? ORDER BY size", (self._log,)
        )
        for labels, buckets in recent:
            rows = list(ROW.iter_unpack(labels))
            self._recent.add(rows)
            self._recent_labels += len(rows)
            newest.update((bucket[0], bucket) for bucket in BUCKET.iter_unpack(buckets))
        tree.load(newest.values())

    def write(self, log: int, size: int, tree: PrefixTree) -> None:
        """Within the caller's transaction: the labels since the last save, and the buckets that they changed."""
        self._log = log
        buckets = tree.take_changed_packed()
        if not buckets:
            return
        labels = b"".join(self._unsaved)
        self._db.execute("INSERT INTO audit_recent VALUES (?, ?, ?, ?)", (log, size, labels, buckets))
        if self._recent_labels >= RECENT_LABELS:
            self._fold()

    def written(self) -> None:
        """What `write` wrote is committed."""
        self._unsaved = []
        if self._folded:
            self._folded, self._on_disk = False, True
            self._recent, self._recent_labels = MemoryRows(self.bits), 0

    def _fold(self) -> None:
        """Move the recent labels into the buckets on disk, each rewritten with its newest hash."""
        digests: dict[int, bytes] = {}
        for (changed,) in self._db.execute(
            "SELECT buckets FROM audit_recent WHERE log = ? ORDER BY size", (self._log,)
        ):
            digests.update((prefix, digest) for prefix, digest, _ in BUCKET.iter_unpack(changed))
        prefixes = sorted(digests)
        buckets = zip(prefixes, self.packed(prefixes, self.bits), strict=True)
        self._db.executemany(
            "INSERT OR REPLACE INTO audit_bucket VALUES (?, ?, ?, ?)",
            ((self._log, prefix, digests[prefix], bucket) for prefix, bucket in buckets),
        )
        self._db.execute("DELETE FROM audit_recent WHERE log = ?", (self._log,))
        self._folded = True

    def _stored(self, prefixes: Sequence[int]) -> Iterator[bytes | None]:
        for prefix in prefixes:
            row = self._db.execute(
                "SELECT labels FROM audit_bucket WHERE log = ? AND prefix = ?", (self._log, prefix)
            ).fetchone()
            yield row[0] if row else None


def _merged(stored: bytes | None, recent: bytes | None) -> bytes | None:
    if stored and recent:
        rows = stored + recent
        return b"".join(sorted([rows[at : at + ROW.size] for at in range(0, len(rows), ROW.size)]))
    return stored or recent


def _no_audit(where: object, error: Exception) -> Malformed:
    return Malformed(
        str(where), f"is no file of an audit, or a damaged one ({error}); remove it to audit anew"
    )
