"""The one file of a witness: its keys, the logs it serves, what it cosigned last of each, and its alarms.

    witness   name, and whether it is an auditor: both for ever, since its keys stand for what it says with them
    keys      the seeds of its Ed25519 key, its ML-DSA-44 key or both
    logs      vkey by vkey; the name in each is the log's origin
    places    where an auditor reads each log
    seen      of each log the last checkpoint cosigned
    asked     of each log the checkpoint that an auditor's unfinished work leads to
    wanted    of each log the newest checkpoint that an auditor could not cosign at once
    alarms    what its operator has to look at
    audit_…   how far an auditor is (auditfile.py)

SQLite in WAL mode, `synchronous = FULL`, file mode 0600: what a transaction wrote survives a power cut once it has
ended, and before that nothing is signed. An old copy of the file does not know what was cosigned since, so a file is
moved, never copied: two witnesses with one key would cosign two histories.
"""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.core.errors import Malformed
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.merkle import EMPTY_ROOT
from ledger.core.note import (
    COSIGNATURE,
    ED25519,
    MLDSA44,
    CosignatureSigner,
    MLDSASigner,
    VerifierKey,
    parse_vkey,
)
from ledger.core.texts import check_origin
from ledger.files import FileRefused

Signer = CosignatureSigner | MLDSASigner

BUSY_SECONDS = 30
"""How long a transaction waits for another one's end."""

_VERSION = 3
_SCHEMA = """
CREATE TABLE witness (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, auditor INTEGER NOT NULL);
CREATE TABLE keys (kind INTEGER PRIMARY KEY, seed BLOB NOT NULL);
CREATE TABLE logs (vkey TEXT PRIMARY KEY, origin TEXT NOT NULL);
CREATE TABLE places (origin TEXT, position INTEGER, place TEXT NOT NULL, PRIMARY KEY (origin, position));
CREATE TABLE seen (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, cosigned INTEGER NOT NULL,
 note BLOB NOT NULL);
CREATE TABLE asked (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, note BLOB NOT NULL, at INTEGER NOT NULL);
CREATE TABLE wanted (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, note BLOB NOT NULL);
CREATE TABLE alarms (origin TEXT, kind TEXT, first INTEGER NOT NULL, last INTEGER NOT NULL, text TEXT NOT NULL,
 evidence TEXT, ended INTEGER, PRIMARY KEY (origin, kind));
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The last checkpoint cosigned for one log; size 0 and the empty root when there is none.

    `cosigned` is the newest timestamp (Unix seconds) put on it, `note` the checkpoint with the log's own signatures.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    cosigned: int = 0
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Asked:
    """The checkpoint with the log's signatures that an auditor was asked for at `at` and could not yet cosign."""

    size: int
    note: bytes
    at: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """What an operator has to look at: when it came up first and last (Unix seconds), and when it ended, if it has."""

    origin: str
    kind: str
    first: int
    last: int
    text: str
    evidence: str | None
    ended: int | None


