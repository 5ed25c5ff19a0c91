"""Reading request bodies within limits: size, time, and how much memory all of them take together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from ledger.service.body import MAX_BYTES
from ledger.service.problems import Refusal, RequestRefused, busy

READ_S = 60.0
IN_FLIGHT_BYTES = 8 * MAX_BYTES

JSON_TYPES = ("application/json",)
LINES_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")


class Intake:
    """Hands out bodies, and refuses new ones (503) while those being read or worked on take too much memory."""

    def __init__(self) -> None:
        self._in_flight = 0

    @contextlib.asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, counted against the limit until the block ends.

        Raises RequestRefused: too-large, busy, bad-request (it comes too slowly), unsupported-media-type.
        """
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise RequestRefused(
                Refusal("unsupported-media-type", "send the body uncompressed: no Content-Encoding is taken")
            )
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > MAX_BYTES:
            raise _too_large()
        taken = 0
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(READ_S):
                async for part in request.stream():
                    taken += len(part)
                    self._in_flight += len(part)
                    if taken > MAX_BYTES:
                        raise _too_large()
                    if self._in_flight > IN_FLIGHT_BYTES:
                        raise busy("too many large requests at once")
                    parts.append(part)
            body = b"".join(parts)
            parts.clear()
            yield body
        except ClientDisconnect:
            raise RequestRefused(Refusal("bad-request", "the body ended before its end")) from None
        except TimeoutError:
            raise RequestRefused(
                Refusal("bad-request", f"the body did not come within {READ_S:.0f} s")
            ) from None
        finally:
            self._in_flight -= taken


def _too_large() -> RequestRefused:
    return RequestRefused(Refusal("too-large", f"send at most {MAX_BYTES} bytes in one request"))


def is_lines(request: Request) -> bool:
    """Whether the body is NDJSON (True) or JSON (False).  Raises RequestRefused when it says to be neither."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in LINES_TYPES:
        return True
    if kind in JSON_TYPES:
        return False
    wanted = f"{JSON_TYPES[0]} or {LINES_TYPES[0]}"
    raise RequestRefused(Refusal("unsupported-media-type", f"send it with Content-Type {wanted}"))
