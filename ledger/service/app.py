"""The routes: parse, call, reply.

Bodies of entries are read by the route itself (body.py), not by FastAPI: it would take them apart a second time.
Nothing about a request is logged but counts and codes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import prometheus_client
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ledger.admission import SHARE, Admission, Full, Limits
from ledger.core.encoding import b64url_encode
from ledger.core.keys import SigningKey
from ledger.core.policy import CLOCK_TOLERANCE_S
from ledger.givenup import GivenUpAnswered
from ledger.keyfiles import LEDGER
from ledger.service import openapi
from ledger.service.acceptance import Acceptance, Accepted, Duplicate, Outcome
from ledger.service.body import parse_document, parse_lines
from ledger.service.erasing import MAX_BYTES as ERASURE_BYTES
from ledger.service.erasing import check_erasure, check_media_type, erase, left_entries
from ledger.service.intake import Intake, is_lines
from ledger.service.look import Lookout
from ledger.service.metrics import Metrics
from ledger.service.problems import MEDIA_TYPE, TITLES, Refusal, RequestRefused, busy
from ledger.service.publicentries import PublicEntries
from ledger.service.published import PublishedSize, Waited, wait_published
from ledger.service.receipts import TIMEOUT_S, Receipts
from ledger.service.refusals import Refusals
from ledger.service.signatures import ToPromise
from ledger.settings import Settings
from ledger.store import Store, StoreBusy
from ledger.tokenkeys import TokenUnavailable

_log = structlog.get_logger("ledger.service")
RECEIPTS_AT_ONCE = Limits(rate=50, most=500, small=1)
"""GET /v1/receipts: one weighs 1."""

_ACCEPTED = b'{"status":"accepted","promise":"', b'"}'  # around a promise: a compact JWS needs no escapes
_encode = msgspec.json.Encoder().encode


def create_app(
    settings: Settings,
    store: Store,
    *,
    clock: Callable[[], float] = time.time,
    key: SigningKey | None,
    publisher: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """The ledger's application over an open store.

    `key` is the charter's `ledger` key, which signs promises (docs/formats.md §6); without it nothing is accepted.
    `publisher`: another way to reach `public_url`.  Raises VectorsUnusable when `[ledger] vectors` names a library that
    cannot be used.
    """
    metrics = Metrics()
    refusals = Refusals(metrics)
    intake = Intake(settings.in_flight_mib << 20, settings.answer_ms / 1000)
    asked = Admission(RECEIPTS_AT_ONCE)
    lookout = Lookout(store)
    acceptance = Acceptance(store, settings.origin, settings.inbox_limit, settings.vectors)
    client = httpx.AsyncClient(base_url=settings.public_url, timeout=TIMEOUT_S, transport=publisher)
    receipts = Receipts(store, settings.origin, client)
    entries = PublicEntries(store, client)
    published = PublishedSize(store)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(acceptance.refresh)
        try:
            await asyncio.to_thread(acceptance.start)
        except BaseException:
            await asyncio.to_thread(acceptance.close)
            raise
        choice = acceptance.choice
        if choice.why:
            _log.warning("vector library not used", why=choice.why)
        _log.info("serving", origin=settings.origin, signatures=choice.bulk.name, library=choice.path)
        filling = asyncio.create_task(acceptance.keep_filled())
        yield
        filling.cancel()
        await client.aclose()
        await asyncio.to_thread(acceptance.close)
        lookout.close()

    app = FastAPI(title="Glassbook ledger", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    _answer_problems(app, refusals)
    app.state.end_waiting = published.end

    @app.post("/v1/entries", openapi_extra=openapi.ENTRIES, summary="Hand in entries")
    async def post_entries(request: Request) -> Response:
        begun = time.perf_counter()
        lines, wait = is_lines(request), _wants_wait(request)
        signer = key_at_hand()
        acceptance.check_room()
        if wait:
            published.check_room()
        async with intake.take(request) as taken:
            submissions = await asyncio.to_thread(parse_lines if lines else parse_document, taken.body())
            taken.weigh(submissions)
            outcomes = await acceptance.accept(submissions, int(clock()))
            del submissions
            metrics.count(outcomes)
            if not wait:
                answer = await answer_of(signer, outcomes, Waited(), lines)
        if wait:
            waited = Waited()
            # From here on everything is accepted: whatever fails, that has to be answered.
            with contextlib.suppress(StoreBusy), published.waiter(len(outcomes)):
                waited = await wait_published(outcomes, published, receipts, settings.wait_s)
            answer = await answer_of(signer, outcomes, waited, lines)
        metrics.seconds.observe(time.perf_counter() - begun)
        return Response(answer, media_type="application/x-ndjson" if lines else "application/json")

    async def answer_of(
        signer: SigningKey, outcomes: Sequence[Outcome], waited: Waited, lines: bool
    ) -> bytes:
        # Only now, as what is promised is durable.
        plain = waited.nothing and set(map(type, outcomes)) == {Accepted}
        owed = _owed(outcomes, waited)
        try:
            promises = await acceptance.promise(signer, owed)
        except TokenUnavailable as error:
            # What was accepted stays so: handed in again, it gets its promise.
            _log.error("promises cannot be signed", why=str(error))
            raise busy(
                "the key that signs promises is not at hand; send this again later", 10, "key"
            ) from None
        if plain:
            return _format_accepted(promises, lines)
        promise_of = {leaf: promise for (leaf, _), promise in zip(owed, promises, strict=True)}
        return await asyncio.to_thread(_format_results, outcomes, waited, promise_of, lines)

    @app.get(
        "/v1/receipts/{leaf_hash}", openapi_extra=openapi.RECEIPT_CALL, summary="The receipt of an entry"
    )
    async def get_receipt(leaf_hash: str, request: Request) -> Response:
        leaf = _parse_leaf(leaf_hash)
        with _one_of(asked, request):
            return await find_receipt(leaf)

    async def find_receipt(leaf: bytes) -> Response:
        standing = await receipts.find(leaf)
        if standing is None:
            raise RequestRefused(Refusal("not-found", "no entry with this leaf hash was accepted"))
        if standing.at is None:
            return _json({"status": "accepted"}, 202)
        receipt = None
        if standing.published:
            receipt = (await receipts.receipts([(standing.at, standing.entry)]))[0]
        if receipt is None:
            about = {"status": "sequenced", "index": standing.at, "published_size": standing.published_size}
            return _json(about, 202)
        return _json(receipt, 200)

    @app.post("/v1/erasures", openapi_extra=openapi.ERASURES, summary="Have envelopes deleted")
    async def post_erasures(request: Request) -> Response:
        check_media_type(request)
        async with intake.take(request, ERASURE_BYTES) as taken:
            register = await asyncio.to_thread(acceptance.register)
            erasure = await asyncio.to_thread(check_erasure, taken.body(), register, int(clock()))
            taken.weigh(erasure.leaves)
            left = await left_entries(store, entries, erasure)
            found = await asyncio.to_thread(erase, store, erasure, left)
        metrics.count_erasures([one.value for one in found])
        with contextlib.suppress(StoreBusy):  # deleted it is: a trace is overwritten now or later
            await asyncio.to_thread(store.forget_traces)
        results = [
            {"leaf": b64url_encode(leaf), "status": one.value}
            for leaf, one in zip(erasure.leaves, found, strict=True)
        ]
        return _json({"results": results}, 200)

    @app.get("/healthz", summary="Whether the process runs")
    async def healthz() -> Response:
        return _json({"status": "ok"}, 200)

    def key_at_hand() -> SigningKey:
        if key is None:
            where = settings.keys / LEDGER
            raise busy(
                f"the key that signs promises is missing: put {where} in place, and start again", 60, "key"
            )
        return key

    @app.get("/readyz", summary="Whether entries are taken")
    async def readyz() -> Response:
        key_at_hand()
        found = await lookout.look()
        if clock() + CLOCK_TOLERANCE_S < found.publication.published_time:
            raise busy("the ledger's clock is behind the time of its last checkpoint: set the clock", 60)
        if found.waiting >= settings.inbox_limit:
            raise busy("the inbox is full: is the sequencer running?", 2, "inbox")
        status = "overloaded" if intake.admission.refuses else "ready"
        return _json({"status": status} | found.about(), 200)

    @app.get("/metrics", summary="Counts and durations, in Prometheus' text format")
    async def get_metrics() -> Response:
        with contextlib.suppress(StoreBusy):
            found = await lookout.look()
            metrics.backlog.set(found.waiting)
            metrics.size.set(found.size)
            metrics.published.set(found.publication.published_size)
        admission = intake.admission
        metrics.in_flight.set(admission.in_flight)
        metrics.limit.set(admission.limit)
        metrics.rate.set(admission.rate)
        metrics.to_write.set(acceptance.to_write)
        metrics.waiters.set(published.waiters)
        return Response(metrics.text(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return app


@contextlib.contextmanager
def _one_of(admission: Admission, request: Request) -> Iterator[None]:
    """One of the requests that are answered at a time.  Raises RequestRefused."""
    try:
        ticket = admission.ask(1, request.client.host if request.client else "")
    except Full as full:
        status = 429 if full.reason == SHARE else 503
        raise busy("too many receipts are asked for", full.retry_after_s, "receipts", status) from None
    measured = False
    try:
        ticket.begin()
        yield
        measured = True
    finally:
        ticket.done(measured)


def _wants_wait(request: Request) -> bool:
    asked = request.query_params.multi_items()
    if not asked:
        return False
    if asked == [("wait", "published")]:
        return True
    raise RequestRefused(Refusal("bad-request", "the only query this call takes is ?wait=published"))


def _parse_leaf(text: str) -> bytes:
    # bytes.fromhex alone would take spaces and capitals: one leaf hash has one address.
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise RequestRefused(Refusal("bad-request", "a leaf hash is 64 lower-case hexadecimal digits"))
    return bytes.fromhex(text)


def _owed(outcomes: Sequence[Outcome], waited: Waited) -> list[ToPromise]:
    """Leaf and time of all that is taken and not published: with a receipt nothing is left to be promised."""
    if waited.nothing:
        return [
            (outcome.leaf, outcome.accepted)
            for outcome in outcomes
            if not isinstance(outcome, Refusal) and outcome.accepted is not None
        ]
    return [
        (outcome.leaf, outcome.accepted)
        for outcome in outcomes
        if not isinstance(outcome, Refusal)
        and outcome.accepted is not None
        and outcome.label not in waited.receipts
    ]


def _format_accepted(promises: Sequence[bytes], lines: bool) -> bytes:
    """What `_format_results` makes when every entry is accepted, each with its promise."""
    between = _ACCEPTED[1] + (b"\n" if lines else b",") + _ACCEPTED[0]
    results = _ACCEPTED[0] + between.join(promises) + _ACCEPTED[1]
    return results + b"\n" if lines else b'{"results":[' + results + b"]}"


def _format_results(
    outcomes: Sequence[Outcome], waited: Waited, promise_of: dict[bytes, bytes], lines: bool
) -> bytes:
    results = [_result(outcome, waited, promise_of) for outcome in outcomes]
    return b"\n".join([*results, b""]) if lines else b'{"results":[' + b",".join(results) + b"]}"


def _result(outcome: Outcome, waited: Waited, promise_of: dict[bytes, bytes]) -> bytes:
    if isinstance(outcome, Refusal):
        return _encode({"status": "refused", "problem": outcome.problem()})
    index, receipt = waited.indices.get(outcome.label), waited.receipts.get(outcome.label)
    if isinstance(outcome, Duplicate):
        result: dict[str, Any] = {"status": "duplicate", "index": outcome.at}
        promise = promise_of.get(outcome.leaf)
        if promise is not None:
            result["promise"] = promise.decode("ascii")
    elif receipt is None and index is None:
        return promise_of[outcome.leaf].join(_ACCEPTED)
    elif receipt is None:  # sequenced, not published
        result = {"status": "accepted", "index": index, "promise": promise_of[outcome.leaf].decode("ascii")}
    else:
        result = {"status": "published", "index": index}
    return _encode(result if receipt is None else result | {"receipt": receipt})


def _json(value: object, status: int) -> Response:
    return Response(_encode(value), status, media_type="application/json")


class _FaultsAnswered:
    """The outermost layer: a fault of ours is answered with 500, and logged by its kind and place alone.

    The server below would log the exception's text, and nobody knows what is in that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if scope["type"] != "http":
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            _log.error(
                "failed", error=type(error).__name__, file=Path(place.filename).name, line=place.lineno
            )
            if not begun:
                refusal = Refusal("internal", "the fault is the ledger's; ask again what became of this")
                await _answer(refusal, 500)(scope, receive, send)


