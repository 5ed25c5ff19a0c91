"""One exchange with one witness: the log's side of C2SP tlog-witness, `POST <prefix>/add-checkpoint`.

    200 signature lines        each that is by a key of the policy on this very checkpoint is taken, the rest ignored
    409 text/x.tlog.size       the witness stands elsewhere: the proof is sent once more, from where it says
    409 otherwise, 400 403 404 422    it will not cosign this: a matter for people
    429, 5xx                   not now; Retry-After says when, in either form (RFC 9110 §10.2.3)
    anything else, or no whole answer in time    of no use

Nothing a witness answers is believed but a good signature, and nothing it does lasts longer than ANSWER_SECONDS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime

import httpx

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64encode, parse_decimal
from ledger.core.errors import GlassbookError
from ledger.core.note import SignatureLine, VerifierKey, parse_lines, verify_line
from ledger.store.witnesses import BEHIND, MISSING, REFUSES

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
"""From the first byte sent to the last one received."""

MAX_ANSWER = 64 << 10
"""Bytes of a witness's answer: a few signature lines."""

CLOCK_SECONDS = 300
"""A cosignature whose timestamp is further from our clock than this is not used."""

LONGEST_WAIT_SECONDS = 60.0
"""The most that a witness's Retry-After is honoured: one that asks for more is asked again all the same."""

SIZE_TYPE = "text/x.tlog.size"
HEADERS = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity"}

Prover = Callable[[int], list[bytes]]
"""From an old size to the consistency proof up to the checkpoint's size (RFC 6962 §2.1.2)."""


class WitnessFailed(Exception):
    """A witness gave no usable cosignature; the message says why, in words for the operator.

    `standing` is MISSING, BEHIND or REFUSES; `wait` the seconds it asked to be left alone, None when it did not;
    `stood_at` the size it named before it failed.
    """

    def __init__(self, why: str, standing: str = MISSING, wait: float | None = None) -> None:
        super().__init__(why)
        self.standing = standing
        self.wait = wait
        self.stood_at: int | None = None


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One witness's signature line on the checkpoint submitted, verified, and its timestamp in Unix seconds."""

    line: SignatureLine
    timestamp: int


@dataclass(frozen=True, slots=True)
class Submission:
    """What is sent to all witnesses alike: `note` is the checkpoint with the log's own signatures and nobody else's;
    `now` is our clock, Unix seconds."""

    checkpoint: Checkpoint
    note: bytes
    prove: Prover
    now: int
    _proofs: dict[int, str] = field(default_factory=dict)

    def body(self, old: int) -> bytes:
        """The request for a witness that confirmed `old` leaves. Raises what `prove` raises."""
        if old not in self._proofs:
            proof = self.prove(old) if 0 < old < self.checkpoint.size else []
            self._proofs[old] = "".join(f"{b64encode(digest)}\n" for digest in proof)
        return f"old {old}\n{self._proofs[old]}\n".encode() + self.note


@dataclass(frozen=True, slots=True)
class Answer:
    """What one exchange gave: by policy name, cosignatures and, for keys without one, why; and the size that the
    witness said it stood at, None when it was the one we thought."""

    cosignatures: Mapping[str, Cosignature]
    faults: Mapping[str, str]
    stood_at: int | None = None


async def submit(
    client: httpx.AsyncClient, url: str, keys: Mapping[str, VerifierKey], confirmed: int, what: Submission
) -> Answer:
    """Ask the witness at `url`, whose `keys` are named as in the policy and which confirmed that many leaves last.

    Asks once more when it says that it stands elsewhere. Raises WitnessFailed, and what `what.prove` raises.
    """
    old = min(confirmed, what.checkpoint.size)
    named = await _submit_from(client, url, keys, old, what)
    if isinstance(named, Answer):
        return named
    try:
        answer = await _submit_from(client, url, keys, named, what)
    except WitnessFailed as error:
        error.stood_at = named
        raise
    if isinstance(answer, Answer):
        return replace(answer, stood_at=named)
    raise WitnessFailed("named another size each time it was asked")


async def _submit_from(
    client: httpx.AsyncClient, url: str, keys: Mapping[str, VerifierKey], old: int, what: Submission
) -> Answer | int:
    """The answer to the proof from `old`, or the other size that the witness names."""
    response, body = await _post(client, url, what.body(old))
    if response.status_code == 200:
        cosignatures, faults = read_lines(keys, what, body)
        return Answer(cosignatures, faults)
    named = _named_size(response, body)
    if named is None:
        raise _refusal(response, body, what.now)
    if named > what.checkpoint.size:
        raise WitnessFailed(
            f"has cosigned this log at size {named}, above {what.checkpoint.size}: either another publisher is ahead"
            " of this one, or this log's database is older than what it signed, or the witness is wrong",
            REFUSES,
        )
    if named == old:
        raise WitnessFailed(f"answered 409 and named the very size it was sent, {old}")
    return named


