"""The public HTTP side: files that anyone may cache, index proofs, envelopes.

    GET  /checkpoint          the published checkpoint                     text/plain, not cached
    GET  /tile/…              tiles and entry bundles (C2SP tlog-tiles)    octets, cached for ever
    GET  /log.json            origin, vkeys, limits, the suggested policy  cached for a minute
    POST /index/proofs        {"labels": [base64 …]}, at most 10,000 → checkpoint, index root, proofs in order
    POST /envelopes           {"tokens": [base64 …]}, at most 10,000 → {"envelopes": [base64 or null …]} in order
    GET  /healthz /readyz     is the process up; does it publish

Everything may be read from any web page (CORS). Nothing that is asked for is logged: labels and tokens tell
which records belong together. Records are mostly hashes and signatures, so bundles are not compressed: it
would save nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.core.encoding import b64decode, b64encode, sha256
from ledger.core.errors import Malformed
from ledger.core.jose import members, parse_json
from ledger.core.note import VerifierKey
from ledger.core.tiles import ENTRIES, FULL_WIDTH, parse_path
from ledger.files import read_limited
from ledger.store import Store, StoreBusy
from ledger.store.envelopes import find_envelopes
from publisher.published import IndexWrong, NotPublished, Published
from publisher.run import Status
from publisher.tiles import MAX_BUNDLE, Folder

MAX_LABELS = 10_000
MAX_TOKENS = 10_000
MAX_BODY = 1 << 20
"""Bytes of a request: 10,000 labels take 470,000."""

BODY_SECONDS = 30
TOKENS_AT_ONCE = 100
"""Envelopes read at a time: at most 6.4 MiB in memory for one answer."""

FOR_EVER = "public, max-age=31536000, immutable"
SHORTLY = "public, max-age=60"
NOT_CACHED = "no-cache"
NEVER = "no-store"


@dataclass(frozen=True, slots=True)
class Site:
    """What is served: the folder, the published view, the store's envelopes, and what /log.json says."""

    store: Store
    folder: Folder
    published: Published
    origin: str
    vkeys: tuple[VerifierKey, ...]
    policy_text: Callable[[], str | None]
    status: Callable[[], Status]


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


def public_app(site: Site) -> ASGIApp:
    """The ASGI application."""

    async def checkpoint(_: Request) -> Response:
        note = await run_in_threadpool(site.folder.checkpoint)
        if note is None:
            raise Refused(
                404, "not-published", "this log has not published a checkpoint yet; ask again later"
            )
        return Response(note, 200, {"Cache-Control": NOT_CACHED}, "text/plain; charset=utf-8")

    async def tile(request: Request) -> Response:
        data = await run_in_threadpool(_read_tile, site.folder, f"tile/{request.path_params['path']}")
        return Response(data, 200, {"Cache-Control": FOR_EVER}, "application/octet-stream")

    async def log_json(_: Request) -> Response:
        about = {
            "origin": site.origin,
            "vkeys": [vkey.text for vkey in site.vkeys],
            "limits": {"labels": MAX_LABELS, "tokens": MAX_TOKENS, "body_bytes": MAX_BODY},
            "policy": site.policy_text(),
        }
        return _json(about, SHORTLY)

    async def index_proofs(request: Request) -> Response:
        labels = await _read_list(request, "labels", MAX_LABELS)
        return Response(
            await run_in_threadpool(_prove, site.published, labels),
            200,
            {"Cache-Control": NEVER},
            "application/json",
        )

    async def envelopes(request: Request) -> Response:
        fetches = [sha256(token) for token in await _read_list(request, "tokens", MAX_TOKENS)]
        first = await run_in_threadpool(_find, site.store, fetches[:TOKENS_AT_ONCE])

        async def body() -> AsyncIterator[str]:
            yield '{"envelopes":[' + first
            for start in range(TOKENS_AT_ONCE, len(fetches), TOKENS_AT_ONCE):
                part = fetches[start : start + TOKENS_AT_ONCE]
                yield "," + await run_in_threadpool(_find, site.store, part)
            yield "]}"

        return StreamingResponse(body(), 200, {"Cache-Control": NEVER}, "application/json")

    async def healthz(_: Request) -> Response:
        return _json({"status": "up"}, NEVER)

    async def readyz(_: Request) -> Response:
        status, view = site.status(), site.published.view
        about = {
            "state": status.state,
            "reasons": list(status.reasons),
            "published_size": view.checkpoint.size if view else 0,
        }
        return _json(about, NEVER, 200 if status.state == "publishing" else 503)

    async def home(_: Request) -> Response:
        text = (
            f"This is the public side of the log {site.origin}.\n\n"
            "  /checkpoint      what the log is now, signed and cosigned\n"
            "  /log.json        its keys, limits and suggested policy\n\n"
            "Check it with glassbook-verify, or with any tool that reads C2SP tlog-tiles.\n"
        )
        return Response(text, 200, {"Cache-Control": SHORTLY}, "text/plain; charset=utf-8")

    routes = [
        Route("/", home),
        Route("/checkpoint", checkpoint),
        Route("/tile/{path:path}", tile),
        Route("/log.json", log_json),
        Route("/index/proofs", index_proofs, methods=["POST"]),
        Route("/envelopes", envelopes, methods=["POST"]),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={Refused: _refused, HTTPException: _http_error, Exception: _internal},
    )
    app.router.redirect_slashes = False  # one address for each thing
    return OpenToAll(app)


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


