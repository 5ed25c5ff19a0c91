"""The load generator: requests made before the clock starts, and connections that send them.

What a department makes (signature, label, envelope) is not what is measured, so it is ready beforehand. Sending costs
a few microseconds an entry, most of them the kernel's: the load generator runs on the same cores and counts.
"""

from __future__ import annotations

import http.client
import json
import queue
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple

from bench.logs import BenchSource
from ledger.core.encoding import b64encode

# The plaintext is 2 KiB; version, nonce and tag come on top (docs/formats.md §4).
ENVELOPE_BYTES = 2048 + 29


class Prepared(NamedTuple):
    """A request's body, the entries in it, and what fetches the envelope of each record."""

    body: bytes
    entries: list[bytes]
    tokens: list[bytes]


Answered = Callable[[Prepared, bytes], None]
"""Is called in the sending thread with each answer in which every entry is accepted."""


def prepare(source: BenchSource, sizes: Sequence[int]) -> list[Prepared]:
    """A request for each of these numbers of entries: signed records with random labels, and random envelopes."""
    return [_prepare(source, size) for size in sizes]


def _prepare(source: BenchSource, size: int) -> Prepared:
    entries = [source.record(secrets.token_bytes(32), secrets.token_bytes(32)) for _ in range(size)]
    return request_of(entries)


def request_of(entries: Sequence[bytes], with_envelopes: bool = True) -> Prepared:
    """A request that hands these entries in; coverages have no envelopes."""
    submissions = []
    tokens = [secrets.token_bytes(32) for _ in entries if with_envelopes]
    for number, entry in enumerate(entries):
        submission = {"entry": b64encode(entry)}
        if with_envelopes:
            # A ledger cannot tell an envelope from random bytes, and must not be able to.
            envelope = b"\x01" + secrets.token_bytes(ENVELOPE_BYTES - 1)
            fetch = b64encode(sha256(tokens[number]).digest())
            submission |= {"envelope": b64encode(envelope), "fetch": fetch}
        submissions.append(submission)
    body = json.dumps({"entries": submissions}, separators=(",", ":")).encode()
    return Prepared(body, list(entries), tokens)


class Connection:
    """One kept-open connection to a ledger (`HOST:PORT`)."""

    def __init__(self, address: str) -> None:
        self._http = http.client.HTTPConnection(address, timeout=120)
        self.busy = 0
        """How often the ledger said that it is busy."""

    def hand_in(self, request: Prepared, query: str = "") -> bytes:
        """The answer to a request; a busy ledger is asked again when it says. RuntimeError unless it took all."""
        while True:
            response, answer = self._post(f"/v1/entries{query}", request.body)
            if response.status == 200:
                break
            if response.status not in (429, 503):
                raise RuntimeError(f"the ledger answered {response.status}")
            self.busy += 1
            time.sleep(float(response.headers.get("Retry-After", "1")))
        taken = answer.count(b'"status":"accepted"') + answer.count(b'"status":"published"')
        if taken != len(request.entries):
            raise RuntimeError(f"the ledger did not accept every entry of a request: {answer[:300]!r}")
        return answer

    def _post(self, path: str, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        headers = {"Content-Type": "application/json"}
        try:
            self._http.request("POST", path, body, headers)
            response = self._http.getresponse()
        except ConnectionError:
            # Servers close connections that were idle for a while; sent again, nothing is logged twice.
            self._http.close()
            self._http.request("POST", path, body, headers)
            response = self._http.getresponse()
        return response, response.read()

    def close(self) -> None:
        self._http.close()


def send_all(
    addresses: Sequence[str], connections: int, requests: Sequence[Prepared], answered: Answered | None = None
) -> None:
    """Send every request over so many connections, in turn to the addresses, each as fast as it is answered."""
    waiting: queue.SimpleQueue[Prepared] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)

    def send(address: str) -> None:
        connection = Connection(address)
        while True:
            try:
                request = waiting.get_nowait()
            except queue.Empty:
                connection.close()
                return
            answer = connection.hand_in(request)
            if answered is not None:
                answered(request, answer)

    with ThreadPoolExecutor(connections) as pool:
        for done in [pool.submit(send, addresses[n % len(addresses)]) for n in range(connections)]:
            done.result()
