"""Clients that are slow, or do nothing, cannot use up the connections or the memory that there is.

- A connection on which no request comes is closed, however busily it pretends to be sending one: uvicorn bounds the
  pause between two requests, but not the time a request's head may take.
- When there are more connections than may be, the one on which longest nothing happened is closed for the new one;
  if something happens on each, the new one is told so (503) and closed. uvicorn's own limit (`limit_concurrency`)
  would answer everybody with 503 while many connections do nothing.
- An answer that is not read, or hardly, is thrown away with its connection after a while, or sooner when the unread
  answers of all together take too much memory.

Needs uvicorn.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

HEAD_SECONDS = 15.0
UNREAD_SECONDS = 30.0
UNREAD_PACE = 1 << 17
"""So much of an answer, or all of it, has to be read in every UNREAD_SECONDS."""

UNREAD_BYTES = 64 << 20
"""Of answers that were sent and not read yet, all connections together."""

LEAVING = 100
LEAVING_SECONDS = 1.0
"""For that many and that long a connection too many is kept, so that its client gets to read why."""

_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: %d\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type":"urn:glassbook:problem:busy","title":"This cannot be taken now","status":503,'
    b'"detail":"too many connections are in use; come back later"}'
)


def bounded_protocol(
    seconds: float = HEAD_SECONDS,
    protocol: type[asyncio.Protocol] | None = None,
    *,
    connections: int | None = None,
    unread_seconds: float = UNREAD_SECONDS,
    unread_bytes: int = UNREAD_BYTES,
) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol (for `Config(http=…)`) that gives each request's head this long.

    `protocol` is one of uvicorn's two; without it the faster one that is installed. So many `connections` may be open.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = protocol or AutoHTTPProtocol
    known: dict[Any, None] = {}  # all connections, those on which longest nothing was answered first
    leaving: set[Any] = set()  # told that there are too many
    unread: dict[Any, None] = {}  # connections whose answer is not read, longest first

    class Bounded(base):  # type: ignore[misc]  # of which of its two classes is known only when it runs
        _look_again: asyncio.TimerHandle | None = None
        _unread_until: asyncio.TimerHandle | None = None
        _unread_left = 0
        _before: object = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            if connections is not None and len(known) >= connections and not self._make_room():
                self._send_away()
                return
            known[self] = None
            self._look_again = self.loop.call_later(seconds, self._look)

        def connection_lost(self, error: Exception | None) -> None:
            known.pop(self, None)
            leaving.discard(self)
            self._read()
            if self._look_again is not None:
                self._look_again.cancel()
            super().connection_lost(error)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self in known:
                del known[self]
                known[self] = None

        def pause_writing(self) -> None:
            super().pause_writing()
            unread[self] = None
            self._unread_left = _waiting_bytes(self)
            self._unread_until = self.loop.call_later(unread_seconds, self._abort_unless_read)
            while len(unread) > 1 and sum(map(_waiting_bytes, unread)) > unread_bytes:
                next(iter(unread))._abort()

        def resume_writing(self) -> None:
            self._read()
            super().resume_writing()

        def _read(self) -> None:
            unread.pop(self, None)
            if self._unread_until is not None:
                self._unread_until.cancel()
                self._unread_until = None

        def _abort_unless_read(self) -> None:
            left = _waiting_bytes(self)
            if left > self._unread_left - UNREAD_PACE:
                self._abort()
                return
            self._unread_left = left
            self._unread_until = self.loop.call_later(unread_seconds, self._abort_unless_read)

        def _abort(self) -> None:
            self._read()
            self.transport.abort()

        def _make_room(self) -> bool:
            """Close the connection on which longest nothing happened; False when something happens on each."""
            longest = next((one for one in known if not one._is_answering() and one not in unread), None)
            if longest is None:
                return False
            del known[longest]
            longest.transport.abort()
            return True

        def _send_away(self) -> None:
            # Read by nobody: closed at once, what its client sends meanwhile would take the answer from it.
            self.connections.discard(self)
            self.transport.pause_reading()
            if len(leaving) >= LEAVING:
                self.transport.abort()
                return
            leaving.add(self)
            self.transport.write(_FULL % (random.randint(1, 3), len(_PROBLEM), _PROBLEM))
            self.transport.write_eof()
            self._look_again = self.loop.call_later(LEAVING_SECONDS, self.transport.abort)

        def _is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _look(self) -> None:
            """Close it if since the last look no request began, and none is being answered or read."""
            if self.cycle is self._before and not self._is_answering() and self not in unread:
                self.transport.close()
                return
            self._before = self.cycle
            self._look_again = self.loop.call_later(seconds, self._look)

    return Bounded


def _waiting_bytes(connection: Any) -> int:
    return int(connection.transport.get_write_buffer_size())
