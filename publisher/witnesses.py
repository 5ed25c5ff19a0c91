"""Asking witnesses for cosignatures: the log's side of C2SP tlog-witness.

All witnesses are asked at once, each with the consistency proof from the size it confirmed last. What size
that is a witness says itself, with 409, so nothing has to be kept for it. A witness that fails is left
alone for a moment, then asked again; how long it has been missing, and why, can be read at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import httpx

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64encode, parse_decimal
from ledger.core.errors import GlassbookError
from ledger.core.note import SignatureLine, VerifierKey, format_note, parse_lines, verify_line

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
MAX_ANSWER = 64 << 10
"""Bytes of a witness's answer: a few signature lines."""

CLOCK_SECONDS = 300
"""A cosignature whose timestamp is further from our clock than this is not used."""

LONGEST_PAUSE_SECONDS = 5.0
SIZE_TYPE = "text/x.tlog.size"

Prover = Callable[[int], list[bytes]]
"""From an old size to the consistency proof up to the checkpoint's size (RFC 6962 §2.1.2)."""


class WitnessFailed(Exception):
    """A witness gave no usable cosignature; the message says why, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One witness's signature line on a checkpoint, verified, and its timestamp in Unix seconds."""

    checkpoint: Checkpoint
    line: SignatureLine
    timestamp: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A witness without a cosignature on the newest checkpoint: since when (Unix seconds), and why."""

    name: str
    since: int
    why: str

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"witness {self.name} is missing since {at}: {self.why}"


class Witness:
    """One witness: where it is, which key it signs with, and the size it confirmed last."""

    def __init__(self, name: str, vkey: VerifierKey, url: str) -> None:
        self.name = name
        self.vkey = vkey
        self.url = url
        self.confirmed = 0
        self.missing: Missing | None = None
        self._pause = 0.0
        self._asked_again = 0.0  # monotonic time before which it is left alone

    def may_be_asked(self, monotonic: float) -> bool:
        """False for a moment after a failure."""
        return monotonic >= self._asked_again

    def failed(self, why: str, now: int, monotonic: float) -> None:
        """Note a failure; the pause before the next try doubles, up to LONGEST_PAUSE_SECONDS."""
        since = self.missing.since if self.missing else now
        self.missing = Missing(self.name, since, why)
        self._pause = min(max(0.25, 2 * self._pause), LONGEST_PAUSE_SECONDS)
        self._asked_again = monotonic + self._pause

    def answered(self) -> None:
        """Note a good cosignature."""
        self.missing = None
        self._pause = self._asked_again = 0.0

    def ask(
        self,
        client: httpx.Client,
        checkpoint: Checkpoint,
        lines: Sequence[SignatureLine],
        prove: Prover,
        now: int,
    ) -> Cosignature:
        """Ask once, and once more when the witness confirmed another size than we thought.

        `lines` are the log's own signatures; nobody else's are sent. Raises WitnessFailed.
        """
        note = format_note(checkpoint.text, lines)
        for _ in range(2):
            old = min(self.confirmed, checkpoint.size)
            proof = "".join(
                f"{b64encode(digest)}\n" for digest in (prove(old) if 0 < old < checkpoint.size else ())
            )
            status, content_type, body = self._post(client, f"old {old}\n{proof}\n".encode() + note)
            if status == 200:
                cosignature = self._read_answer(checkpoint, body, now)
                self.confirmed = checkpoint.size
                return cosignature
            if status != 409 or content_type != SIZE_TYPE:
                raise WitnessFailed(f"answered {status}{_sentence(body)}")
            try:
                size = parse_decimal(body.decode("ascii").removesuffix("\n"), "size")
            except (UnicodeDecodeError, GlassbookError):
                raise WitnessFailed("answered 409 without a size") from None
            if size > checkpoint.size:
                raise WitnessFailed(
                    f"has cosigned this log at size {size}, above {checkpoint.size}: either another"
                    " publisher is ahead of this one, or this log's database is older than what it signed"
                )
            self.confirmed = size
        raise WitnessFailed("named another size each time it was asked")

    def _post(self, client: httpx.Client, body: bytes) -> tuple[int, str, bytes]:
        url = f"{self.url.rstrip('/')}/add-checkpoint"
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            with client.stream("POST", url, content=body, headers={"Content-Type": "text/plain"}) as response:
                answer = bytearray()
                for chunk in response.iter_raw(4096):
                    answer += chunk
                    if len(answer) > MAX_ANSWER or time.monotonic() > deadline:
                        raise WitnessFailed("its answer is too long or comes too slowly")
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                return response.status_code, kind, bytes(answer)
        except httpx.TimeoutException:
            raise WitnessFailed(f"no answer at {url} in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WitnessFailed(f"cannot be reached at {url} ({type(error).__name__})") from None

    def _read_answer(self, checkpoint: Checkpoint, body: bytes, now: int) -> Cosignature:
        """The witness's own line out of an answer; all other lines are ignored, as the spec says."""
        try:
            lines = [
                line
                for line in parse_lines(body, "answer")
                if (line.name, line.key_id) == (self.vkey.name, self.vkey.key_id)
            ]
            if not lines:
                raise WitnessFailed("its answer holds no cosignature by the key that policy.txt names")
            timestamp = verify_line(self.vkey, checkpoint.text, lines[0])
        except GlassbookError as error:
            raise WitnessFailed(f"its answer is not a good cosignature: {error}") from None
        if not timestamp:
            raise WitnessFailed("its cosignature has no timestamp, so it does not count")
        if abs(timestamp - now) > CLOCK_SECONDS:
            raise WitnessFailed(f"its clock and ours are {abs(timestamp - now)} s apart; look at both")
        return Cosignature(checkpoint, lines[0], timestamp)


