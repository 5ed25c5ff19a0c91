"""A department's hand: signed records to all ledgers, the same bytes again after any error, every answer remembered."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass, field

import httpx
from cluster import Cluster
from smallledger import envelope, record

from ledger.core.encoding import b64encode
from ledger.core.merkle import leaf_hash
from ledger.core.promise import parse_promise

PATIENCE_S = 15.0
"""How long a sender waits for an answer before it asks somebody else."""

AT_ONCE = 12
LONGEST_S = 120.0
"""Once everything is whole again, what was handed in is answered within this time."""


@dataclass
class Answers:
    """What was answered; safe to read once the hands have stopped."""

    answered: dict[bytes, str] = field(default_factory=dict)  # entry → accepted, duplicate or published
    promises: dict[bytes, bytes] = field(default_factory=dict)  # entry → promise
    faults: list[str] = field(default_factory=list)  # what no ledger may ever answer
    errors: dict[str, int] = field(default_factory=dict)  # kinds of failure, and how often
    slowest: float = 0.0  # seconds to any answer, 503 and 429 included


class HandingIn:
    """Hands with a thread each: requests of up to AT_ONCE records, and `pause_s` after each that was taken."""

    def __init__(
        self, cluster: Cluster, answers: Answers, seed: int, hands: int = 2, pause_s: float = 0.15
    ) -> None:
        self.answers = answers
        self._cluster = cluster
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._hand, args=(random.Random(seed + number),), name=f"hand-{number}")
            for number in range(hands)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """No new records; those under way are handed in until they are answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(LONGEST_S + 2 * PATIENCE_S)
            assert not thread.is_alive(), "a hand does not stop"

    def _hand(self, chance: random.Random) -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            while not self._stop.is_set():
                try:
                    self._hand_in(client, chance)
                except Exception as error:
                    with self._lock:
                        self.answers.faults.append(f"the load itself failed: {error!r}")
                    return
                self._stop.wait(self._pause_s)

    def _hand_in(self, client: httpx.Client, chance: random.Random) -> None:
        today = int(time.time()) // 86_400
        raws = [record(day=today) for _ in range(chance.randint(1, AT_ONCE))]
        body = {
            "entries": [
                {
                    "entry": b64encode(raw),
                    "envelope": b64encode(envelope()),
                    "fetch": b64encode(os.urandom(32)),
                }
                for raw in raws
            ]
        }
        stopped = None
        while True:
            ledger = chance.choice(self._cluster.ledgers)
            begun = time.monotonic()
            try:
                answer = client.post(f"{ledger.url}/v1/entries", json=body)
            except httpx.HTTPError as error:
                self._note_error(type(error).__name__)
            else:
                with self._lock:
                    self.answers.slowest = max(self.answers.slowest, time.monotonic() - begun)
                if answer.status_code == 200:
                    return self._note(raws, answer.json()["results"])
                self._note_error(f"{answer.status_code} {answer.json().get('type', '').rpartition(':')[2]}")
            if self._stop.is_set():
                stopped = stopped or time.monotonic()
                assert time.monotonic() - stopped < LONGEST_S, "what was handed in is not answered any more"
            time.sleep(0.2)

    def _note_error(self, kind: str) -> None:
        with self._lock:
            errors = self.answers.errors
            errors[kind] = errors.get(kind, 0) + 1

    def _note(self, raws: list[bytes], results: list[dict[str, str]]) -> None:
        charter, found = self._cluster.charter, self.answers
        for raw, result in zip(raws, results, strict=True):
            status = result["status"]
            with self._lock:
                found.answered[raw] = status
                if status not in ("accepted", "duplicate", "published"):
                    found.faults.append(f"a good record is {result}")
                elif status == "accepted" and "promise" not in result:
                    found.faults.append("accepted without a promise")
            if "promise" in result:
                promise = parse_promise(result["promise"].encode(), charter.origin, charter.ledger)
                with self._lock:
                    found.promises[raw] = result["promise"].encode()
                    if promise.leaf != leaf_hash(raw):
                        found.faults.append("a promise is for another entry")
