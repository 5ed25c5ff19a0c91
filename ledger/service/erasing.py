"""`POST /v1/erasures`: a source has envelopes of its own records deleted.

The body is one compact JWS (RFC 7515 §9.2.1, `application/jose`) by the source's key in force: ledger/core/erasure.py.
Nothing is taken on another's word, and nothing but envelopes is deleted.  The same request may come again, by
whomever: what is gone stays gone, and the answer says so.  After an hour it is refused, and at once when it is signed
by a key that is no longer in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from ledger.core.erasure import Erasure, check_erasure_time, claimed_source, parse_erasure
from ledger.core.errors import BadSignature, GlassbookError, Malformed
from ledger.core.registry import Register
from ledger.service.problems import Refusal, RequestRefused
from ledger.service.publicentries import PublicEntries
from ledger.store import Store
from ledger.store.envelopes import Erased, erase_envelopes, missing_entries

MAX_BYTES: Final = 1 << 20
"""Bytes of a body; one of 10,000 leaf hashes has 630,000."""

MEDIA_TYPE: Final = "application/jose"


def check_media_type(request: Request) -> None:
    """Raises RequestRefused for a body that does not say to be a JWS."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MEDIA_TYPE:
        raise RequestRefused(Refusal("unsupported-media-type", f"send it with Content-Type {MEDIA_TYPE}"))


def check_erasure(body: bytes, register: Register, now: int) -> Erasure:
    """The erasure in a body, if its source may ask for it at `now` (Unix seconds).  Raises RequestRefused."""
    if len(body) > MAX_BYTES:
        raise RequestRefused(Refusal("too-large", f"an erasure has at most {MAX_BYTES} bytes"))
    try:
        erasure = parse_erasure(body, register.origin, _key(register, claimed_source(body)))
        check_erasure_time(erasure, now)
    except Malformed as error:
        raise RequestRefused(Refusal("malformed-body", str(error))) from None
    except BadSignature as error:
        raise RequestRefused(Refusal("bad-signature", str(error))) from None
    except GlassbookError as error:
        raise RequestRefused(Refusal("rule-broken", str(error), error.evidence.get("rule"))) from None
    return erasure


def _key(register: Register, source: int) -> bytes:
    """The key that the source must have signed with.

    A retired source goes on erasing.  A revoked one needs a key that nobody had before: whoever has the
    old one could otherwise delete the details of everything it ever recorded.
    """
    versions = register.sources.get(source)
    if not versions:
        raise RequestRefused(Refusal("source-unknown", "no source of this number is registered"))
    newest = versions[-1]
    if newest.status == "revoked" and any(
        version.key == newest.key for version in versions if version.status != "revoked"
    ):
        what = "its key may be in other hands; have the registrar register a new key for it, still revoked"
        raise RequestRefused(Refusal("source-revoked", what))
    return newest.key


async def left_entries(store: Store, entries: PublicEntries, erasure: Erasure) -> dict[int, bytes]:
    """By number, entries that the erasure may mean and that have left the database.

    Raises StoreBusy, and RequestRefused (busy) when the publisher does not give them.
    """

    def look() -> dict[int, int]:
        with store.read() as db:
            return missing_entries(db, erasure.leaves)

    missing = await asyncio.to_thread(look)
    found = await entries.read(list(missing.values()))
    return {number: found[index] for number, index in missing.items() if index in found}


def erase(store: Store, erasure: Erasure, left: Mapping[int, bytes]) -> list[Erased]:
    """What became of each leaf, in order, durable when it returns; `left` as `left_entries` gave it.

    Raises StoreBusy: then nothing was deleted, or (OutcomeUnknown) all of it.  The same request again is right after
    both: what is gone is answered as absent.
    """
    return store.change(lambda db: erase_envelopes(db, erasure.source, erasure.leaves, left))
