"""Requests that a server gives up because its process ends while the database is silent: answered as what is busy."""

from __future__ import annotations

import asyncio

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger()


class GivenUpAnswered:
    """The layer around an application: a request that is cancelled before its answer has begun gets `answer`.

    The server below would say 500, in words of its own, and log a traceback.
    """

    def __init__(self, app: ASGIApp, answer: Response) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            _log.warning("a request is given up: the process ends")
            if not begun:
                await self._answer(scope, receive, send)
