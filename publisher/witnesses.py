"""All witnesses of a policy: asked side by side, remembered one by one.

Witnesses of the policy that share a URL are one witness with several keys: it is asked once for all of them. Each is
asked with the consistency proof from the size it confirmed last; what size that is it says itself, with 409, so what
is remembered only saves a question. One that gives nothing of use is left alone for a moment, at first a short one,
or for as long as it asks for, and then asked again with whatever checkpoint is newest.

The asking goes on in a thread of its own: an answer that comes too late for one round is there in the next.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import httpx
import structlog

from ledger.core.policy import Witness
from ledger.store.witnesses import BEHIND, COSIGNS, MISSING, REFUSES, WitnessProgress
from publisher.addcheckpoint import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    Answer,
    Cosignature,
    Submission,
    WitnessFailed,
    submit,
)

log = structlog.get_logger("publisher")

SHORTEST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = {MISSING: 5.0, BEHIND: 5.0, REFUSES: 30.0}
"""After each failure the pause doubles, up to this; a refusal rarely passes by itself."""

KEEPALIVE_SECONDS = 4.0
"""Below the 5 seconds after which common servers hang up: a question on a connection just closed would be lost."""

WHY_CHARACTERS = 500


@dataclass(slots=True)
class Endpoint:
    """One witness server: its URL, its keys by their names in the policy, and when it is to be left alone.

    What it is asked for is told apart by the note submitted: a checkpoint signed anew is to be cosigned anew.
    """

    url: str
    witnesses: tuple[Witness, ...]
    confirmed: int
    asked: bytes | None = None  # what it is being asked for
    answers: dict[str, tuple[bytes, Cosignature]] = field(default_factory=dict)
    pause: float = 0.0
    resting_until: float = 0.0  # monotonic
    partly: bytes | None = None  # for this it gave some lines but not all

    def may_be_asked(self, note: bytes) -> bool:
        """Not while it answers, and for a moment after a failure; when only a part of its lines was of no use, that
        moment is for the same checkpoint alone."""
        resting = time.monotonic() < self.resting_until
        return self.asked is None and not (resting and self.partly in (None, note))

    def cosignatures(self, note: bytes) -> dict[str, Cosignature]:
        """Those on this note, by name."""
        return {name: found for name, (on, found) in self.answers.items() if on == note}


class Witnesses:
    """The witnesses that policy.txt gives a URL for. Used by one thread; `standings` may be called from any."""

    def __init__(self) -> None:
        self._witnesses: tuple[Witness, ...] = ()
        self._endpoints: list[Endpoint] = []
        self._progress: dict[str, WitnessProgress] = {}  # by vkey
        self._changed: set[str] = set()
        self._fault: Exception | None = None
        self._news = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: httpx.AsyncClient | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def use(self, witnesses: Sequence[Witness], stored: Mapping[str, WitnessProgress]) -> None:
        """From now on these are the witnesses. What is known of those that stay is kept; `stored`, by vkey, is what the
        database knows of the others."""
        with self._news:
            earlier = {endpoint.url: endpoint for endpoint in self._endpoints}
            known = self._progress
            self._witnesses = tuple(witnesses)
            self._progress = {
                witness.vkey.text: known.get(witness.vkey.text)
                or stored.get(witness.vkey.text)
                or WitnessProgress(witness.vkey.text)
                for witness in witnesses
            }
            grouped: dict[str, list[Witness]] = {}
            for witness in witnesses:
                grouped.setdefault((witness.url or "").rstrip("/"), []).append(witness)
            self._endpoints = []
            for url, sharing in grouped.items():
                before = earlier.get(url)
                if before and before.witnesses == tuple(sharing):
                    self._endpoints.append(before)
                    continue
                confirmed = max(self._progress[witness.vkey.text].confirmed for witness in sharing)
                self._endpoints.append(Endpoint(url, tuple(sharing), confirmed))

    def ask(self, what: Submission, names: Collection[str]) -> None:
        """Begin to ask those of `names` that have not cosigned this and may be asked now. Does not wait.

        Raises what made a consistency proof impossible when it was last tried.
        """
        with self._news:
            self._raise_fault()
            for endpoint in self._endpoints:
                if any(witness.name in names for witness in endpoint.witnesses):
                    self._begin(endpoint, what)

    def _begin(self, endpoint: Endpoint, what: Submission) -> None:
        """Ask this one, unless it has answered, is busy or is to be left alone."""
        complete = len(endpoint.cosignatures(what.note)) == len(endpoint.witnesses)
        if not complete and endpoint.may_be_asked(what.note) and not self._closed:
            loop, client = self._running()
            endpoint.asked = what.note
            asyncio.run_coroutine_threadsafe(self._ask(endpoint, client, what), loop)

    def collect(
        self, what: Submission, enough: Callable[[Collection[str]], bool], wait_for_others: float
    ) -> dict[str, Cosignature]:
        """Ask all; returns what is there when all have answered, or `wait_for_others` seconds after it was `enough`.

        One that is still busy with an earlier checkpoint is asked as soon as it is not, while it is not enough.
        Raises what made a consistency proof impossible.
        """
        end = time.monotonic() + 2 * (2 * ANSWER_SECONDS)
        settled = False
        with self._news:
            waiting = list(self._endpoints)
            while True:
                for endpoint in [endpoint for endpoint in waiting if not endpoint.asked]:
                    waiting.remove(endpoint)
                    self._begin(endpoint, what)
                self._raise_fault()
                found = self.cosignatures(what.note)
                if not settled and enough(found):
                    settled, end = True, min(end, time.monotonic() + wait_for_others)
                busy = any(e.asked == what.note or (e.asked and not settled) for e in self._endpoints)
                remaining = end - time.monotonic()
                if remaining <= 0 or self._closed or not busy:
                    return found
                self._news.wait(remaining)

    def cosignatures(self, note: bytes) -> dict[str, Cosignature]:
        """Those on this note that came so far, by the witness's name in the policy, in its order."""
        with self._news:
            found: dict[str, Cosignature] = {}
            for endpoint in self._endpoints:
                found |= endpoint.cosignatures(note)
            return {witness.name: found[witness.name] for witness in self._witnesses if witness.name in found}

    def _raise_fault(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def all_resting(self) -> bool:
        """True when some give no cosignature and none of those is to be asked yet: there is nothing to try."""
        with self._news:
            absent = [e for e in self._endpoints if any(self._is_absent(witness) for witness in e.witnesses)]
            return bool(absent) and not any(time.monotonic() >= endpoint.resting_until for endpoint in absent)

    def standings(self) -> list[tuple[Witness, WitnessProgress]]:
        """Each witness, in the policy's order, and what is known of it."""
        with self._news:
            return [(witness, self._progress[witness.vkey.text]) for witness in self._witnesses]

    def changed(self) -> list[WitnessProgress]:
        """What is known anew since it was last `saved`."""
        with self._news:
            return [self._progress[vkey] for vkey in sorted(self._changed & self._progress.keys())]

    def saved(self, stored: Sequence[WitnessProgress]) -> None:
        """These are in the database now."""
        with self._news:
            self._changed -= {
                progress.vkey for progress in stored if self._progress.get(progress.vkey) == progress
            }

    def close(self) -> None:
        """Let go of connections; an answer still under way is not waited for, and `collect` returns at once."""
        with self._news:
            self._closed = True
            self._news.notify_all()
            loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(2 * ANSWER_SECONDS)
            self._loop = self._thread = None

    # -- in the thread that asks -----------------------------------------------------------------------

    def _running(self) -> tuple[asyncio.AbstractEventLoop, httpx.AsyncClient]:
        if self._loop is None or self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None),
                limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEPALIVE_SECONDS),
                follow_redirects=False,
                trust_env=False,
            )
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, name="witnesses", daemon=True)
            self._thread.start()
        return self._loop, self._client

    def _run(self) -> None:
        loop, client = self._loop, self._client
        assert loop is not None and client is not None
        loop.run_forever()
        loop.run_until_complete(_end(asyncio.all_tasks(loop), client))
        loop.close()

    async def _ask(self, endpoint: Endpoint, client: httpx.AsyncClient, what: Submission) -> None:
        keys = {witness.name: witness.vkey for witness in endpoint.witnesses}
        try:
            answer = await submit(client, endpoint.url, keys, endpoint.confirmed, what)
            with self._news:
                self._note_answer(endpoint, answer, what)
        except WitnessFailed as failed:
            with self._news:
                self._note_failure(endpoint, failed, what)
        except Exception as error:  # the publisher's own: its round has to hear of it
            with self._news:
                self._fault = error
        finally:
            with self._news:
                endpoint.asked = None
                self._news.notify_all()

    def _note_answer(self, endpoint: Endpoint, answer: Answer, what: Submission) -> None:
        if answer.stood_at is not None and answer.stood_at < endpoint.confirmed:
            log.warning(
                "a witness went back", url=endpoint.url, confirmed=endpoint.confirmed, says=answer.stood_at
            )
        if answer.cosignatures:
            endpoint.confirmed = what.checkpoint.size
        for name, found in answer.cosignatures.items():
            endpoint.answers[name] = what.note, found
        for witness in endpoint.witnesses:
            if cosigned := answer.cosignatures.get(witness.name):
                self._note(witness, what, COSIGNS, cosigned=cosigned.timestamp)
            else:
                self._note(witness, what, MISSING, answer.faults[witness.name])
        if answer.faults:
            self._rest(endpoint, MISSING, None)
            endpoint.partly = what.note if answer.cosignatures else None
        else:
            endpoint.pause = endpoint.resting_until = 0.0

    def _note_failure(self, endpoint: Endpoint, failed: WitnessFailed, what: Submission) -> None:
        if failed.stood_at is not None:
            endpoint.confirmed = failed.stood_at
        endpoint.partly = None
        self._rest(endpoint, failed.standing, failed.wait)
        for witness in endpoint.witnesses:
            # Only an auditor can be behind: any other that answers 503 has a fault.
            standing = MISSING if failed.standing == BEHIND and not witness.auditor else failed.standing
            # A URL in policy.txt may hold octets that are not UTF-8; the database takes none.
            why = str(failed)[:WHY_CHARACTERS].encode("utf-8", "backslashreplace").decode()
            self._note(witness, what, standing, why)

    @staticmethod
    def _rest(endpoint: Endpoint, standing: str, wait: float | None) -> None:
        """Leave it alone for as long as it asks for, or for twice as long as before."""
        if wait:
            endpoint.pause, rest = 0.0, max(SHORTEST_PAUSE_SECONDS, wait)
        else:
            longest = LONGEST_PAUSE_SECONDS[standing]
            rest = endpoint.pause = min(max(SHORTEST_PAUSE_SECONDS, 2 * endpoint.pause), longest)
        endpoint.resting_until = time.monotonic() + rest

    def _note(
        self,
        witness: Witness,
        what: Submission,
        standing: str,
        why: str = "",
        cosigned: int | None = None,
    ) -> None:
        vkey = witness.vkey.text
        before = self._progress.get(vkey)
        if before is None:
            return  # it left the policy meanwhile
        since = 0 if standing == COSIGNS else before.since or what.now
        after = replace(before, standing=standing, since=since, why=why)
        if cosigned is not None:
            after = replace(after, confirmed=what.checkpoint.size, cosigned=cosigned)
        if after != before:
            self._progress[vkey] = after
            self._changed.add(vkey)
        if after.standing != before.standing:
            if standing == COSIGNS:
                log.info("witness cosigns again", witness=witness.name, after_s=what.now - before.since)
            else:
                log.warning(
                    "witness does not cosign", witness=witness.name, standing=standing, since=since, why=why
                )

    def _is_absent(self, witness: Witness) -> bool:
        return self._progress[witness.vkey.text].standing != COSIGNS


async def _end(under_way: Collection[asyncio.Task[None]], client: httpx.AsyncClient) -> None:
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    await client.aclose()


def describe(witness: Witness, progress: WitnessProgress) -> str:
    """How a witness that gives no cosignature stands, in a sentence for the operator."""
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(progress.since))
    kind = "auditor" if witness.auditor else "witness"
    if progress.standing == BEHIND:
        return (
            f"{kind} {witness.name} is behind since {at}, which is no fault: it has still to check entries up to the"
            f" newest checkpoint, and is asked again ({progress.why})"
        )
    does = "refuses to cosign" if progress.standing == REFUSES else "is missing"
    return f"{kind} {witness.name} {does} since {at}: {progress.why}"