def _read_tile(folder: Folder, path: str) -> bytes:
    """Only what `parse_path` knows is looked for, so that a path never leaves the folder."""
    try:
        tile = parse_path(path)
        limit = MAX_BUNDLE if tile.level == ENTRIES else 32 * FULL_WIDTH
        return read_limited(folder.path / tile.path, limit)
    except (Malformed, FileNotFoundError):
        raise Refused(
            404, "not-found", "no such tile; a partial one is gone once the full one exists"
        ) from None


def _prove(published: Published, labels: list[bytes]) -> bytes:
    try:
        view, proofs = published.prove(labels)
    except NotPublished:
        raise Refused(
            503, "not-published", "this log has not published a checkpoint yet", {"Retry-After": "1"}
        ) from None
    except StoreBusy as error:
        raise Refused(503, "busy", str(error), {"Retry-After": "1"}) from None
    except IndexWrong as error:
        raise Refused(503, "busy", str(error), {"Retry-After": "60"}) from None
    answer = {
        "checkpoint": view.note.decode(),
        "index_root": {"entry": b64encode(view.entry), "proof": [b64encode(step) for step in view.path]},
        "proofs": [b64encode(proof) for proof in proofs],
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _find(store: Store, fetches: list[bytes]) -> str:
    """The envelopes under these hashes of fetch tokens, as the inside of a JSON array."""
    try:
        with store.read() as db:
            found = find_envelopes(db, fetches)
    except StoreBusy as error:
        raise Refused(503, "busy", str(error), {"Retry-After": "1"}) from None
    return ",".join("null" if body is None else f'"{b64encode(body)}"' for body in found)


async def _read_list(request: Request, name: str, most: int) -> list[bytes]:
    """The one member of the body, `name`: a list of base64 texts of 32 bytes each."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise Refused(
                        413, "too-large", f"at most {MAX_BODY} bytes are taken", {"Connection": "close"}
                    )
    except (TimeoutError, ClientDisconnect):
        raise Refused(
            408, "too-slow", "send the body faster, or less of it", {"Connection": "close"}
        ) from None
    try:
        values = members(parse_json(bytes(body), "body"), "body", (name,))[name]
        if not isinstance(values, list):
            raise Malformed(f"body: {name}", "is not a list")
        if len(values) > most:
            raise Refused(413, "too-many", f"at most {most} {name} are taken at once; ask several times")
        found = []
        for number, value in enumerate(values):
            where = f"body: {name}[{number}]"
            raw = b64decode(value, where) if isinstance(value, str) else b""
            if len(raw) != 32:
                raise Malformed(where, "is not the base64 of 32 bytes")
            found.append(raw)
        return found
    except Malformed as error:
        raise Refused(400, "malformed-body", str(error)) from None


def _json(value: object, cache: str, status: int = 200) -> Response:
    # With surrogates escaped: a policy file may hold octets that are not UTF-8.
    return Response(json.dumps(value).encode(), status, {"Cache-Control": cache}, "application/json")


def _problem(status: int, code: str, detail: str, headers: Mapping[str, str]) -> Response:
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
    return _problem(error.status, error.code, error.detail, error.headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    return _problem(error.status_code, code, "look at / for what can be asked for", error.headers or {})


async def _internal(_: Request, __: Exception) -> Response:
    return _problem(
        500, "internal", "this is a fault of the publisher; its operator finds more in the log", {}
    )
