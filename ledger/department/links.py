"""How a record is found again from the event that it was made of: the outbox's table `links`.

A record with a receipt is known by its place in the log, and an event by what stands in another log.  Between the two
stand hashes: of the event's identity, and of the claims that other logs hold as well.

    identity            the event in the file that was imported, or in the request that brought it
    event.request_id    the message or request that it belonged to
    event.trace_id      the trace that it belonged to

They are written with the record, follow it when it gets another number, and go when its year is erased.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from ledger.department.access import Access
from ledger.department.outbox import Outbox

IDENTITY: Final = "identity"
REQUEST_ID: Final = "event.request_id"
TRACE_ID: Final = "event.trace_id"

KINDS: Final = {IDENTITY: 0, REQUEST_ID: 1, TRACE_ID: 2}
"""What a record can be found by, with its number in the table."""

CLAIMS: Final = (REQUEST_ID, TRACE_ID)

Link = tuple[bytes, int, int, int]
"""Key (32 bytes), kind, stream, n."""

_TRACE: Final = re.compile(r"[0-9a-f]{32}")


def claim_key(claim: str, text: str) -> bytes | None:
    """32 bytes for what one of CLAIMS says; None for no trace id, or no text at all.

    A trace id has 32 hex digits (W3C Trace Context), which a UUID has too: hyphens and capitals do not count.
    """
    text = text.strip()
    if claim == TRACE_ID:
        text = text.replace("-", "").lower()
        if not _TRACE.fullmatch(text):
            return None
    if not text:
        return None
    return sha256(f"glassbook link {claim}\0".encode() + text.encode("utf-8", "replace")).digest()


def access_key(claim: str, access: Access) -> bytes | None:
    """The key by one of CLAIMS of an access; None when it does not have the claim."""
    event = access.claims.get("event")
    text = event.get(claim.partition(".")[2]) if isinstance(event, dict) else None
    return claim_key(claim, text) if isinstance(text, str) else None


def links_of(identity: bytes, access: Access, stream: int, n: int) -> list[Link]:
    """All by which the record of an access is found."""
    links = [(identity, KINDS[IDENTITY], stream, n)] if identity else []
    for claim in CLAIMS:
        key = access_key(claim, access)
        if key is not None:
            links.append((key, KINDS[claim], stream, n))
    return links


def add_links(outbox: Outbox, links: Iterable[Link]) -> None:
    """Inside the transaction that gives the records their numbers."""
    with outbox.reading() as db:
        db.executemany("INSERT OR IGNORE INTO links (key, kind, stream, n) VALUES (?, ?, ?, ?)", links)
