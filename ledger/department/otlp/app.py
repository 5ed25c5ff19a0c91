"""The receiver as an ASGI application: two paths, one method, and limits on everything.

A request is read (at most 16 MiB, within 30 s), taken apart and recorded in other threads, and answered once it is
durable.  Nothing of it is kept, said or logged but counts.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final

from ledger.core.errors import GlassbookError, Malformed
from ledger.department.access import Outcome
from ledger.department.importers.fields.fieldmap import FieldMapping
from ledger.department.otlp.answers import JSON, PROTOBUF, Answer, failure, success
from ledger.department.otlp.requests import LIMIT, SIGNALS, TooLarge, read_request, unpack
from ledger.department.recording import Crowded, Recording

AT_ONCE: Final = 16
"""Requests whose bodies are in memory; the next one is told to come later."""

READ_S: Final = 30.0
CROWDED_S: Final = 2
UNAVAILABLE_S: Final = 10

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Count = Callable[[list[Outcome], list[bool]], None]
Say = Callable[[str], None]


class _Gone(Exception):
    """The sender went away."""


class _Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class OtlpApp:
    """`token` is what senders must show, or None; `count` is told the fates of each request's events, and whether
    each was recorded before; `say` tells the operator what hinders recording."""

    def __init__(
        self, recording: Recording, mapping: FieldMapping, token: bytes | None, count: Count, say: Say
    ) -> None:
        self._recording, self._mapping, self._count, self._say = recording, mapping, count, say
        self._token = None if token is None else sha256(token).digest()
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="glassbook-otlp")
        self._inside = 0

    def close(self) -> None:
        self._readers.shutdown()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = _headers(scope)
        encoding = PROTOBUF if _media_type(headers) == PROTOBUF else JSON
        self._inside += 1
        try:
            answer = await self._answer(scope, headers, encoding, receive)
        except _Gone:
            return
        except _Refused as refused:
            answer = refused.answer
        finally:
            self._inside -= 1
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (b"content-type", answer.content_type.encode()),
                    (b"content-length", str(len(answer.body)).encode()),
                    *((name.encode(), value.encode()) for name, value in answer.headers.items()),
                ],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], encoding: str, receive: Receive
    ) -> Answer:
        self._check(scope, headers, encoding)
        if self._inside > AT_ONCE:
            raise _Refused(
                failure(
                    429, "too many requests at once; send again later", encoding, retry_after=str(CROWDED_S)
                )
            )
        body = await _read(headers, encoding, receive)
        signal = SIGNALS[scope["path"]]
        loop = asyncio.get_running_loop()
        try:
            outcomes = await loop.run_in_executor(
                self._readers, self._outcomes, body, _coding(headers), signal, encoding
            )
            results = await asyncio.wrap_future(self._recording.record(outcomes)) if outcomes else []
        except TooLarge as error:
            return failure(413, str(error), encoding)
        except Malformed as error:
            return failure(400, str(error), encoding)
        except Crowded as error:
            return failure(429, str(error), encoding, retry_after=str(CROWDED_S))
        except (GlassbookError, OSError) as error:
            # Busy, full, damaged, being recovered, without a key: said here, and not to the sender.
            self._say(f"OTLP: not recorded, the senders are asked to try again: {error}")
            what = "nothing of this can be recorded now; send again later"
            return failure(503, what, encoding, retry_after=str(UNAVAILABLE_S))
        except Exception as error:
            self._say(f"OTLP: a request failed ({type(error).__name__}); please report this")
            what = "a fault of the receiver; send again later"
            return failure(503, what, encoding, retry_after=str(UNAVAILABLE_S))
        kept = [outcome for outcome, _ in results]
        self._count(kept, [before for _, before in results])
        return success(signal, encoding, kept)

    def _outcomes(self, body: bytes, coding: bytes, signal: str, encoding: str) -> list[Outcome]:
        return read_request(unpack(body) if coding == b"gzip" else body, signal, encoding, self._mapping)

    def _check(self, scope: Scope, headers: dict[bytes, bytes], encoding: str) -> None:
        """Refuse what needs no body to be refused."""
        if scope["path"] not in SIGNALS:
            raise _Refused(failure(404, f"only {' and '.join(SIGNALS)} are received here", encoding))
        if scope["method"] != "POST":
            raise _Refused(failure(405, "only POST", encoding, allow="POST"))
        if self._token is not None:
            shown = headers.get(b"authorization", b"")
            scheme, _, token = shown.partition(b" ")
            # Hashes are compared, so that neither content nor length can be measured.
            if scheme.lower() != b"bearer" or not hmac.compare_digest(
                sha256(token.strip()).digest(), self._token
            ):
                raise _Refused(failure(401, "needs the token", encoding, www_authenticate="Bearer"))
        if _media_type(headers) not in (PROTOBUF, JSON):
            raise _Refused(failure(415, f"the body must be {PROTOBUF} or {JSON}", encoding))
        if _coding(headers) not in (b"", b"identity", b"gzip"):
            raise _Refused(failure(415, "gzip or no encoding at all", encoding, accept_encoding="gzip"))


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """By small names; of two of one name the last, but for a doubled body length, which uvicorn refuses."""
    return {name.lower(): value.strip() for name, value in scope["headers"]}


def _media_type(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def _coding(headers: dict[bytes, bytes]) -> bytes:
    return headers.get(b"content-encoding", b"").lower()


async def _read(headers: dict[bytes, bytes], encoding: str, receive: Receive) -> bytes:
    announced = headers.get(b"content-length", b"")
    too_large = _Refused(failure(413, f"more than {LIMIT} bytes; send smaller batches", encoding))
    if announced.isdigit() and len(announced) < 20 and int(announced) > LIMIT:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(READ_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > LIMIT:
                    raise too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise _Refused(failure(408, f"took more than {READ_S:.0f} s to come", encoding)) from None
