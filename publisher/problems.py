"""What every public answer has in common: problems (RFC 9457), and that any web page may read it (CORS)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

NEVER = "no-store"


class Refused(Exception):
    """A request that is answered with a problem (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


TITLES = {
    "malformed-body": "The body is not what this call takes",
    "too-large": "The body is too large",
    "too-many": "Too many at once",
    "too-slow": "The request did not arrive in time",
    "not-published": "Nothing is published yet",
    "busy": "This cannot be answered now",
    "not-found": "There is nothing here",
    "method-not-allowed": "This address does not take that method",
    "bad-request": "The request cannot be understood",
    "internal": "The publisher failed",
}


class OpenToAll:
    """CORS: every answer may be read by any web page, and a preflight is answered at once.

    Always, not only when the request has an Origin: caches keep one answer for all.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS":
            headers = {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
                "Access-Control-Allow-Headers": "content-type",
                "Access-Control-Max-Age": "86400",
            }
            await Response(None, 204, headers)(scope, receive, send)
            return

        async def send_open(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"access-control-allow-origin", b"*"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, send_open)


def problem(status: int, code: str, detail: str, headers: Mapping[str, str]) -> Response:
    about = {
        "type": f"urn:glassbook:problem:{code}",
        "title": TITLES[code],
        "status": status,
        "detail": detail,
    }
    return Response(
        json.dumps(about).encode(), status, {"Cache-Control": NEVER, **headers}, "application/problem+json"
    )


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return problem(error.status, error.code, error.detail, error.headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    return problem(error.status_code, code, "look at / for what can be asked for", error.headers or {})


async def _internal(_: Request, __: Exception) -> Response:
    return problem(
        500, "internal", "this is a fault of the publisher; its operator finds more in the log", {}
    )


HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    Refused: _refused,
    HTTPException: _http_error,
    Exception: _internal,
}
