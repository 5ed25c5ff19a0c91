"""HTTP requests to a server that may do anything: bounded in bytes, seconds, redirects and attempts.

Nothing of a request body ever reaches an error message; a message names the URL and what came back.
"""

import os
import random
import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

import httpx
import tenacity

from ledger.client.deadline import DeadlineTransport
from ledger.client.publiclog import Unreachable

ANSWER_SECONDS = 60.0  # for one whole answer, however slowly it trickles
ATTEMPTS = 4
FIRST_WAIT = 0.25  # seconds before the second attempt, about; doubled before each further one
JITTER = 0.25  # seconds at most that a wait is longer by chance, so that readers do not come back all at once
LONGEST_ASKED = 30.0  # seconds: a server that asks for more by Retry-After is not waited for
MAX_REDIRECTS = 3
CONNECTIONS = 16
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({429, 500, 502, 503, 504})  # worth another attempt
_HEADERS = {"Accept-Encoding": "gzip, identity"}

T = TypeVar("T")


class _TryAgain(Exception):
    """The attempt failed in a way that may pass; `seconds` is the server's wish, if it had one."""

    def __init__(self, error: Unreachable, seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds


@lru_cache(maxsize=4)
def _tls(*_where: str | None) -> ssl.SSLContext:
    """One for all that a program asks: to read the authorities' certificates, from where these variables say, takes
    20 to 40 ms. A program sees certificates that are renewed when it starts again."""
    return httpx.create_ssl_context()


class BoundedHttp:
    """One server's `get` and `post`. Safe to use from several threads."""

    def __init__(
        self,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._answer_seconds = answer_seconds
        self._attempts = attempts
        self._sleep = sleep
        tls = _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        self._transport = DeadlineTransport(CONNECTIONS, tls)
        # A proxy that the user's environment names for everything goes first: then only bodies have a deadline.
        mounts = {} if "all" in getproxies() else {"all://": self._transport}
        self._client = httpx.Client(
            mounts=mounts,
            verify=tls,
            timeout=httpx.Timeout(min(15.0, answer_seconds), connect=min(10.0, answer_seconds)),
            follow_redirects=False,
            limits=httpx.Limits(max_connections=CONNECTIONS),
            headers={"User-Agent": "glassbook-verify", **_HEADERS},
        )

    def get(self, url: str, limit: int) -> bytes | None:
        """The body, at most `limit` bytes; None when the server says there is no such file (404, 410).

        Follows at most 3 redirects, never from https to http. Raises Unreachable.
        """

        def once() -> bytes | None:
            target = url
            for _ in range(MAX_REDIRECTS + 1):
                status, headers, body = self._send(self._client.build_request("GET", target), limit)
                if status in _REDIRECTS:
                    target = _redirected(target, headers.get("location", ""))
                    continue
                if status in (404, 410):
                    return None
                return _body(target, status, headers, body)
            raise Unreachable(url, f"answered with more than {MAX_REDIRECTS} redirects; check the address")

        return self._persist(once)

    def post(self, url: str, content: bytes, limit: int) -> bytes:
        """The body answered to this JSON body, at most `limit` bytes. Never redirected: the content is
        for this server only. Raises Unreachable."""

        def once() -> bytes:
            request = self._client.build_request(
                "POST", url, content=content, headers={"Content-Type": "application/json"}
            )
            status, headers, body = self._send(request, limit)
            return _body(url, status, headers, body)

        return self._persist(once)

    def close(self) -> None:
        self._client.close()

    def _persist(self, once: Callable[[], T]) -> T:
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=_wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return attempts(once)
        except _TryAgain as failed:
            raise failed.error from None

    def _send(self, request: httpx.Request, limit: int) -> tuple[int, httpx.Headers, bytes]:
        url = str(request.url)
        deadline = time.monotonic() + self._answer_seconds
        try:
            with self._transport.until(deadline):
                return self._answered(request, limit, deadline)
        except httpx.TimeoutException:
            if time.monotonic() > deadline:
                # It did answer, a little at a time: asking again would take as long.
                raise Unreachable(url, f"no whole answer within {self._answer_seconds:g} seconds") from None
            raise _TryAgain(Unreachable(url, "no answer in time; check the network and try again")) from None
        except httpx.UnsupportedProtocol:
            raise Unreachable(url, "not an http or https address") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = type(error).__name__
            raise _TryAgain(
                Unreachable(url, f"cannot be reached ({reason}); check the address and the network")
            ) from None

    def _answered(
        self, request: httpx.Request, limit: int, deadline: float
    ) -> tuple[int, httpx.Headers, bytes]:
        url = str(request.url)
        response = self._client.send(request, stream=True)
        try:
            pieces = _decoded(url, response, limit)
            body = bytearray()
            for piece in pieces:
                body += piece
                if len(body) > limit:
                    raise Unreachable(url, f"the answer is longer than {limit} bytes; not read further")
                if time.monotonic() > deadline:
                    raise Unreachable(url, f"no whole answer within {self._answer_seconds:g} seconds")
            return response.status_code, response.headers, bytes(body)
        finally:
            response.close()


def _decoded(url: str, response: httpx.Response, limit: int) -> Iterator[bytes]:
    """The body's pieces, decompressed by at most `limit` + 1 bytes in all: a gzip bomb stays small."""
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        yield from response.iter_raw()
        return
    if coding != "gzip":
        raise Unreachable(url, "the answer is compressed in a way that was not asked for")
    inflate = zlib.decompressobj(wbits=31)
    room = limit + 1
    try:
        for piece in response.iter_raw():
            while piece and room > 0:
                data = inflate.decompress(piece, room)
                room -= len(data)
                yield data
                piece = inflate.unconsumed_tail
        if not inflate.eof and room > 0:
            raise Unreachable(url, "the compressed answer breaks off")
    except zlib.error:
        raise Unreachable(url, "the compressed answer is damaged") from None


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    old, new = urlsplit(url), urlsplit(target)
    allowed = ("https",) if old.scheme == "https" else ("http", "https")
    if not location or new.scheme not in allowed:
        raise Unreachable(url, "redirects to an address that is not followed")
    return target


def _body(url: str, status: int, headers: httpx.Headers, body: bytes) -> bytes:
    if status == 200:
        return body
    if status in _PASSING:
        wish = _retry_after(headers.get("retry-after", ""))
        if wish is not None and wish > LONGEST_ASKED:
            raise Unreachable(url, f"answered {status} and asks to come back in {wish:.0f} seconds; do so")
        raise _TryAgain(Unreachable(url, f"answered {status} again and again; try later"), wish)
    raise Unreachable(url, f"answered {status}; check the address")


def _retry_after(text: str) -> float | None:
    """Seconds that a Retry-After header asks for, a number or a date (RFC 9110 §10.2.3); None when it asks nothing."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


_backing_off = tenacity.wait_exponential(multiplier=FIRST_WAIT) + tenacity.wait_random(0, JITTER)


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds until the next attempt: what the server asked for, else twice as long as before; a little more."""
    failed = state.outcome.exception() if state.outcome else None
    if isinstance(failed, _TryAgain) and failed.seconds is not None:
        return failed.seconds + random.uniform(0, JITTER)
    return _backing_off(state)