async def _post(client: httpx.AsyncClient, url: str, body: bytes) -> tuple[httpx.Response, bytes]:
    address = f"{url}/add-checkpoint"
    answer = bytearray()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            async with client.stream("POST", address, content=body, headers=HEADERS) as response:
                async for chunk in response.aiter_raw():
                    answer += chunk
                    if len(answer) > MAX_ANSWER:
                        raise WitnessFailed(f"its answer at {address} has more than {MAX_ANSWER} bytes")
            return response, bytes(answer)
    except (TimeoutError, httpx.TimeoutException):
        raise WitnessFailed(f"no whole answer at {address} within {ANSWER_SECONDS:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise WitnessFailed(f"cannot be reached at {address} ({type(error).__name__})") from None


def read_lines(
    keys: Mapping[str, VerifierKey], what: Submission, body: bytes
) -> tuple[dict[str, Cosignature], dict[str, str]]:
    """For each policy name its newest good line out of an answer, or why there is none that counts.

    Lines by other keys are ignored, as the spec says; whether a line is good is decided for each alone.
    """
    try:
        lines = parse_lines(body, "its answer")
    except GlassbookError as error:
        raise WitnessFailed(f"answered 200 with something other than signature lines: {error}") from None
    found: dict[str, Cosignature] = {}
    faults: dict[str, str] = {}
    for name, vkey in keys.items():
        why = "its answer holds no cosignature by the key that policy.txt names"
        for line in lines:
            if (line.name, line.key_id) != (vkey.name, vkey.key_id):
                continue
            try:
                cosignature = _read_line(vkey, what, line)
            except WitnessFailed as error:
                why = str(error)
            else:
                if name not in found or cosignature.timestamp > found[name].timestamp:
                    found[name] = cosignature
        if name not in found:
            faults[name] = why
    return found, faults


def _read_line(vkey: VerifierKey, what: Submission, line: SignatureLine) -> Cosignature:
    try:
        timestamp = verify_line(vkey, what.checkpoint.text, line)
    except GlassbookError:
        raise WitnessFailed("its cosignature is not by its key on this checkpoint") from None
    if not timestamp:
        raise WitnessFailed("its cosignature has no timestamp, so it does not count")
    apart = abs(timestamp - what.now)
    if apart > CLOCK_SECONDS:
        raise WitnessFailed(f"its clock and ours are {apart} s apart; look at both")
    return Cosignature(line, timestamp)


def _named_size(response: httpx.Response, body: bytes) -> int | None:
    """The size a 409 names, None for any other answer."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if response.status_code != 409 or kind != SIZE_TYPE:
        return None
    try:
        return parse_decimal(body.decode("ascii").removesuffix("\n"), "size")
    except (UnicodeDecodeError, GlassbookError):
        raise WitnessFailed("answered 409 without a size") from None


_REFUSALS = {
    400: "cannot read what this publisher sends",
    403: "does not accept the log's signatures; give the witness's operator both vkeys of the log",
    404: "does not know this log, or is not at this address; its operator adds the log by its vkey",
    409: "says that this log has another root at that size than it cosigned",
    422: "will not cosign this checkpoint; its operator can say which rule it breaks",
}


def _refusal(response: httpx.Response, body: bytes, now: int) -> WitnessFailed:
    status = response.status_code
    said = f"answered {status}{_sentence(body)}"
    if status in _REFUSALS:
        return WitnessFailed(f"{_REFUSALS[status]}: {said}", REFUSES)
    if 300 <= status < 400:
        return WitnessFailed(
            f"{said}, a redirect, which is not followed: policy.txt names the witness's own URL"
        )
    wait = retry_after(response.headers.get("Retry-After"), now) if status == 429 or status >= 500 else None
    # An auditor that has still to check entries answers so (docs/formats.md §6); whether it is one the caller knows.
    return WitnessFailed(said, BEHIND if status == 503 and wait is not None else MISSING, wait)


def retry_after(text: str | None, now: int) -> float | None:
    """Seconds to wait by a Retry-After of either form (RFC 9110 §10.2.3), at most LONGEST_WAIT_SECONDS; None when there
    is none that can be read. `now` is Unix seconds."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return LONGEST_WAIT_SECONDS if len(text) > 9 else min(float(text), LONGEST_WAIT_SECONDS)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def _sentence(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace").strip()
    return f": {text!r}" if text.isprintable() and text else ""
