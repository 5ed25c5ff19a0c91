"""Handing records to the ledger: `POST /v1/entries`, and what its answers mean.

Every record may be sent again, byte for byte: its label is the idempotency key.  So nothing is lost by a
dropped connection, and nothing is logged twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

import httpx
import msgspec

from ledger.core.encoding import b64encode
from ledger.core.errors import GlassbookError
from ledger.core.jose import parse_json
from ledger.department.settings import CannotGoOn

REQUEST_BYTES: Final = 12 << 20
"""Bytes of one request's body: the ledger takes 16 MiB."""

ANSWER_BYTES: Final = 16 << 20
ANSWER_SECONDS: Final = 120.0
LONGEST_WAIT: Final = 300.0
_TAKEN: Final = frozenset({"accepted", "published", "duplicate"})
_TYPE: Final = "urn:glassbook:problem:"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one record: taken, or refused with a code and the ledger's words for it.

    `promise` is what came as the ledger's promise, unchecked; it is `due` with every acceptance.
    """

    taken: bool
    problem: str = ""
    promise: bytes | None = None
    due: bool = False


class Busy(CannotGoOn):
    """The ledger asks to come back later; `seconds` is how much later, `went_on` whether it took something before."""

    def __init__(self, where: str, what: str, seconds: float) -> None:
        super().__init__(where, what)
        self.seconds = seconds
        self.went_on = False


class ToHandIn(Protocol):
    """An entry, and for a record its envelope and H(fetch token)."""

    @property
    def entry(self) -> bytes: ...
    @property
    def envelope(self) -> bytes | None: ...
    @property
    def deposited(self) -> bytes | None: ...


def fill_request(records: Sequence[ToHandIn]) -> tuple[bytes, int]:
    """A request's body with as many of the records as it may hold, at least one, and their number."""
    items: list[bytes] = []
    size = 0
    for record in records:
        submission = {"entry": b64encode(record.entry)}
        if record.envelope is not None and record.deposited is not None:
            submission |= {"envelope": b64encode(record.envelope), "fetch": b64encode(record.deposited)}
        item = msgspec.json.encode(submission)
        size += len(item) + 1
        if items and size > REQUEST_BYTES:
            break
        items.append(item)
    return b'{"entries":[' + b",".join(items) + b"]}", len(items)


class LedgerClient:
    """The ledger at one address.  No personal data is in what it is sent or in any error."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self._url = f"{url}/v1/entries"
        self._erasures = f"{url}/v1/erasures"
        self._http = httpx.Client(
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=10.0), transport=transport, follow_redirects=False
        )
        self.ahead_s: float | None = None
        """Seconds by which this computer's clock was ahead of the ledger's at its last answer, give or take one or two
        and what the answer took; None as long as it has not said."""

    def close(self) -> None:
        self._http.close()

    def hand_in(self, records: Sequence[ToHandIn]) -> list[Answer]:
        """What became of the first of these records, as many as one request holds, in order.

        Raises Busy for 429 and 503, CannotGoOn when there is no answer or one that cannot be understood; then
        nothing is known about any of them, and all are to be sent again.
        """
        body, count = fill_request(records)
        status, headers, answer = self._post(self._url, body, "application/json")
        if status in (429, 503):
            raise Busy(
                self._url,
                f"busy ({status}); nothing is lost, the records are sent again",
                _retry_after(headers),
            )
        if status != 200:
            raise CannotGoOn(
                self._url,
                f"answered {status}{_title(answer)}; nothing is lost, the records stay in the outbox",
            )
        return self._answers(answer, count)

    def erase(self, jws: bytes) -> dict[str, str]:
        """Hand in an erasure (docs/erasure.md): by leaf hash in base64url, what became of each.

        Raises Busy for 429 and 503, CannotGoOn otherwise; then it is not known what was deleted, and it is asked again.
        """
        status, headers, body = self._post(self._erasures, jws, "application/jose")
        if status in (429, 503):
            raise Busy(
                self._erasures, f"busy ({status}); the erasure is asked for again", _retry_after(headers)
            )
        if status != 200:
            raise CannotGoOn(
                self._erasures, f"answered {status}{_title(body)}; what is to be erased stays noted"
            )
        try:
            results = parse_json(body, self._erasures)["results"]
            return {str(result["leaf"]): str(result["status"]) for result in results}
        except (GlassbookError, KeyError, TypeError):
            raise CannotGoOn(
                self._erasures, "the answer is not that to an erasure; is this the ledger's address?"
            ) from None

    def _post(self, url: str, body: bytes, kind: str) -> tuple[int, httpx.Headers, bytes]:
        deadline = time.monotonic() + ANSWER_SECONDS
        headers = {"Content-Type": kind}
        try:
            with self._http.stream("POST", url, content=body, headers=headers) as response:
                answer = bytearray()
                for chunk in response.iter_bytes():
                    answer += chunk
                    if len(answer) > ANSWER_BYTES or time.monotonic() > deadline:
                        raise CannotGoOn(url, "answers without end; is this the ledger's address?")
                self._note_time(response.headers)
                return response.status_code, response.headers, bytes(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CannotGoOn(
                url,
                f"cannot be reached ({type(error).__name__}); nothing is lost, the records stay in the outbox",
            ) from None

    def _note_time(self, headers: httpx.Headers) -> None:
        at = _http_date(headers.get("date", ""))
        if at is not None:
            self.ahead_s = time.time() - at

    def _answers(self, body: bytes, count: int) -> list[Answer]:
        try:
            results = parse_json(body, self._url)["results"]
            if len(results) != count:
                raise ValueError
            return [_answer(result) for result in results]
        except (GlassbookError, KeyError, TypeError, ValueError):
            raise CannotGoOn(
                self._url, f"the answer is not that to {count} entries; is this the ledger's address?"
            ) from None


def _answer(result: dict[str, Any]) -> Answer:
    status = result["status"]
    if status in _TAKEN:
        promise = result.get("promise")
        if promise is not None and not isinstance(promise, str):
            raise ValueError
        sent = None if promise is None else promise.encode("utf-8", "replace")
        return Answer(True, promise=sent, due=status == "accepted")
    if status != "refused":
        raise ValueError
    problem = result["problem"]
    code = str(problem["type"]).removeprefix(_TYPE)
    rule = problem.get("rule")
    words = f"{code} ({rule})" if isinstance(rule, str) else code
    return Answer(False, f"{words}: {problem.get('detail', '')}"[:500])


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds by Retry-After (RFC 9110 §10.2.3, a number or a date), at most 5 minutes; 1 when it says nothing."""
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    until, now = _http_date(text), _http_date(headers.get("date", ""))
    if until is None:
        return 1.0
    return min(max(until - (time.time() if now is None else now), 1.0), LONGEST_WAIT)


def _http_date(text: str) -> float | None:
    """Unix seconds of an HTTP date (RFC 9110 §5.6.7), or None for what is none."""
    try:
        found = parsedate_to_datetime(text)
        return found.timestamp() if found.tzinfo is not None else None
    except (TypeError, ValueError, OverflowError):
        return None


def _title(body: bytes) -> str:
    """The title of a problem answer (RFC 9457), if that is what it is."""
    try:
        title = parse_json(body, "answer")["title"]
    except (GlassbookError, KeyError, TypeError):
        return ""
    return f" ({title})" if isinstance(title, str) and len(title) < 200 and title.isprintable() else ""
