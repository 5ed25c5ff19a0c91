"""What makes an event the same event: its content, and how many alike stood before it.

A file read again gives the same identities, so an import that was cut short can be run again; two accesses
that a log writes down alike are still two.
"""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
from typing import Any


class Identities:
    """The identities of the events of one file, in order.  Close it, or use it in a `with`.

    How often each content was met is kept in a private temporary database of SQLite, so that memory stays small
    however many events there are; it holds hashes only, and is gone when it is closed.
    """

    def __init__(self) -> None:
        self._seen = sqlite3.connect("", isolation_level=None)
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("PRAGMA synchronous = OFF")
        self._seen.execute("PRAGMA cache_size = -8192")
        self._seen.execute("CREATE TABLE seen (content BLOB PRIMARY KEY, count INTEGER) WITHOUT ROWID")

    def close(self) -> None:
        self._seen.close()

    def __enter__(self) -> Identities:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def of(self, event: Any) -> bytes:
        """32 bytes for the next event; `event` is its content as JSON has it, the order of members does not count.

        Raises OSError when the temporary database cannot grow.
        """
        content = hashlib.sha256(json.dumps(event, sort_keys=True, default=str).encode("ascii")).digest()
        try:
            (number,) = self._seen.execute(
                "INSERT INTO seen VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count",
                (content,),
            ).fetchone()
        except sqlite3.Error:
            raise OSError(
                errno.ENOSPC, "no room for a temporary file; set TMPDIR to a folder with more"
            ) from None
        return hashlib.sha256(content + int(number).to_bytes(8, "big")).digest()
