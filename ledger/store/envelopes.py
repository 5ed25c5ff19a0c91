"""Encrypted details (formats §4): kept apart from the log, given to whoever presents the fetch token."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.store.engine import Connection, run, run_many
from ledger.store.schema import short_key

CHUNK = 500


def deposit_envelopes(db: Connection, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
    """Keep envelopes: (number in the inbox, H(fetch_token), body)."""
    run_many(
        db,
        "INSERT INTO envelopes (number, fetch_key, fetch, body) VALUES (?, ?, ?, ?)",
        [(number, short_key(fetch), fetch, body) for number, fetch, body in rows],
    )


def find_envelopes(db: Connection, fetches: Sequence[bytes]) -> list[bytes | None]:
    """For each H(fetch_token), 32 bytes, the envelope deposited under it, the first if there are several."""
    found: dict[bytes, bytes] = {}
    for start in range(0, len(fetches), CHUNK):
        part = fetches[start : start + CHUNK]
        marks = ",".join("?" * len(part))
        rows = run(
            db,
            f"SELECT fetch, body FROM envelopes WHERE fetch_key IN ({marks}) ORDER BY number",
            [short_key(fetch) for fetch in part],
        )
        for fetch, body in rows:
            found.setdefault(bytes(fetch), bytes(body))
    return [found.get(fetch) for fetch in fetches]
