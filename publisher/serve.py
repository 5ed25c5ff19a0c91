"""The public HTTP side: files that anyone may cache, index proofs, envelopes.

    GET  /checkpoint          the published checkpoint                     text/plain, not cached
    GET  /tile/…              tiles and entry bundles (C2SP tlog-tiles)    octets, cached for ever
    GET  /log.json            origin, vkeys, limits, the suggested policy  cached for a minute
    POST /index/proofs        {"labels": [base64 …]}, at most 10,000 → checkpoint, index root, proofs in order
    POST /envelopes           {"tokens": [base64 …]}, at most 10,000 → {"envelopes": [base64 or null …]} in order
    GET  /healthz /readyz /metrics      for the operator: health.py

Everything may be read from any web page (CORS). Nothing that is asked for is logged: labels and tokens tell
which records belong together. Records are mostly hashes and signatures, so bundles are not compressed: it
would save nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from ledger.admission import SHARE, Admission, Full, Limits, Ticket
from ledger.core.encoding import b64decode, b64encode, sha256
from ledger.core.errors import Malformed
from ledger.core.jose import members, parse_json
from ledger.core.note import VerifierKey
from ledger.core.tiles import parse_path
from ledger.givenup import GivenUpAnswered
from ledger.publicfiles import PublicFiles
from ledger.store import Store, StoreBusy
from ledger.store.envelopes import find_envelopes
from publisher.health import Standings, health_routes
from publisher.problems import HANDLERS, NEVER, OpenToAll, Refused, problem
from publisher.published import IndexWrong, NotPublished, Published
from publisher.run import Status

MAX_LABELS = 10_000
MAX_TOKENS = 10_000
MAX_BODY = 1 << 20
"""Bytes of a request: 10,000 labels take 470,000."""

BODY_SECONDS = 30

PROOFS = Limits(rate=1 << 20, most=32 << 20, small=16 << 10, turns=1, small_turns=4)
ENVELOPES = Limits(rate=1 << 20, most=32 << 20, small=16 << 10, turns=2, small_turns=8)
"""What is let in, in bytes of requests: a label or token is 47. Proofs are made one request after another."""

REQUEST_WEIGHT = 2 << 10
UNKNOWN_BYTES = 64 << 10
TOKENS_AT_ONCE = 100
"""Envelopes read at a time: at most 6.4 MiB in memory for one answer."""

READS_AT_ONCE = 32
"""Files read at a time, from the folder or the bucket."""

FOR_EVER = "public, max-age=31536000, immutable"
SHORTLY = "public, max-age=60"
NOT_CACHED = "no-cache"


@dataclass(frozen=True, slots=True)
class Site:
    """What is served: the public files, the published view, the store's envelopes, and what /log.json says."""

    store: Store
    files: PublicFiles
    published: Published
    origin: str
    vkeys: tuple[VerifierKey, ...]
    policy_text: Callable[[], str | None]
    status: Callable[[], Status]
    standings: Standings = list


def public_app(site: Site) -> ASGIApp:
    """The ASGI application."""
    proving, finding = Admission(PROOFS), Admission(ENVELOPES)
    # Threads of their own: files are read beside them.
    provers, finders = ThreadPoolExecutor(2, "prove"), ThreadPoolExecutor(4, "find")

    async def find(fetches: list[bytes]) -> str:
        return await asyncio.get_running_loop().run_in_executor(finders, _find, site.store, fetches)

    # A bucket that hangs must not take the threads that proofs are made in.
    reading = CapacityLimiter(READS_AT_ONCE)

    async def checkpoint(_: Request) -> Response:
        note = await run_sync(_read_checkpoint, site.files, limiter=reading)
        if note is None:
            raise Refused(
                404, "not-published", "this log has not published a checkpoint yet; ask again later"
            )
        return Response(note, 200, {"Cache-Control": NOT_CACHED}, "text/plain; charset=utf-8")

    async def tile(request: Request) -> Response:
        path = f"tile/{request.path_params['path']}"
        data = await run_sync(_read_tile, site.files, path, limiter=reading)
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
        async with _let_in(proving, request) as ticket:
            labels = await _read_list(request, ticket, "labels", MAX_LABELS)
            async with ticket.turn():
                loop = asyncio.get_running_loop()
                answer = await loop.run_in_executor(provers, _prove, site.published, labels)
        return Response(answer, 200, {"Cache-Control": NEVER}, "application/json")

    async def envelopes(request: Request) -> Response:
        async with _let_in(finding, request) as ticket:
            fetches = [sha256(token) for token in await _read_list(request, ticket, "tokens", MAX_TOKENS)]
            async with ticket.turn():
                first = await find(fetches[:TOKENS_AT_ONCE])

        # How fast the rest goes is up to who reads it, so nobody waits for that.
        async def body() -> AsyncIterator[str]:
            yield '{"envelopes":[' + first
            for start in range(TOKENS_AT_ONCE, len(fetches), TOKENS_AT_ONCE):
                part = fetches[start : start + TOKENS_AT_ONCE]
                yield "," + await find(part)
            yield "]}"

        return StreamingResponse(body(), 200, {"Cache-Control": NEVER}, "application/json")

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
        *health_routes(site.store, site.status, site.standings),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers=HANDLERS,
    )
    app.router.redirect_slashes = False  # one address for each thing
    ending = problem(503, "busy", "the publisher ends; ask again", {"Retry-After": "1"})
    return OpenToAll(GivenUpAnswered(app, ending))


