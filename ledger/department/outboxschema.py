"""The outbox's tables, and how a file of an earlier release gets those it lacks.

    1    streams, records, receipts
    2    promises
    3    held: records that may still be told how the access went
    4    details: what the operator still keeps of each record with a receipt; receipts of nobody
    5    coverages, and the records in the log that came there by an outbox that was lost
    6    links: by what a record is found again (links.py)

The version stands in SQLite's `user_version`.  Whatever is missing is added in one transaction.
"""

from __future__ import annotations

import re
import sqlite3

VERSION = 6

NOTED = "every receipt is noted"
"""What `meta` holds once every receipt has its row in `details`: from the start, unless an earlier release made it."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE events (identity BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    subject TEXT NOT NULL,
    given INTEGER NOT NULL,              -- the last n given
    done INTEGER NOT NULL,               -- 1 … done all have receipts
    UNIQUE (epoch, seal, subject)
);
CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams (id),
    n INTEGER NOT NULL,
    leaf_hash BLOB NOT NULL UNIQUE,
    entry BLOB NOT NULL,
    envelope BLOB NOT NULL,
    deposited BLOB NOT NULL,             -- H(fetch token)
    place INTEGER NOT NULL,              -- random: the order in which records are handed in
    state TEXT NOT NULL CHECK (state IN ('waiting', 'handed in', 'refused')),
    problem TEXT NOT NULL DEFAULT '',
    UNIQUE (stream, n)
);
CREATE INDEX records_by_place ON records (state, place);
CREATE TABLE receipts (
    leaf_hash BLOB PRIMARY KEY,
    stream INTEGER NOT NULL REFERENCES streams (id),
    n INTEGER NOT NULL,
    position INTEGER NOT NULL,           -- the entry's index in the log
    receipt BLOB NOT NULL,
    UNIQUE (stream, n)
) WITHOUT ROWID;
"""

_PROMISES = """
CREATE TABLE promises (
    leaf_hash BLOB PRIMARY KEY,
    entry BLOB NOT NULL,                 -- with it, the index shows whether it is in the log
    accepted INTEGER NOT NULL,           -- Unix seconds, as promised
    promise BLOB NOT NULL                -- a *.promise file
) WITHOUT ROWID;
CREATE INDEX promises_by_time ON promises (accepted);
"""

_HELD = """
CREATE TABLE held (
    leaf_hash BLOB PRIMARY KEY,
    until INTEGER NOT NULL               -- Unix seconds: from then on the record is handed in as it is
) WITHOUT ROWID;
"""

_DETAILS = """
CREATE TABLE details (
    leaf_hash BLOB PRIMARY KEY,
    position INTEGER NOT NULL,           -- the entry's index in the log
    day INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    activity INTEGER NOT NULL,           -- 0 when sealed
    why TEXT,                            -- NULL: kept; otherwise why the envelope is erased
    decided INTEGER,                     -- Unix seconds
    erased INTEGER                       -- Unix seconds of the operator's answer; NULL: not yet
) WITHOUT ROWID;
CREATE INDEX details_by_day ON details (day) WHERE why IS NULL;
CREATE INDEX details_to_erase ON details (leaf_hash) WHERE why IS NOT NULL AND erased IS NULL;
CREATE UNIQUE INDEX details_by_position ON details (position);
CREATE TABLE unlinked (                  -- receipts of an epoch whose VRF key is destroyed
    leaf_hash BLOB PRIMARY KEY,
    position INTEGER NOT NULL,
    receipt BLOB NOT NULL
) WITHOUT ROWID;
"""

_COVERAGES = """
ALTER TABLE records ADD COLUMN tried INTEGER NOT NULL DEFAULT 1; -- 0: the ledger never saw it, or does not have it
CREATE INDEX records_by_day ON records (substr(entry, 9, 4));    -- the entry's day, u32
CREATE INDEX details_of_day ON details (day);
CREATE TABLE coverages (
    day INTEGER PRIMARY KEY,             -- since 1970-01-01
    entry BLOB NOT NULL,
    leaf_hash BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'handed in', 'refused', 'done')),
    problem TEXT NOT NULL DEFAULT '',
    changed INTEGER NOT NULL,            -- Unix seconds of the last change of state
    position INTEGER,                    -- the entry's index in the log, and its receipt, once it is done
    receipt BLOB
);
CREATE INDEX coverages_to_settle ON coverages (state) WHERE state <> 'done';
CREATE TABLE found (                     -- own records in the log for which this outbox has no receipt
    leaf_hash BLOB PRIMARY KEY,
    day INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX found_by_day ON found (day);
"""

_LINKS = """
CREATE TABLE links (
    key BLOB NOT NULL,                   -- a hash: of an event's identity, or of what a claim says
    stream INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    kind INTEGER NOT NULL,               -- which of them; behind the key, or SQLite 3.40 checks it wrongly
    PRIMARY KEY (key, stream, n)
) WITHOUT ROWID;
CREATE INDEX links_by_record ON links (stream, n);
"""

_STEPS = (_SCHEMA, _PROMISES, _HELD, _DETAILS, _COVERAGES, _LINKS)
"""What makes version 1 of nothing, version 2 of version 1, and so on."""


def bring_up_to_date(db: sqlite3.Connection) -> int:
    """Make the tables that a file lacks; returns the version it then has, another than VERSION for an unknown one.

    `db` is in autocommit mode.  Raises sqlite3.Error; then nothing was changed.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        version: int = db.execute("PRAGMA user_version").fetchone()[0]
        if 0 <= version < VERSION:
            for step in _STEPS[version:]:
                for statement in re.split(r"; *(?:--.*)?\n", step):
                    if statement.strip():
                        db.execute(statement)
            if version == 0:
                db.execute("INSERT INTO meta VALUES (?, ?)", (NOTED, b"1"))
            db.execute(f"PRAGMA user_version={VERSION}")
            version = VERSION
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return version