def _answer(refusal: Refusal, status: int, retry_after_s: int | None = None) -> Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status == 415:
        headers["Accept-Encoding"] = "identity"  # RFC 9110 §12.5.3, in answers
    return Response(_encode(refusal.problem() | {"status": status}), status, headers, MEDIA_TYPE)


def _answer_problems(app: FastAPI, refusals: Refusals) -> None:
    app.add_middleware(_FaultsAnswered)
    ending = Refusal("busy", "the ledger ends, and what became of this is not known; send it again")
    app.add_middleware(GivenUpAnswered, answer=_answer(ending, 503, 1))

    @app.exception_handler(RequestRefused)
    async def refused(_request: Request, error: RequestRefused) -> Response:
        if error.refusal.code == "busy":
            refusals.note(error.reason, error.refusal.detail)
        return _answer(error.refusal, error.status, error.retry_after_s)

    @app.exception_handler(StoreBusy)
    async def store_busy(_request: Request, error: StoreBusy) -> Response:
        refusals.note("store", str(error))
        return _answer(Refusal("busy", str(error)), 503, 1)

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
        response = _answer(Refusal(code, TITLES[code][1]), error.status_code)
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> Response:
        _log.error("failed", error=type(error).__name__)
        return _answer(
            Refusal("internal", "the fault is the ledger's; nothing of this request is certain"), 500
        )
