"""The outbox as a file: how it is opened, what it says when it cannot be used, its transactions.

One SQLite file.  What is committed survives a power cut (write-ahead log, `synchronous=FULL`), and of a transaction
all is kept or nothing.  The file names persons: it has mode 0600 and belongs to the department alone.  What stands in
its tables is for outbox.py and for the files of the other tables.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ledger.department.outboxschema import VERSION, bring_up_to_date
from ledger.department.settings import CannotGoOn


class OutboxFile:
    """The file, opened.  Raises CannotGoOn for what the disk or the file does not allow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        new = not path.exists()
        if new:
            # Made with its mode before SQLite writes the first byte, whatever the umask says.
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        with self._guard():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
            _use_wal(self._db)
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            # What is deleted is overwritten: an envelope once it is logged, a person when her epoch is erased.
            self._db.execute("PRAGMA secure_delete=ON")
            self._make()

    def _make(self) -> None:
        version = bring_up_to_date(self._db)
        if version != VERSION:
            raise CannotGoOn(
                str(self.path), f"was written by another release (format {version}); use that one"
            )

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorname", "")
            if code.startswith("SQLITE_FULL") or "full" in str(error):
                what = "the disk is full; this step was not kept, nothing before it is lost: make room and run it again"
            elif code.startswith("SQLITE_BUSY"):
                what = "another program holds the outbox; let it finish and run this again"
            elif code in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
                what = (
                    "is damaged, or no outbox: keep it aside, put back a backup or do without, "
                    "then run glassbook department recover, and import again what has no receipt"
                )
            else:
                what = f"{error}; nothing of this step was kept"
            raise CannotGoOn(str(self.path), what) from None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements that change nothing."""
        with self._guard():
            yield self._db

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is kept, or, when anything goes wrong, nothing."""
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # What is remembered about the outbox itself

    def get(self, name: str) -> bytes | None:
        with self._guard():
            row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, name: str, value: bytes | None) -> None:
        with self._guard():
            if value is None:
                self._db.execute("DELETE FROM meta WHERE name = ?", (name,))
            else:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def _use_wal(db: sqlite3.Connection) -> None:
    """Several processes may make the file at the same moment, and for this SQLite does not wait by itself."""
    for _ in range(100):
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise
            time.sleep(0.05)
    db.execute("PRAGMA journal_mode=WAL")