def _sentence(body: bytes) -> str:
    text = body[:200].decode("utf-8", "replace").strip()
    return f": {text!r}" if text.isprintable() and text else ""


class Witnesses:
    """All witnesses that policy.txt gives a URL for."""

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self.all = list(witnesses)
        self._pool = ThreadPoolExecutor(max(1, len(self.all)), thread_name_prefix="witness")
        limits = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.Client(timeout=limits, follow_redirects=False, trust_env=False)
        self._asked: dict[str, Future[None]] = {}

    def collect(
        self,
        checkpoint: Checkpoint,
        lines: Sequence[SignatureLine],
        prove: Prover,
        now: int,
        have: dict[str, Cosignature],
        enough: Callable[[dict[str, Cosignature]], bool],
        wait_for_rest: float = 0.2,
    ) -> dict[str, Cosignature]:
        """Ask every witness that is not in `have`; returns what is there when all have answered, or as soon
        as it is `enough` and the others have had `wait_for_rest` seconds more. A witness still busy is not
        asked twice.
        """
        found = dict(have)

        def ask(witness: Witness) -> None:
            try:
                cosignature = witness.ask(self._client, checkpoint, lines, prove, now)
            except WitnessFailed as error:
                witness.failed(str(error), now, time.monotonic())
            else:
                witness.answered()
                found[witness.name] = cosignature

        pending: set[Future[None]] = set()
        for witness in self.all:
            busy = self._asked.get(witness.name)
            if (
                witness.name in have
                or not witness.may_be_asked(time.monotonic())
                or (busy and not busy.done())
            ):
                continue
            self._asked[witness.name] = asked = self._pool.submit(ask, witness)
            pending.add(asked)
        end = time.monotonic() + 2 * (CONNECT_SECONDS + ANSWER_SECONDS)
        settled = False
        while pending and time.monotonic() < end:
            done, pending = wait(pending, max(0.0, end - time.monotonic()), "FIRST_COMPLETED")
            for asked in done:
                asked.result()
            if pending and not settled and enough(dict(found)):
                settled, end = True, min(end, time.monotonic() + wait_for_rest)
        return dict(found)

    def missing(self) -> list[Missing]:
        """The witnesses that did not answer when last asked."""
        return [witness.missing for witness in self.all if witness.missing]

    def all_resting(self) -> bool:
        """True when some are missing and none of those is to be asked again yet: there is nothing to try."""
        absent = [witness for witness in self.all if witness.missing]
        return bool(absent) and not any(witness.may_be_asked(time.monotonic()) for witness in absent)

    def keep_sizes(self, earlier: Iterable[Witness]) -> None:
        """Take over what is known from another set of witnesses, after policy.txt has changed."""
        known = {witness.vkey.text: witness for witness in earlier}
        for witness in self.all:
            if before := known.get(witness.vkey.text):
                witness.confirmed, witness.missing = before.confirmed, before.missing

    def close(self) -> None:
        """Let go of connections and threads; an answer still under way is not waited for."""
        self._client.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
