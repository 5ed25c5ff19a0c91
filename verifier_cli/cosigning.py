"""A plain witness: it cosigns a log's checkpoint when that only adds to what it saw of the log before.

A log sends (C2SP tlog-witness, `POST <prefix>/add-checkpoint`)

    old 717000                                       the size the witness cosigned last
    q0eXGFY9cEk5CFr0iRFrhcOUTG3wRAwBybk2RrPs6tM=     the consistency proof from there, 0 to 63 lines
    …
                                                     an empty line, then the checkpoint
    log.example.gov/access/2026
    717313
    cZCLTFeaAuFqyOUuvHQ6qeblrmTuCBczMPpZqamhlrc=

    — log.example.gov/access/2026 ew/WM9weRlbEdKYt5OiO…

and gets back the witness's signature line, a cosignature/v1 (C2SP tlog-cosignature), or

    400 not in this form, or `old` above the checkpoint's size
    403 no good signature by the log
    404 a log this witness was not told of      413 too long      408 too slow
    409 `old` is not the size seen last, which is the body (text/x.tlog.size); or another root at that size
    422 the proof does not prove it             503 this witness's own clock went back, or its disk is full

Everything the witness knows is in one SQLite file of mode 0600: its key, the logs it serves, and of each
the last checkpoint it cosigned. Looking that up and replacing it is one transaction, durable before the
cosignature leaves. A plain witness reads no entries: it says that the log only grew, not that what is in it
is right.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.encoding import b64decode, parse_decimal
from ledger.core.errors import GlassbookError, Malformed, Refuted
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import EMPTY_ROOT, check_consistency
from ledger.core.note import COSIGNATURE, CosignatureSigner, VerifierKey, open_note, parse_note, parse_vkey
from ledger.files import FileRefused

MAX_PROOF_LINES = 63
"""C2SP tlog-witness: a client sends no more."""

MAX_BODY = (1 << 20) + 4096
"""Bytes of a request: the longest note (1 MiB) and the longest proof before it."""

SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"

_SCHEMA = """ CREATE TABLE witness (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, seed BLOB NOT
NULL); CREATE TABLE logs (vkey TEXT PRIMARY KEY, origin TEXT NOT NULL); CREATE TABLE seen (origin TEXT
PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, cosigned INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Submission:
    """A parsed add-checkpoint request; `note` is the checkpoint as sent, with its signatures."""

    old: int
    proof: list[bytes]
    note: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    body: str
    content_type: str = TEXT_TYPE


@dataclass(frozen=True, slots=True)
class Seen:
    """The last checkpoint cosigned for one log; size 0 and the empty root when there is none."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    cosigned: int = 0


def parse_submission(body: bytes) -> Submission:
    """Take an add-checkpoint request apart (C2SP tlog-witness).

    Raises Malformed, naming the line.
    """
    where = "add-checkpoint"
    head, gap, note = body.partition(b"\n\n")
    if not gap:
        raise Malformed(where, "no empty line between the proof and the checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed(where, "something other than ASCII before the checkpoint") from None
    if not lines[0].startswith("old "):
        raise Malformed(f"{where}, line 1", "is not `old`, one space and a size")
    old = parse_decimal(lines[0][4:], f"{where}, line 1")
    if len(lines) - 1 > MAX_PROOF_LINES:
        raise Malformed(where, f"{len(lines) - 1} proof lines; at most {MAX_PROOF_LINES} can be needed")
    proof = []
    for number, line in enumerate(lines[1:], 2):
        digest = b64decode(line, f"{where}, line {number}")
        if len(digest) != 32:
            raise Malformed(f"{where}, line {number}", f"a hash has 32 bytes, this has {len(digest)}")
        proof.append(digest)
    return Submission(old, proof, note)


class WitnessFile:
    """The witness's one SQLite file. Safe for several threads and several processes at once."""

    def __init__(self, path: Path) -> None:
        """Open an existing file.

        Raises FileRefused when there is none, when others may read it, or when it is something else.
        """
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            raise FileRefused(
                f"{path}: no such file; make it with: glassbook-verify witness --plain --init {path}"
            ) from None
        if mode & 0o077:
            raise FileRefused(
                f"{path}: mode {mode:04o} lets others at the witness's key; run: chmod 600 {path}"
            )
        self.path = path
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            row = self._db.execute("SELECT name, seed FROM witness").fetchone()
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        except sqlite3.DatabaseError:
            self._db.close()
            raise FileRefused(f"{path}: is not the file of a witness; look at the path given") from None
        self.signer = CosignatureSigner(row[0], Ed25519PrivateKey.from_seed(row[1]))

    @classmethod
    def create(cls, path: Path, name: str) -> WitnessFile:
        """Make the file and with it a new key. `name` is the cosigner name, a URL without scheme.

        Raises FileRefused when something is there already, Malformed when the name cannot be a key's.
        """
        key = Ed25519PrivateKey.generate()
        parse_vkey(VerifierKey(name, COSIGNATURE, key.public).text)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise FileRefused(
                f"{path}: exists already; a witness never gets a second key under one name"
            ) from None
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            db.execute("INSERT INTO witness VALUES (1, ?, ?)", (name, key.seed))
            db.execute("COMMIT")
        finally:
            db.close()
        return cls(path)

    def add_log(self, vkey: VerifierKey) -> None:
        """Serve the log that has this key; a log may have several, all named as its origin."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO logs VALUES (?, ?)", (vkey.text, vkey.name))

    def log_keys(self, origin: str) -> list[VerifierKey]:
        """The keys trusted for this origin; empty when the log is unknown."""
        with self._lock:
            rows = self._db.execute(
                "SELECT vkey FROM logs WHERE origin = ? ORDER BY vkey", (origin,)
            ).fetchall()
        return [parse_vkey(row[0]) for row in rows]

    def origins(self) -> list[str]:
        """The logs this witness serves."""
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT DISTINCT origin FROM logs ORDER BY origin")]

    def seen(self, origin: str) -> Seen:
        """The last checkpoint cosigned for this log."""
        row = self._db.execute("SELECT size, root, cosigned FROM seen WHERE origin = ?", (origin,)).fetchone()
        return Seen(*row) if row else Seen()

    @contextmanager
    def replacing(self, origin: str) -> Iterator[tuple[Seen, Callable[[Seen], None]]]:
        """What was seen last, and how to replace it, in one transaction that shuts every other writer out.

        Durable when the block ends; nothing is changed when it raises.
        """
        with self._transaction():
            yield self.seen(origin), lambda new: self._put(origin, new)

    def _put(self, origin: str, new: Seen) -> None:
        self._db.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size = excluded.size,"
            " root = excluded.root, cosigned = excluded.cosigned",
            (origin, new.size, new.root, new.cosigned),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        self._db.close()


def add_checkpoint(file: WitnessFile, body: bytes, now: int) -> Answer:
    """Answer one request. `now` is Unix seconds and becomes the cosignature's timestamp.

    Raises sqlite3.Error (a full disk, for one); then nothing was recorded and nothing is cosigned.
    """
    try:
        submission = parse_submission(body)
        checkpoint = parse_checkpoint(parse_note(submission.note).text)
    except Malformed as error:
        return Answer(400, f"{error}\n")
    keys = file.log_keys(checkpoint.origin)
    if not keys:
        return Answer(404, "this witness does not know the log; its operator adds it with --log-vkey\n")
    try:
        open_note(submission.note, keys)
    except Refuted as error:
        return Answer(403, f"{error}\n")
    if submission.old > checkpoint.size:
        return Answer(400, f"old size {submission.old} is above the checkpoint's {checkpoint.size}\n")
    with file.replacing(checkpoint.origin) as (seen, put):
        refusal = judge(submission, checkpoint, seen, now)
        if refusal:
            return refusal
        put(Seen(checkpoint.size, checkpoint.root, now))
    # Only here, after the commit, is there anything to cosign: a crash above leaves the log to ask again.
    line = file.signer.sign(checkpoint.text, now)
    return Answer(200, line.text)


def judge(submission: Submission, checkpoint: Checkpoint, seen: Seen, now: int) -> Answer | None:
    """Why this checkpoint cannot follow what was seen, or None when it can."""
    if submission.old != seen.size:
        return Answer(409, f"{seen.size}\n", SIZE_TYPE)
    if checkpoint.size == seen.size and checkpoint.root != seen.root:
        return Answer(409, f"another root than the one cosigned at size {seen.size}: the log has forked\n")
    if seen.size == 0 or checkpoint.size == seen.size:
        if submission.proof:
            return Answer(422, f"from {seen.size} to {checkpoint.size} the proof is empty\n")
    else:
        try:
            check_consistency(seen.size, checkpoint.size, seen.root, checkpoint.root, submission.proof)
        except GlassbookError as error:
            return Answer(422, f"{error}\n")
    if now < seen.cosigned:
        return Answer(
            503, "this witness's clock is before its last cosignature; its operator has to set it\n"
        )
    return None
