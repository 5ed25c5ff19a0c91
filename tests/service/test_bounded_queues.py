"""What waits inside the ledger is bounded, and told apart in its counts: the inbox, the transaction, publication."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from livelog import LiveLedger, as_object
from smallledger import ORIGIN, SmallLedger, record, submission

from ledger.service import published
from ledger.service.acceptance import FEW, START_S, Acceptance, _Member
from ledger.service.body import MAX_ENTRIES
from ledger.service.checks import Candidate, Checked
from ledger.service.metrics import Metrics
from ledger.service.pressure import BELIEVED_S, LONGEST_S, Pressure
from ledger.service.problems import RequestRefused
from ledger.service.refusals import SAY_S, Refusals


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def after(pressure: Pressure) -> int | None:
    seconds = pressure.refusal().retry_after_s
    assert (pressure.refusal().status, pressure.refusal().reason) == (503, "inbox")
    return seconds


def test_a_full_inbox_asks_to_come_back_at_any_time() -> None:
    """Until a tenth is free, at the rate at which it was seen to be sequenced."""
    clock = Clock()
    pressure = Pressure(1000, clock, lambda low, _high: low)
    pressure.check()
    pressure.note(1000, 0)
    assert after(pressure) == 2, "nothing is known yet"
    clock.now += 2
    pressure.note(1100, 40)
    assert after(pressure) == 10, "200 at 20 a second"
    with pytest.raises(RequestRefused):
        pressure.check()
    clock.now += BELIEVED_S
    pressure.check()
    clock.now += 10
    pressure.note(1000, 41)
    assert after(pressure) == LONGEST_S


def test_each_refusal_is_a_line_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    clock, metrics = Clock(), Metrics()
    refusals = Refusals(metrics, clock)
    for _ in range(1000):
        refusals.note("full", "too much")
    refusals.note("inbox", "full")
    clock.now += SAY_S
    refusals.note("full", "too much")
    assert capsys.readouterr().out.count("busy") == 3
    assert b'glassbook_refused_requests_total{reason="full"} 1001.0' in metrics.text()


def member(acceptance: Acceptance, loop: asyncio.AbstractEventLoop, count: int) -> _Member:
    raw = record()
    view = acceptance._view
    candidate = Candidate(0, raw, b"", b"", None, None, 0, None)
    return _Member(Checked(view, view, {}, [candidate] * count, count), 0, loop.create_future())


def test_small_requests_wait_behind_the_transactions_of_large_ones(live: LiveLedger) -> None:
    acceptance = Acceptance(live.small.store, "log.example.gov/access/2026", 1000)
    loop = asyncio.new_event_loop()
    sizes = [MAX_ENTRIES, 4000, 1, 7000, FEW, 5000]
    acceptance._waiting.extend(member(acceptance, loop, size) for size in sizes)
    assert acceptance.to_write == sum(sizes)
    groups = []
    while acceptance._waiting:
        groups.append([len(one.checked.candidates) for one in acceptance._take_group()])
    assert groups == [[MAX_ENTRIES, 1, FEW], [4000, 5000], [7000]], "and no large one is passed by twice"
    loop.close()
    acceptance.close()


def test_any_number_waits_for_publication(live: LiveLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "WAITERS", 2)
    answers: list[int] = []

    def wait() -> None:
        found = live.client.post(
            "/v1/entries",
            params={"wait": "published"},
            json={"entries": [as_object(submission(record()))]},
        )
        answers.append(found.status_code)

    waiting = [threading.Thread(target=wait) for _ in range(2)]
    for thread in waiting:
        thread.start()
    deadline = time.monotonic() + 8
    while "glassbook_waiting_requests 2.0" not in live.client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    third = live.client.post("/v1/entries", params={"wait": "published"}, json={"entries": []})
    assert third.status_code == 503 and int(third.headers["retry-after"]) >= 1
    assert 'glassbook_refused_requests_total{reason="waiters"} 1.0' in live.client.get("/metrics").text
    assert live.post() == [], "who does not wait is answered"
    live.publishing()
    for thread in waiting:
        thread.join()
    assert answers == [200, 200]


def test_the_api_says_nothing_of_429_and_retry_after(live: LiveLedger) -> None:
    paths = live.client.get("/openapi.json").json()["paths"]
    for path, method in (
        ("/v1/entries", "post"),
        ("/v1/erasures", "post"),
        ("/v1/receipts/{leaf_hash}", "get"),
    ):
        answers = paths[path][method]["responses"]
        assert "Retry-After" in answers["429"]["headers"] and "Retry-After" in answers["503"]["headers"]


def test_a_start_for_which_there_are_too_few_threads_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SmallLedger(tmp_path)
    acceptance = Acceptance(ledger.store, ORIGIN, 1000)
    submit, asked = acceptance._checkers.submit, 0

    def submit_one(*job: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise RuntimeError("can't start new thread")
        return submit(*job)

    monkeypatch.setattr(acceptance._checkers, "submit", submit_one)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="new thread"):
        acceptance.start()
    acceptance.close()
    assert time.monotonic() - began < START_S / 2, "the one that had begun went on waiting for the others"
    ledger.close()