class WitnessFile:
    """An open file. Safe for several threads, and its transactions for several processes."""

    def __init__(self, path: Path) -> None:
        """Open an existing file.

        Raises FileRefused when there is none, when others may read it, or when it is something else.
        """
        try:
            found = path.stat()
        except FileNotFoundError:
            raise FileRefused(
                f"{path}: no such file; make it with: glassbook-verify witness --init {path} --name NAME"
            ) from None
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise FileRefused(
                f"{path}: mode {mode:04o} lets others at the witness's keys; run: chmod 600 {path}"
            )
        self.path = path
        self._inode = (found.st_dev, found.st_ino)
        self._lock = threading.RLock()
        try:
            self._db = connect(path)
        except sqlite3.DatabaseError:
            raise _no_witness(path) from None
        try:
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            row = self._db.execute("SELECT name, auditor FROM witness").fetchone()
            seeds = self._db.execute("SELECT kind, seed FROM keys ORDER BY kind").fetchall()
            if version != _VERSION or row is None or not seeds:
                raise sqlite3.DatabaseError
        except sqlite3.DatabaseError:
            self._db.close()
            raise _no_witness(path) from None
        self.name: str = row[0]
        self.auditor = bool(row[1])
        self.signers: list[Signer] = [_signer(self.name, kind, seed) for kind, seed in seeds]

    @classmethod
    def create(
        cls, path: Path, name: str, kinds: Sequence[int] = (COSIGNATURE,), auditor: bool = False
    ) -> "WitnessFile":
        """Make the file, and with it a new key of each of `kinds` (note types 4 and 6).

        `name` is the cosigner name, a URL without scheme. Raises FileRefused when something is there already,
        Malformed when the name cannot be a key's.
        """
        made = [(kind, os.urandom(32)) for kind in kinds]
        for kind, seed in made:
            parse_vkey(_signer(name, kind, seed).vkey.text)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise FileRefused(
                f"{path}: exists already; a witness never gets a second key under one name"
            ) from None
        with closing(connect(path)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(f"BEGIN IMMEDIATE; PRAGMA user_version = {_VERSION}; {_SCHEMA}")
            db.execute("INSERT INTO witness VALUES (1, ?, ?)", (name, auditor))
            db.executemany("INSERT INTO keys VALUES (?, ?)", made)
            db.execute("COMMIT")
        return cls(path)

    @property
    def vkeys(self) -> list[VerifierKey]:
        """What readers know this witness by, Ed25519 first."""
        return [signer.vkey for signer in self.signers]

    def open_again(self) -> sqlite3.Connection:
        """A second connection to the same file, for work that must not hold up the first."""
        return connect(self.path)

    # -- logs ------------------------------------------------------------------------------------------

    def add_log(self, vkey: VerifierKey) -> None:
        """Serve the log that has this key; a log may have several, all named as its origin.

        Raises Malformed for a key that signs no log, or is of a log named as this witness is (docs/formats.md §6:
        the log is not its own auditor).
        """
        where = "log vkey"
        if vkey.kind not in (ED25519, MLDSA44):
            raise Malformed(where, f"key type {vkey.kind} signs no log; a log has keys of type 1 and 6")
        check_origin(vkey.name, where)
        if vkey.name == self.name:
            raise Malformed(where, "the log is named as this witness is; a log is not its own witness")
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO logs VALUES (?, ?)", (vkey.text, vkey.name))

    def log_keys(self, origin: str) -> list[VerifierKey]:
        """The keys trusted for this origin; empty when the log is unknown."""
        rows = self._rows("SELECT vkey FROM logs WHERE origin = ? ORDER BY vkey", (origin,))
        return [parse_vkey(row[0]) for row in rows]

    def origins(self) -> list[str]:
        """The logs this witness serves."""
        return [row[0] for row in self._rows("SELECT DISTINCT origin FROM logs ORDER BY origin")]

    def set_places(self, origin: str, places: Sequence[str]) -> None:
        """Where an auditor reads this log from now on: URLs or folders, tried in this order."""
        with self._transaction():
            self._db.execute("DELETE FROM places WHERE origin = ?", (origin,))
            rows = [(origin, position, place) for position, place in enumerate(places)]
            self._db.executemany("INSERT INTO places VALUES (?, ?, ?)", rows)

    def places(self, origin: str) -> list[str]:
        """Where this log is read."""
        rows = self._rows("SELECT place FROM places WHERE origin = ? ORDER BY position", (origin,))
        return [row[0] for row in rows]

    # -- what was cosigned -----------------------------------------------------------------------------

    def seen(self, origin: str) -> Seen:
        """The last checkpoint cosigned for this log."""
        rows = self._rows("SELECT size, root, cosigned, note FROM seen WHERE origin = ?", (origin,))
        return Seen(*rows[0]) if rows else Seen()

    @contextmanager
    def replacing(self, origin: str) -> Iterator[tuple[Seen, Callable[[Seen], None]]]:
        """What was seen last, and how to replace it, in one transaction that shuts every other writer out.

        Durable when the block ends; nothing is changed when it raises. Raises sqlite3.Error when it cannot be
        written, FileRefused when the file is no longer where it was.
        """
        with self._transaction():
            yield self.seen(origin), lambda new: self._put(origin, new)

    def _put(self, origin: str, new: Seen) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)",
            (origin, new.size, new.root, new.cosigned, new.note),
        )

    def asked(self, origin: str) -> Asked | None:
        """The checkpoint that unfinished work leads to."""
        rows = self._rows("SELECT size, note, at FROM asked WHERE origin = ?", (origin,))
        return Asked(*rows[0]) if rows else None

    def set_asked(self, origin: str, asked: Asked) -> None:
        """Remember the checkpoint that unfinished work leads to, instead of an earlier one."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO asked VALUES (?, ?, ?, ?)", (origin, asked.size, asked.note, asked.at)
            )

    def wanted(self, origin: str) -> bytes | None:
        """The newest checkpoint, with the log's signatures, for which an auditor told this log to come again."""
        rows = self._rows("SELECT note FROM wanted WHERE origin = ?", (origin,))
        return bytes(rows[0][0]) if rows else None

    def set_wanted(self, origin: str, size: int, note: bytes) -> None:
        """Remember it, unless a larger one is remembered: after a restart the audit goes on to there by itself."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO wanted VALUES (?, ?, ?) ON CONFLICT (origin) DO UPDATE"
                " SET size = excluded.size, note = excluded.note WHERE excluded.size > size",
                (origin, size, note),
            )

    # -- alarms ----------------------------------------------------------------------------------------

    def alarms(self, origin: str | None = None) -> list[Alarm]:
        """All alarms, or those of one log, oldest first."""
        rows = self._rows(
            "SELECT * FROM alarms WHERE ? IN (origin, '') ORDER BY first, kind", (origin or "",)
        )
        return [Alarm(*row) for row in rows]

    def put_alarm(self, origin: str, kind: str, text: str, now: int, evidence: str | None = None) -> None:
        """Raise an alarm, or say that it still stands; one of a kind for each log."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO alarms VALUES (?, ?, ?, ?, ?, ?, NULL) ON CONFLICT (origin, kind) DO UPDATE SET"
                " first = iif(ended IS NULL, first, excluded.first), last = excluded.last, text = excluded.text,"
                " evidence = ifnull(excluded.evidence, evidence), ended = NULL",
                (origin, kind, now, now, text, evidence),
            )

    def end_alarms(self, origin: str, kinds: Sequence[str], now: int) -> None:
        """These alarms of a log are over; they stay in the list until they come again."""
        marks = ", ".join("?" * len(kinds))
        with self._transaction():
            self._db.execute(
                f"UPDATE alarms SET ended = ? WHERE origin = ? AND ended IS NULL AND kind IN ({marks})",
                (now, origin, *kinds),
            )

    # -- below -----------------------------------------------------------------------------------------

    def check_in_place(self) -> None:
        """Raise FileRefused unless the file open here is the one at its path.

        Moved or replaced, it would take what is written now along with it, and a restart would not know of it.
        """
        try:
            found = os.stat(self.path)
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._inode:
            raise FileRefused(
                f"{self.path}: was moved or replaced while the witness ran; stop it and put the file back"
            )

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self.check_in_place()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self.check_in_place()

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._db.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a witness's file under which a COMMIT that returns has reached the disk."""
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def _no_witness(path: Path) -> FileRefused:
    return FileRefused(f"{path}: is not the file of a witness; look at the path given")


def _signer(name: str, kind: int, seed: bytes) -> Signer:
    if kind == COSIGNATURE:
        return CosignatureSigner(name, Ed25519PrivateKey.from_seed(seed))
    return MLDSASigner(name, MLDSA44PrivateKey.from_seed32(seed))
