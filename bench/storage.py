"""The bytes that a log takes up: SQLite's pages by table, and the public files."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.operator import Operator


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes: of the database without its envelopes, but with the keys that lead to them; of the envelopes; of the
    public files. `free`: of the database, in pages that hold nothing and are used next."""

    database: int
    free: int
    envelopes: int
    public: int


def stored(operator: Operator) -> Stored:
    """Counted in whole pages (`dbstat`) with the write-ahead log back in the file; free pages count as its own."""
    whole = free = envelopes = 0
    for path in operator.home.glob("*.sqlite"):
        with _reading(path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            (page,) = db.execute("PRAGMA page_size").fetchone()
            whole += pages * page
            free += page * db.execute("PRAGMA freelist_count").fetchone()[0]
            (found,) = db.execute(
                "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat JOIN sqlite_schema USING (name)"
                " WHERE tbl_name = 'envelopes'"
            ).fetchone()
            envelopes += found
    public = sum(file.stat().st_size for file in (operator.home / "public").rglob("*") if file.is_file())
    return Stored(whole - envelopes, free, envelopes, public)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path, timeout=60)
    try:
        yield db
    finally:
        db.close()
