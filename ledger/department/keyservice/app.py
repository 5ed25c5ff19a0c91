"""`GET /v1/stream-keys?epoch=` with `Authorization: Bearer`: a person's stream keys (docs/key-service.md).

Neither who asked, nor for whom, nor with what is ever said or logged.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ledger.department.keyservice.limits import RateLimit, network_of
from ledger.department.keyservice.person import person_of
from ledger.department.keyservice.problems import MEDIA_TYPE, Refused
from ledger.department.keyservice.provider import Provider
from ledger.department.keyservice.settings import KeyServiceSettings
from ledger.department.keyservice.tokens import check_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.department.keyservice.releasing import Releases

PATH: Final = "/v1/stream-keys"
EPOCHS: Final = 100
"""Epochs named in one request, at most."""

BODY_BYTES: Final = 64 << 10
BODY_S: Final = 2.0
"""Of a body, which is never used, so much is passed over, for so many seconds."""

_EPOCH: Final = re.compile(r"[1-9][0-9]{3}")
_ALWAYS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class KeyServiceApp:
    """What answers; `forms` are the settings' [identifiers], `say` tells the operator where an answer failed."""

    def __init__(
        self,
        settings: KeyServiceSettings,
        forms: Mapping[str, str],
        provider: Provider,
        releases: Releases,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._forms = settings, forms
        self._provider, self._releases = provider, releases
        self._say, self._clock = say, clock
        self._addresses = RateLimit(settings.requests_a_minute, 60.0)
        self._persons = RateLimit(settings.releases_an_hour, 3600.0)

    def asgi(self) -> Starlette:
        """The ASGI application."""
        # Tokens come in a header, never in cookies: so without credentials, and for the origins named alone.
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(self._settings.origins),
            allow_methods=["GET"],
            allow_headers=["Authorization"],
            expose_headers=["Retry-After", "WWW-Authenticate"],
            max_age=600,
        )
        return Starlette(
            routes=[Route(PATH, self._stream_keys), Route("/healthz", _health)],
            middleware=[cors],
            exception_handlers={HTTPException: _not_here},
        )

    async def _stream_keys(self, request: Request) -> Response:
        try:
            self._check_address(request)
            epochs = _epochs(request)
            token = _token(request)
            file = await run_in_threadpool(self._answer, token, epochs)
        except Refused as refused:
            if refused.code in ("body-refused", "method-not-allowed"):
                await _pass_over_body(request)
            return _problem(refused)
        except Exception as error:
            # No text of the error, which could name a person: its kind and its place are enough to find it.
            trace, place = error.__traceback__, "?"
            while trace is not None:
                place, trace = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}", trace.tb_next
            self._say(f"key service: an answer failed: {type(error).__name__} at {place}")
            return _problem(
                Refused("internal", "nothing was released; tell the department, and ask again later")
            )
        headers = {**_ALWAYS, "Content-Disposition": 'attachment; filename="stream.keys.json"'}
        return Response(file, 200, headers, "application/json")

    def _check_address(self, request: Request) -> None:
        address = request.client.host if request.client else ""
        if wait := self._addresses.take(network_of(address)):
            raise Refused("too-often", f"too many requests from this address; ask again in {wait} s", wait)

    def _answer(self, token: str, epochs: frozenset[int] | None) -> bytes:
        now = int(self._clock())
        claims = check_token(token, self._settings, self._provider, now)
        person = person_of(claims, self._settings, self._forms)
        if wait := max(self._persons.take(subject) for subject in person.subjects):
            raise Refused("too-often", f"these keys were given often enough; ask again in {wait} s", wait)
        return self._releases.keys_for(person, epochs, now)


def _epochs(request: Request) -> frozenset[int] | None:
    """The years asked for, or None for all; also refuses what such a request cannot have."""
    if request.method != "GET":
        raise Refused("method-not-allowed", "ask with GET")
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        raise Refused("body-refused", "ask without a body")
    items = request.query_params.multi_items()
    if any(name != "epoch" for name, _ in items):
        raise Refused("bad-request", "epoch is all that can be asked for: ?epoch=2026, also more than once")
    if len(items) > EPOCHS or not all(_EPOCH.fullmatch(year) for _, year in items):
        raise Refused("bad-request", f"an epoch is a year such as 2026; name at most {EPOCHS}")
    return frozenset(int(year) for _, year in items) or None


async def _pass_over_body(request: Request) -> None:
    """Take the body, if it is small and there: a connection closed upon unread bytes loses its answer."""
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_BYTES:
                    return
    except (TimeoutError, ClientDisconnect):
        return


def _token(request: Request) -> str:
    found = request.headers.getlist("authorization")
    scheme, _, token = (found[0] if len(found) == 1 else "").partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):
        raise Refused(
            "token-missing", "send the access token of your identity provider as Authorization: Bearer"
        )
    return token


async def _health(_request: Request) -> Response:
    return Response("ok\n", 200, dict(_ALWAYS), "text/plain")


async def _not_here(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    code = "method-not-allowed" if status == 405 else "not-found"
    return _problem(Refused(code, f"the call is GET {PATH}"))


def _problem(refused: Refused) -> Response:
    headers = {**_ALWAYS, **refused.headers()}
    if refused.code == "method-not-allowed":
        headers["Allow"] = "GET"
    if refused.code == "body-refused":
        headers["Connection"] = "close"
    body = json.dumps(refused.problem()).encode()
    return Response(body, refused.status, headers, MEDIA_TYPE)
