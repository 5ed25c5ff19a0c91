"""Connections on which no request comes are closed, however busily they pretend to be sending one.

uvicorn bounds the pause between two requests, but not the time a request's head may take: a few hundred connections
that send a header line now and then would use up all there are. Needs uvicorn.
"""

from __future__ import annotations

import asyncio
from typing import Any

HEAD_SECONDS = 15.0


def bounded_protocol(
    seconds: float = HEAD_SECONDS, protocol: type[asyncio.Protocol] | None = None
) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol (for `Config(http=…)`) that gives each request's head this long.

    `protocol` is one of uvicorn's two; without it the faster one that is installed.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = protocol or AutoHTTPProtocol

    class Bounded(base):  # type: ignore[misc]  # of which of its two classes is known only when it runs
        _look_again: asyncio.TimerHandle | None = None
        _before: object = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._look_again = self.loop.call_later(seconds, self._look)

        def connection_lost(self, error: Exception | None) -> None:
            if self._look_again is not None:
                self._look_again.cancel()
            super().connection_lost(error)

        def _look(self) -> None:
            """Close it if since the last look no request began, and none is being answered."""
            answering = self.cycle is not None and not self.cycle.response_complete
            if self.cycle is self._before and not answering:
                self.transport.close()
                return
            self._before = self.cycle
            self._look_again = self.loop.call_later(seconds, self._look)

    return Bounded
