"""Reading request bodies within limits: how much is let in, size, pace, and how much memory all of them take together.

Whether a request is let in is decided before its body is read (ledger/admission.py). The body of one that is not is
read past by the server and not kept, so that its sender gets to read the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.requests import ClientDisconnect, Request

from ledger.admission import SHARE, Admission, Full, Limits, Ticket
from ledger.service.body import MAX_BYTES
from ledger.service.problems import Refusal, RequestRefused, busy

READ_S: Final = 60.0
"""For a whole body."""

PACE_S: Final = 5.0
PACE_BYTES: Final = 1 << 17
"""In every PACE_S so much has to come, or the rest."""

REQUEST_WEIGHT: Final = 32 << 10
"""Bytes that cost as much as a request does beside its body."""

ENTRY_WEIGHT: Final = 3 << 10
"""Bytes of a body that a record takes; other entries are shorter and cost the same."""

UNKNOWN_BYTES: Final = 1 << 20
"""What a body is taken for that does not say its length."""

SMALL: Final = REQUEST_WEIGHT + (64 << 10)
FIRST_RATE: Final = 30 << 20

JSON_TYPES = ("application/json",)
LINES_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


class Taken:
    """A request that was let in and whose turn it is."""

    def __init__(self, body: bytes, ticket: Ticket) -> None:
        self._body = body
        self._ticket = ticket

    def body(self) -> bytes:
        """Its body, once: what was made of it is then all that is kept."""
        body, self._body = self._body, b""
        return body

    def weigh(self, entries: Sequence[object]) -> None:
        """It has these entries; one that cannot be read costs a third of one whose signature is checked."""
        unread = sum(isinstance(entry, Refusal) for entry in entries)
        self._ticket.weigh(REQUEST_WEIGHT + (len(entries) - unread + unread // 3) * ENTRY_WEIGHT)


class Intake:
    """Lets requests in one by one, and refuses those that could not be answered soon."""

    def __init__(self, in_flight_bytes: int, answer_s: float) -> None:
        self.admission = Admission(Limits(FIRST_RATE, in_flight_bytes, SMALL, answer_s))
        self._most_bytes = in_flight_bytes
        self._bytes = 0

    @contextlib.asynccontextmanager
    async def take(self, request: Request, most: int = MAX_BYTES) -> AsyncIterator[Taken]:
        """Let a request in, read its body of at most `most` bytes, and wait for its turn; it is over with the block.

        Raises RequestRefused: too-large, busy, bad-request (it comes too slowly), unsupported-media-type.
        """
        declared = _declared(request, most)
        client = request.client.host if request.client else ""
        try:
            ticket = self.admission.ask(REQUEST_WEIGHT + declared, client)
        except Full as full:
            raise _refused(full) from None
        measured = False
        parts: list[bytes] = []
        taken = 0
        try:
            await self._read(request, ticket, most, parts)
            taken = sum(map(len, parts))
            async with ticket.turn():
                whole = Taken(b"".join(parts), ticket)
                parts.clear()
                yield whole
            measured = True
        finally:
            self._bytes -= taken or sum(map(len, parts))
            ticket.done(measured)

    async def _read(self, request: Request, ticket: Ticket, most: int, parts: list[bytes]) -> None:
        """The body, part by part, into `parts`."""
        now = asyncio.get_running_loop().time
        end = now() + READ_S
        taken = since = 0
        try:
            async with asyncio.timeout(PACE_S) as pace:
                async for part in request.stream():
                    parts.append(part)
                    taken += len(part)
                    self._bytes += len(part)
                    ticket.came(len(part))
                    if taken > most:
                        raise _too_large(most)
                    if self._bytes > self._most_bytes:
                        raise busy("too many large requests at once", self.admission.seconds(), "memory")
                    since += len(part)
                    if since >= PACE_BYTES:
                        since = 0
                        pace.reschedule(min(now() + PACE_S, end))
        except ClientDisconnect:
            raise RequestRefused(Refusal("bad-request", "the body ended before its end")) from None
        except TimeoutError:
            wanted = f"{PACE_BYTES} bytes in {PACE_S:.0f} s, and all of it in {READ_S:.0f} s"
            raise RequestRefused(Refusal("bad-request", f"send the body faster: at least {wanted}")) from None


def _declared(request: Request, most: int) -> int:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestRefused(
            Refusal("unsupported-media-type", "send the body uncompressed: no Content-Encoding is taken")
        )
    declared = request.headers.get("content-length", "")
    if not (declared.isascii() and declared.isdigit()):
        return UNKNOWN_BYTES
    if int(declared[:20]) > most:
        raise _too_large(most)
    return int(declared)


def _refused(full: Full) -> RequestRefused:
    if full.reason == SHARE:
        what = "others wait, and your address has its share of what this ledger does at once"
        return busy(what, full.retry_after_s, SHARE, 429)
    return busy("more is handed in than can be accepted at once", full.retry_after_s, full.reason)


def _too_large(most: int) -> RequestRefused:
    return RequestRefused(Refusal("too-large", f"send at most {most} bytes in one request"))


def is_lines(request: Request) -> bool:
    """Whether the body is NDJSON (True) or JSON (False).  Raises RequestRefused when it says to be neither."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in LINES_TYPES:
        return True
    if kind in JSON_TYPES:
        return False
    wanted = f"{JSON_TYPES[0]} or {LINES_TYPES[0]}"
    raise RequestRefused(Refusal("unsupported-media-type", f"send it with Content-Type {wanted}"))