def _read_checkpoint(files: PublicFiles) -> bytes | None:
    try:
        stored = files.checkpoint()
    except OSError as error:
        raise _unreadable(error) from None
    return stored.note if stored else None


def _read_tile(files: PublicFiles, path: str) -> bytes:
    """Only what `parse_path` knows is looked for, so that a path never leaves the place."""
    try:
        return files.file(parse_path(path))
    except (Malformed, LookupError):
        raise Refused(
            404, "not-found", "no such tile; a partial one is gone once the full one exists"
        ) from None
    except OSError as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError) -> Refused:
    return Refused(503, "busy", f"the file cannot be read: {error.strerror}", {"Retry-After": "1"})


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
    head = {
        "checkpoint": view.note.decode(),
        "index_root": {"entry": b64encode(view.entry), "proof": [b64encode(step) for step in view.path]},
    }
    # Base64 stands in JSON as it is, so that megabytes of it need not be looked through.
    texts = ",".join([f'"{b64encode(proof)}"' for proof in proofs])
    start = json.dumps(head, ensure_ascii=False, separators=(",", ":")).removesuffix("}")
    return f'{start},"proofs":[{texts}]}}'.encode()


def _find(store: Store, fetches: list[bytes]) -> str:
    """The envelopes under these hashes of fetch tokens, as the inside of a JSON array."""
    try:
        with store.read() as db:
            found = find_envelopes(db, fetches)
    except StoreBusy as error:
        raise Refused(503, "busy", str(error), {"Retry-After": "1"}) from None
    return ",".join("null" if body is None else f'"{b64encode(body)}"' for body in found)


@asynccontextmanager
async def _let_in(admission: Admission, request: Request) -> AsyncIterator[Ticket]:
    """Let a request in before its body is read, until the block ends.  Raises Refused when that is too much now."""
    length = request.headers.get("content-length", "")
    declared = int(length[:20]) if length.isascii() and length.isdigit() else UNKNOWN_BYTES
    if declared > MAX_BODY:
        raise _too_large()
    try:
        ticket = admission.ask(REQUEST_WEIGHT + declared, request.client.host if request.client else "")
    except Full as full:
        shared = full.reason == SHARE
        what = (
            "others ask too, and your address has its share"
            if shared
            else "more is asked for than can be answered"
        )
        headers = {"Retry-After": str(full.retry_after_s)}
        raise Refused(429 if shared else 503, "busy", f"{what}; ask again later", headers) from None
    measured = False
    try:
        yield ticket
        measured = True
    finally:
        ticket.done(measured)


def _too_large() -> Refused:
    return Refused(413, "too-large", f"at most {MAX_BODY} bytes are taken", {"Connection": "close"})


async def _read_list(request: Request, ticket: Ticket, name: str, most: int) -> list[bytes]:
    """The one member of the body, `name`: a list of base64 texts of 32 bytes each."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise _too_large()
                if not ticket.came(len(chunk)):
                    raise Refused(503, "busy", "too many large requests at once", {"Retry-After": "2"})
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
        return [_hash(value, name, number) for number, value in enumerate(values)]
    except Malformed as error:
        raise Refused(400, "malformed-body", str(error)) from None


def _hash(value: object, name: str, number: int) -> bytes:
    try:
        raw = b64decode(value, "body") if isinstance(value, str) else b""
    except Malformed:
        raw = b""
    if len(raw) != 32:
        raise Malformed(f"body: {name}[{number}]", "is not 32 bytes in canonical base64")
    return raw


def _json(value: object, cache: str, status: int = 200) -> Response:
    # With surrogates escaped: a policy file may hold octets that are not UTF-8.
    return Response(json.dumps(value).encode(), status, {"Cache-Control": cache}, "application/json")
