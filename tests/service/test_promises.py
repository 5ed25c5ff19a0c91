"""Promises: one for each acceptance, the same however often it is asked for, and only for what is durable."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from engines import ENGINES, new_url
from livelog import NOON, LiveLedger, Server, as_object, codes
from smallledger import (
    CHARTER,
    LEDGER_KEY,
    NOW,
    ORIGIN,
    SOURCE_1_VERSION,
    SmallLedger,
    coverage,
    record,
    source_entry,
    statement,
    submission,
)

from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.promise import Promise, parse_promise, sign_promise
from ledger.keyfiles import LEDGER, write_key
from ledger.service.acceptance import Accepted, Duplicate
from ledger.service.app import create_app
from ledger.service.signatures import FEW, Signatures
from ledger.store import acceptances, publication
from ledger.store.engine import run


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def small(tmp_path: Path, engine: str) -> Iterator[SmallLedger]:
    small = SmallLedger(tmp_path, new_url(engine, tmp_path))
    yield small
    small.close()


def promised(result: dict[str, Any]) -> Promise:
    """The promise in an answer, checked as a department checks it."""
    return parse_promise(result["promise"].encode(), ORIGIN, LEDGER_KEY.public)


def test_every_acceptance_is_promised_and_no_refusal(live: LiveLedger) -> None:
    good, day = record(), coverage(1)
    results = live.post(*map(as_object, map(submission, (good, day, record(activity=9)))))
    assert codes(results) == ["accepted", "accepted", "rule-broken"]
    assert promised(results[0]) == Promise(ORIGIN, leaf_hash(good), NOW)
    assert promised(results[1]).leaf == leaf_hash(day)
    assert "promise" not in results[2]


def test_a_large_request_is_promised_as_a_small_one_is(live: LiveLedger) -> None:
    entries = [record() for _ in range(2 * FEW)]
    results = live.post(*(as_object(submission(raw)) for raw in entries))
    assert [promised(result).leaf for result in results] == [leaf_hash(raw) for raw in entries]


def test_lines_are_promised_as_documents_are(live: LiveLedger) -> None:
    body = "".join(json.dumps(as_object(submission(record()))) + "\n" for _ in range(3))
    answer = live.client.post("/v1/entries", content=body, headers={"Content-Type": "application/x-ndjson"})
    assert [promised(json.loads(line)).accepted for line in answer.text.splitlines()] == [NOW] * 3


def test_the_time_of_acceptance_does_not_move_on_a_retry_a_restart_or_with_sequencing(
    small: SmallLedger,
) -> None:
    raw = record()
    assert small.accept([raw], NOW) == small.accept([raw], NOW + 50)
    small.reopen()
    (again,) = small.accept([raw], NOW + 90)
    assert isinstance(again, Accepted) and again.accepted == NOW
    small.sequencer.step()
    later = record()
    (_, other) = small.accept([raw, later], NOW + 100)
    assert isinstance(other, Accepted) and other.accepted == NOW + 100
    small.sequencer.step()
    small.reopen()
    first, second = small.accept([raw, later], NOW + 3_000)
    assert isinstance(first, Duplicate) and first.accepted == NOW
    assert isinstance(second, Duplicate) and second.accepted == NOW + 100


def test_a_clock_that_was_set_back_is_promised_as_it_was(small: SmallLedger) -> None:
    early, late = record(), record()
    small.accept([late], NOW + 40)
    small.accept([early], NOW)
    found = small.accept([late, early], NOW + 60)
    assert [outcome.accepted for outcome in found if isinstance(outcome, Accepted)] == [NOW + 40, NOW]


def publish(small: SmallLedger, size: int) -> None:
    """Say that a checkpoint of this size is published."""
    with small.store.write() as db:
        run(db, "UPDATE publication SET published_size = ?, published_time = ? WHERE id = 1", (size, NOW))
        assert publication.read_publication(db).published_size == size


def test_what_is_published_is_owed_no_promise_and_what_is_not_keeps_its_time(small: SmallLedger) -> None:
    old, new = record(), record()
    small.accept([old], NOW)
    small.sequencer.step()
    size = small.size()
    small.accept([new], NOW + 10)
    small.sequencer.step()
    publish(small, size)
    for second in (20, 30):
        small.accept([record()], NOW + second)
        first, last = small.accept([old, new], NOW + second)
        assert isinstance(first, Duplicate) and first.accepted is None
        assert isinstance(last, Duplicate) and last.accepted == NOW + 10
    with small.store.read() as db:
        times = [row[0] for row in run(db, "SELECT accepted FROM acceptances ORDER BY first")]
    assert times == [NOW, NOW + 10, NOW + 20, NOW + 30], "the newest row before what is unpublished stays"
    publish(small, small.size())
    small.accept([record()], NOW + 40)
    with small.store.read() as db:
        assert acceptances.times_of(db, [1]) == {}


def test_a_duplicate_is_promised_until_it_is_published(live: LiveLedger) -> None:
    item = as_object(submission(record()))
    (first,) = live.post(item)
    live.small.sequencer.step()
    (again,) = live.post(item)
    assert (again["status"], again["promise"]) == ("duplicate", first["promise"])
    live.publishing()
    (published,) = live.post(as_object(submission(record())), wait=True)
    assert published["status"] == "published"
    assert "promise" not in published
    (done,) = live.post(item)
    assert done["status"] == "duplicate"
    assert "promise" not in done


def test_what_is_not_published_in_time_is_accepted_with_a_promise(tmp_path: Path) -> None:
    live = LiveLedger(tmp_path / "home", lambda: NOON, wait_s=1)
    try:
        (result,) = live.post(as_object(submission(record())), wait=True)
    finally:
        live.close()
    assert result["status"] == "accepted"
    assert promised(result).accepted == NOW


def test_without_its_key_the_ledger_accepts_nothing_and_says_why(live: LiveLedger) -> None:
    server = Server(create_app(live.settings, live.small.store, clock=lambda: NOON, key=None))
    try:
        ready = httpx.get(f"{server.url}/readyz")
        posted = httpx.post(f"{server.url}/v1/entries", json={"entries": [as_object(submission(record()))]})
    finally:
        server.close()
    for answer in (ready, posted):
        assert answer.status_code == 503
        assert "ledger.key" in answer.json()["detail"]
    assert live.small.size() == 4


def test_serve_refuses_a_key_that_is_not_the_charters(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    SmallLedger(home).close()
    (home / "glassbook.toml").write_text(f'origin = "{ORIGIN}"\n')
    write_key(home / "keys" / LEDGER, Ed25519PrivateKey.generate(), None)
    command = [sys.executable, "-c", "from ledger.cli import main; main()", "ledger", "serve", str(home)]
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert (ran.returncode, "is not the ledger key of the charter" in ran.stderr) == (3, True)
    write_key(home / "keys" / LEDGER, LEDGER_KEY, b"a passphrase")
    ran = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert (ran.returncode, "--passphrase-file" in ran.stderr) == (3, True)


@pytest.mark.parametrize(
    "origin", [ORIGIN, "a", 'log.example/quote"and\\backslash', "log.example/é", "log.example/" + "A" * 50]
)
def test_many_promises_are_what_one_is_byte_for_byte(origin: str) -> None:
    signatures = Signatures()
    leaves = [bytes(32), leaf_hash(CHARTER), b"\xff" * 32]
    times = [0, 9, 1_782_997_000, 1_782_997_001, 2**53 - 1]
    few = [(leaf, accepted) for accepted in times for leaf in leaves]
    for asked in ([], few[:1], few, few * 5, [(leaf_hash(bytes([n])), NOW) for n in range(FEW)]):
        expected = [sign_promise(Promise(origin, *one), LEDGER_KEY) for one in asked]
        assert signatures.promise(origin, LEDGER_KEY, asked) == expected
    assert len(signatures._children) == 1
    signatures.close()


class InToken:
    """A key that only signs."""

    public = LEDGER_KEY.public

    def sign(self, message: bytes) -> bytes:
        return LEDGER_KEY.sign(message)


def test_a_key_in_a_token_is_asked_of_a_child() -> None:
    signatures = Signatures()
    asked = [(leaf_hash(bytes([n])), NOW + n % 3) for n in range(FEW)]
    expected = [sign_promise(Promise(ORIGIN, *one), LEDGER_KEY) for one in asked]
    assert signatures.promise(ORIGIN, InToken(), asked) == expected
    assert not signatures._children


def test_a_killed_process_costs_time_and_no_promise() -> None:
    signatures = Signatures()
    asked = [(leaf_hash(bytes([n])), NOW + n) for n in range(FEW)]
    first = signatures.promise(ORIGIN, LEDGER_KEY, asked)
    (child,) = signatures._children
    child.kill()
    child.wait()
    assert signatures.promise(ORIGIN, LEDGER_KEY, asked) == first
    assert first == [sign_promise(Promise(ORIGIN, *one), LEDGER_KEY) for one in asked]
    signatures.close()


class Serving:
    """`glassbook ledger serve` as a process, on a folder with a log."""

    def __init__(self, home: Path, *words: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            at = f"127.0.0.1:{free.getsockname()[1]}"
        (home / "keys").mkdir(parents=True)
        SmallLedger(home).close()
        (home / "glassbook.toml").write_text(f'origin = "{ORIGIN}"\n[ledger]\nlisten = "{at}"\n')
        self.url = f"http://{at}"
        self._command = [sys.executable, "-c", "from ledger.cli import main; main()", "ledger", "serve"]
        self._words = [str(home), *words]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, *self._words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/healthz")
                return
            except httpx.TransportError:
                assert self._process.poll() is None, "it ended"
                time.sleep(0.1)
        raise AssertionError("it does not answer")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)


def test_serve_opens_an_encrypted_key_and_promises_the_same_after_a_restart(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    serving = Serving(tmp_path / "home", "--passphrase-file", str(secret))
    write_key(tmp_path / "home" / "keys" / LEDGER, LEDGER_KEY, b"correct horse")
    # A registry entry is good under any clock, which here is the machine's own.
    entry = source_entry(1, statement(seal_months=1), SOURCE_1_VERSION)
    body = {"entries": [as_object(submission(entry))]}
    answers = []
    for _ in range(2):
        try:
            serving.start()
            assert httpx.get(f"{serving.url}/readyz").status_code == 200
            (result,) = httpx.post(f"{serving.url}/v1/entries", json=body).json()["results"]
            answers.append(result["promise"])
            time.sleep(1.1)  # past the second that the promise states
        finally:
            serving.stop()
    assert answers[0] == answers[1]
    assert abs(promised({"promise": answers[0]}).accepted - time.time()) < 120


def test_serve_runs_without_its_key_and_is_not_ready(tmp_path: Path) -> None:
    serving = Serving(tmp_path / "home")
    try:
        serving.start()
        answer = httpx.get(f"{serving.url}/readyz")
    finally:
        serving.stop()
    assert (answer.status_code, "ledger.key" in answer.json()["detail"]) == (503, True)
