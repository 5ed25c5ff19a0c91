"""The outbox: everything a department still owes the log, and the receipts for what it has put there.

Each step is one transaction of one file (outboxfile.py):

    prepare      an event's identity, the number n of each of its records, and the records themselves
    hand in      nothing changes; the same bytes go out again until an answer says more
    answered     `waiting` → `handed in`, with the ledger's promise, or `refused` with the reason
    receipt      record and promise go, the receipt comes, the stream is done up to the first number without one

So n is given once, with its record or not at all, and no record leaves without a receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from ledger.core.entries import Record, decode_entry
from ledger.department.outboxfile import OutboxFile

HELD_MARGIN_S = 60
"""Seconds before the end of holding from which a record stays as it is: more than any transaction takes."""

_STREAM = "id, epoch, seal, subject, given, done"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's counter: n has been given up to `given`, and 1 … `done` have receipts."""

    id: int
    epoch: int
    seal: int
    subject: str
    given: int
    done: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record ready to be handed in: 146-byte entry, its leaf hash, envelope, H(fetch token), place in the order."""

    n: int
    entry: bytes
    leaf_hash: bytes
    envelope: bytes
    deposited: bytes
    place: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record in the outbox, with the stream it belongs to."""

    id: int
    stream: Stream
    n: int
    entry: bytes
    leaf_hash: bytes
    envelope: bytes
    deposited: bytes
    state: str
    problem: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in the outbox."""

    streams: int
    waiting: int
    handed_in: int
    refused: int
    receipts: int
    streams_done: int

    @property
    def owed(self) -> int:
        """Records without a receipt."""
        return self.waiting + self.handed_in + self.refused


class Outbox(OutboxFile):
    """The records in the outbox file, their streams and receipts; other tables have files of their own."""

    # Preparing, inside a transaction

    def new_event(self, identity: bytes) -> bool:
        """Take note of an event; False when it was recorded before."""
        return self._db.execute("INSERT OR IGNORE INTO events VALUES (?)", (identity,)).rowcount == 1

    def has_event(self, identity: bytes) -> bool:
        with self._guard():
            return (
                self._db.execute("SELECT 1 FROM events WHERE identity = ?", (identity,)).fetchone()
                is not None
            )

    def stream(self, epoch: int, seal: int, subject: str) -> Stream | None:
        with self._guard():
            row = self._db.execute(
                f"SELECT {_STREAM} FROM streams WHERE epoch = ? AND seal = ? AND subject = ?",
                (epoch, seal, subject),
            ).fetchone()
        return None if row is None else Stream(*row)

    def add_stream(self, epoch: int, seal: int, subject: str, found: int) -> Stream:
        """A stream seen for the first time here, of which `found` records are in the log already."""
        cursor = self._db.execute(
            "INSERT INTO streams (epoch, seal, subject, given, done) VALUES (?, ?, ?, ?, ?)",
            (epoch, seal, subject, found, found),
        )
        return Stream(cursor.lastrowid or 0, epoch, seal, subject, found, found)

    def raise_counter(self, stream: int, found: int) -> None:
        """The log holds 1 … `found` of a stream: none of these is given again."""
        self._db.execute(
            "UPDATE streams SET given = max(given, :found), done = max(done, :found) WHERE id = :id",
            {"found": found, "id": stream},
        )

    def add_records(self, stream: Stream, prepared: list[Prepared]) -> None:
        """Records for the next numbers of a stream, which are thereby given."""
        for place, record in enumerate(prepared, stream.given + 1):
            if record.n != place:
                raise AssertionError(f"record n = {record.n} prepared where {place} is next")
        self._db.executemany(
            "INSERT INTO records (stream, n, leaf_hash, entry, envelope, deposited, place, state, tried) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', 0)",
            [(stream.id, r.n, r.leaf_hash, r.entry, r.envelope, r.deposited, r.place) for r in prepared],
        )
        changed = self._db.execute(
            "UPDATE streams SET given = ? WHERE id = ? AND given = ?",
            (stream.given + len(prepared), stream.id, stream.given),
        ).rowcount
        if changed != 1:
            raise AssertionError("the counter moved under a transaction")

    def replace_record(self, old: Waiting, renumber: Callable[[Stream, int], Prepared]) -> None:
        """Give a record that cannot be logged under its number the stream's next one instead."""
        self._db.execute("DELETE FROM records WHERE id = ?", (old.id,))
        row = self._db.execute(f"SELECT {_STREAM} FROM streams WHERE id = ?", (old.stream.id,)).fetchone()
        stream = Stream(*row)
        self.add_records(stream, [renumber(stream, stream.given + 1)])
        self._db.execute(
            "UPDATE links SET n = ? WHERE stream = ? AND n = ?", (stream.given + 1, stream.id, old.n)
        )

    # Records that are held back for a little while, until it is known how the access went

    def hold(self, leaf_hash: bytes, until: int) -> None:
        """Do not hand this record in before `until` (Unix seconds), unless it is released; inside a transaction."""
        self._db.execute("INSERT INTO held VALUES (?, ?)", (leaf_hash, until))

    def release(self, leaf_hash: bytes) -> None:
        """Nothing more is to come for this record."""
        self._db.execute("DELETE FROM held WHERE leaf_hash = ?", (leaf_hash,))

    def amend(self, leaf_hash: bytes, better: Prepared, now: int) -> bool:
        """Put a record in the place of one held, with the same number; inside a transaction.

        False when that one is held no more, or nearly so: it may have been handed in, and stays as it is.
        """
        row = self._db.execute("SELECT until FROM held WHERE leaf_hash = ?", (leaf_hash,)).fetchone()
        self.release(leaf_hash)
        if row is None or row[0] - HELD_MARGIN_S <= now:
            return False
        return (
            self._db.execute(
                "UPDATE records SET leaf_hash = ?, entry = ?, envelope = ?, deposited = ? "
                "WHERE leaf_hash = ? AND n = ? AND state = 'waiting'",
                (better.leaf_hash, better.entry, better.envelope, better.deposited, leaf_hash, better.n),
            ).rowcount
            == 1
        )

    def count_held(self) -> int:
        """Records that may still be amended."""
        with self._guard():
            found: int = self._db.execute(
                "SELECT count(*) FROM records AS r JOIN held AS h ON h.leaf_hash = r.leaf_hash "
                "WHERE h.until > CAST(strftime('%s', 'now') AS INTEGER)"
            ).fetchone()[0]
        return found

    # Handing in

    def to_hand_in(self, limit: int, epochs: Collection[int] | None = None) -> list[Waiting]:
        """Up to `limit` records of these epochs (None: of any) in random order, without those that have to wait:

        - held,
        - behind a refused one of their stream: they would be logged behind a gap, where no reader looks,
        - of a day whose coverage is on its way: it counts what is in the log before it.
        """
        registered = "" if epochs is None else f"AND s.epoch IN ({','.join('?' * len(epochs))}) "
        return self._select(
            f"r.state = 'waiting' {registered}AND NOT EXISTS (SELECT 1 FROM records AS b "
            "WHERE b.stream = r.stream AND b.state = 'refused' AND b.n < r.n) AND NOT EXISTS (SELECT 1 FROM held AS h "
            "WHERE h.leaf_hash = r.leaf_hash AND h.until > CAST(strftime('%s', 'now') AS INTEGER)) "
            "AND substr(r.entry, 9, 4) NOT IN (SELECT substr(entry, 9, 4) FROM coverages "
            "WHERE state IN ('waiting', 'handed in')) ORDER BY r.place LIMIT ?",
            (*(epochs or ()), limit),
        )

    def take_to_hand_in(self, limit: int, epochs: Collection[int]) -> list[Waiting]:
        """As `to_hand_in`; from now on the ledger may have them, and no coverage of their days is made meanwhile."""
        with self.transaction() as db:
            records = self.to_hand_in(limit, epochs)
            db.executemany(
                "UPDATE records SET tried = 1 WHERE id = ? AND tried = 0",
                [(record.id,) for record in records],
            )
        return records

    def awaiting_receipt(self, limit: int, after: int) -> list[Waiting]:
        """Records that the ledger has taken, or may have, with an id above `after`, in the order of their ids."""
        return self._select("r.state <> 'refused' AND r.id > ? ORDER BY r.id LIMIT ?", (after, limit))

    def refused(self, limit: int = 1000) -> list[Waiting]:
        return self._select("r.state = 'refused' ORDER BY r.id LIMIT ?", (limit,))

    def _select(self, condition: str, values: tuple[object, ...]) -> list[Waiting]:
        with self._guard():
            rows = self._db.execute(
                "SELECT r.id, r.n, r.entry, r.leaf_hash, r.envelope, r.deposited, r.state, r.problem, "
                "s.id, s.epoch, s.seal, s.subject, s.given, s.done "
                f"FROM records AS r JOIN streams AS s ON s.id = r.stream WHERE {condition}",
                values,
            ).fetchall()
        return [Waiting(row[0], Stream(*row[8:]), *row[1:8]) for row in rows]

    def handed_in(self, ids: Iterable[int]) -> None:
        """The ledger has these; their receipts are to come."""
        self._db.executemany(
            "UPDATE records SET state = 'handed in', problem = '' WHERE id = ?", [(i,) for i in ids]
        )

    def refuse(self, id_: int, problem: str) -> None:
        """The ledger has not got this one and will not take it; it stays, with the reason."""
        self._db.execute(
            "UPDATE records SET state = 'refused', problem = ?, tried = 0 WHERE id = ?", (problem, id_)
        )

    def sign_again(self, old: Waiting, signed: Prepared) -> bool:
        """Put the same record under another signature in the place of one; inside a transaction.

        Only of one that cannot be in the log any more.  False when it was replaced meanwhile.
        """
        return (
            self._db.execute(
                "UPDATE records SET leaf_hash = ?, entry = ?, envelope = ?, deposited = ?, state = 'waiting', "
                "problem = '', tried = 0 WHERE id = ? AND leaf_hash = ?",
                (
                    signed.leaf_hash, signed.entry, signed.envelope, signed.deposited, old.id, old.leaf_hash,
                ),
            ).rowcount
            == 1
        )  # fmt: skip

    def not_held(self, limit: int, after: int) -> list[Waiting]:
        """Records with an id above `after` that nobody will amend, in the order of their ids."""
        return self._select(
            "r.id > ? AND NOT EXISTS (SELECT 1 FROM held AS h WHERE h.leaf_hash = r.leaf_hash "
            "AND h.until > CAST(strftime('%s', 'now') AS INTEGER)) ORDER BY r.id LIMIT ?",
            (after, limit),
        )

    def try_again(self, handed_in: bool = True) -> int:
        """Refused records wait again, unchanged, and those handed in if it is asked for; returns how many."""
        states = "('refused', 'handed in')" if handed_in else "('refused')"
        with self.transaction():
            return self._db.execute(f"UPDATE records SET state = 'waiting' WHERE state IN {states}").rowcount

    def add_receipt(self, record: Waiting, position: int, receipt: bytes) -> None:
        """A checked receipt: only now the record leaves the outbox. Another sender may have been quicker."""
        self._db.execute(
            "INSERT INTO receipts SELECT :leaf, :stream, :n, :position, :receipt "
            "WHERE NOT EXISTS (SELECT 1 FROM receipts WHERE leaf_hash = :leaf)",
            {
                "leaf": record.leaf_hash, "stream": record.stream.id, "n": record.n,
                "position": position, "receipt": receipt,
            },
        )  # fmt: skip
        entry = decode_entry(record.entry)
        if isinstance(entry, Record):
            self._db.execute(
                "INSERT OR IGNORE INTO details (leaf_hash, position, day, seal, activity) VALUES (?, ?, ?, ?, ?)",
                (record.leaf_hash, position, entry.day, entry.seal, entry.activity),
            )
        self._db.execute("DELETE FROM records WHERE id = ?", (record.id,))
        self._db.execute("DELETE FROM promises WHERE leaf_hash = ?", (record.leaf_hash,))
        self._db.execute(
            "WITH RECURSIVE up (n) AS (SELECT done FROM streams WHERE id = :s UNION ALL SELECT up.n + 1 FROM up "
            "JOIN receipts AS r ON r.stream = :s AND r.n = up.n + 1) "
            "UPDATE streams SET done = (SELECT max(n) FROM up) WHERE id = :s",
            {"s": record.stream.id},
        )

    # Looking in

    def counts(self) -> Counts:
        with self._guard():
            states = dict(self._db.execute("SELECT state, count(*) FROM records GROUP BY state").fetchall())
            streams, done = self._db.execute(
                "SELECT count(*), coalesce(sum(done = given), 0) FROM streams"
            ).fetchone()
            receipts = self._db.execute(
                "SELECT (SELECT count(*) FROM receipts) + (SELECT count(*) FROM unlinked)"
            ).fetchone()[0]
        return Counts(
            streams,
            states.get("waiting", 0),
            states.get("handed in", 0),
            states.get("refused", 0),
            receipts,
            done,
        )

    def problems(self) -> list[tuple[str, int]]:
        """Reasons of refusals with their numbers."""
        with self._guard():
            return self._db.execute(
                "SELECT problem, count(*) FROM records WHERE state = 'refused' GROUP BY problem ORDER BY 2 DESC"
            ).fetchall()

    def streams(self) -> Iterator[Stream]:
        with self._guard():
            rows = self._db.execute(f"SELECT {_STREAM} FROM streams ORDER BY id").fetchall()
        return (Stream(*row) for row in rows)

    def receipts(self, limit: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Index in the log and receipt file of the newest `limit` records that have one, newest first."""
        with self._guard():
            yield from self._db.execute(
                "SELECT position, receipt FROM receipts UNION ALL SELECT position, receipt FROM unlinked "
                "ORDER BY position DESC LIMIT ?",
                (-1 if limit is None else limit,),
            )
