"""What goes wrong around the ledger: it says so, takes nothing half, and loses nothing that it accepted."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from livelog import NOON, LiveLedger, Server, as_object, codes
from smallledger import LEDGER_KEY, NOW, ORIGIN, SOURCE_1_VERSION, record, source_entry, statement, submission
from sqlalchemy import event

from ledger.core.encoding import b64encode
from ledger.core.merkle import leaf_hash
from ledger.service.app import create_app
from ledger.service.pressure import BELIEVED_S
from ledger.store import inbox, log, publication, sqlite
from ledger.store.engine import run


def counts(live: LiveLedger) -> tuple[int, int, int]:
    """Entries that wait, envelopes and registrations."""
    with live.small.store.read() as db:
        kept = [
            run(db, f"SELECT COUNT(*) FROM {table}").scalar_one() for table in ("envelopes", "registrations")
        ]
        return inbox.backlog(db), kept[0], kept[1]


def busy(live: LiveLedger, *items: object) -> httpx.Response:
    answer = live.client.post("/v1/entries", json={"entries": list(items)})
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:glassbook:problem:busy"
    assert int(answer.headers["retry-after"]) >= 1
    return answer


def test_a_locked_database_is_503_and_the_same_request_works_later(
    live: LiveLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    item = as_object(submission(record()))
    other = sqlite3.connect(live.small.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "locked" in busy(live, item).json()["detail"]
    other.execute("COMMIT")
    other.close()
    assert codes(live.post(item)) == ["accepted"]


def test_what_waits_for_a_silent_database_when_the_ledger_ends_gets_a_500_or_a_traceback_is_logged(
    live: LiveLedger, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(live.settings, live.small.store, clock=live.clock, key=LEDGER_KEY)
    server = Server(app)
    other = sqlite3.connect(live.small.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        body = {"entries": [as_object(submission(record()))]}
        waiting = pool.submit(httpx.post, f"{server.url}/v1/entries", json=body, timeout=30)
        time.sleep(0.5)
        server.begin_to_end()
        answer = waiting.result()
    other.execute("COMMIT")
    other.close()
    server.close()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:glassbook:problem:busy")
    assert "the ledger ends" in answer.json()["detail"] and answer.headers["retry-after"] == "1"
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_full_disk_is_503_and_nothing_is_half_written(live: LiveLedger) -> None:
    before = counts(live)
    with live.small.store.read() as db:
        pages = int(run(db, "PRAGMA page_count").scalar_one())
    limit = pages + 1

    def set_limit(db: Any) -> None:
        db.exec_driver_sql(f"PRAGMA max_page_count = {limit}")

    event.listen(live.small.store.engine, "begin", set_limit)
    items = [as_object(submission(record())) for _ in range(50)]
    items.append({"entry": b64encode(source_entry(2, statement("b")))})
    assert "disk is full" in busy(live, *items).json()["detail"]
    assert counts(live) == before
    limit = 1_000_000
    assert codes(live.post(*items)) == ["accepted"] * 51
    live.small.sequencer.step()
    assert live.small.violations() == []


def test_a_clock_before_the_last_checkpoint_is_said_and_nothing_is_taken(live: LiveLedger) -> None:
    with live.small.store.write() as db:
        row = publication.read_publication(db)
        assert publication.swap_signed(db, row, 4, b"note")
        row = publication.read_publication(db)
        assert publication.swap_published(db, row, 4, b"note", NOW + 301)
    assert "clock" in busy(live, as_object(submission(record()))).json()["detail"]
    ready = live.client.get("/readyz")
    assert (ready.status_code, "clock" in ready.json()["detail"]) == (503, True)
    assert counts(live)[0] == 0


def test_a_full_inbox_is_503_until_the_sequencer_has_caught_up(tmp_path: Path) -> None:
    live = LiveLedger(tmp_path / "home", lambda: NOON, inbox_limit=3)
    try:
        items = [as_object(submission(record())) for _ in range(3)]
        assert codes(live.post(*items)) == ["accepted"] * 3
        assert "wait" in busy(live, as_object(submission(record()))).json()["detail"]
        assert live.client.get("/readyz").status_code == 503
        live.small.sequencer.step()
        assert live.client.get("/readyz").status_code == 200
        time.sleep(BELIEVED_S)  # far less than Retry-After asked for
        assert codes(live.post(as_object(submission(record())))) == ["accepted"]
    finally:
        live.close()


def publish_without_publisher(live: LiveLedger) -> None:
    """Let the database say that everything is published."""
    with live.small.store.write() as db:
        row, size = publication.read_publication(db), log.read_size(db)
        assert publication.swap_signed(db, row, size, b"note")
        assert publication.swap_published(db, publication.read_publication(db), size, b"note", NOW)


def test_a_publisher_that_is_away_is_503_for_receipts_and_nothing_else(live: LiveLedger) -> None:
    raw = record()
    live.post(as_object(submission(raw)))
    live.small.sequencer.step()

    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    server = Server(
        create_app(
            live.settings,
            live.small.store,
            clock=lambda: NOON,
            key=LEDGER_KEY,
            publisher=httpx.MockTransport(away),
        )
    )
    try:
        with httpx.Client(base_url=server.url) as client:
            address = f"/v1/receipts/{leaf_hash(raw).hex()}"
            answer = client.get(address)
            about = {"status": "sequenced", "index": 4, "published_size": 0}
            assert (answer.status_code, answer.json()) == (202, about), "that much it knows by itself"
            publish_without_publisher(live)
            answer = client.get(address)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert client.post("/v1/entries", json={"entries": []}).status_code == 200
            item = as_object(submission(raw))
            results = client.post("/v1/entries?wait=published", json={"entries": [item]}).json()["results"]
            assert results == [{"status": "duplicate", "index": 4}]
    finally:
        server.close()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 50_000, b'{"checkpoint": 1, "index_root": {}, "proofs": []}']
)
def test_a_publisher_that_answers_nonsense_is_503(live: LiveLedger, content: bytes) -> None:
    raw = record()
    live.post(as_object(submission(raw)))
    live.small.sequencer.step()
    publish_without_publisher(live)
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=content))
    server = Server(
        create_app(live.settings, live.small.store, clock=lambda: NOON, key=LEDGER_KEY, publisher=transport)
    )
    try:
        with httpx.Client(base_url=server.url) as client:
            assert client.get(f"/v1/receipts/{leaf_hash(raw).hex()}").status_code == 503
    finally:
        server.close()


def test_many_at_once_get_each_their_own_answer_and_every_record_once(live: LiveLedger) -> None:
    shared = [as_object(submission(record())) for _ in range(5)]
    own = [[as_object(submission(record())) for _ in range(20)] for _ in range(8)]

    def post(items: list[dict[str, str]]) -> list[str]:
        with httpx.Client(base_url=live.server.url, timeout=30) as client:
            answer = client.post("/v1/entries", json={"entries": [*items, *shared, {"entry": "AA=="}]})
            return codes(answer.json()["results"])

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(post, own):
            assert found == ["accepted"] * 25 + ["malformed-entry"]
    live.small.sequencer.step()
    assert live.small.size() == 4 + 8 * 20 + 5 + 1
    assert live.small.violations() == []


def test_records_and_a_revocation_at_once_never_leave_a_violation(live: LiveLedger) -> None:
    revoked = source_entry(1, statement(status="revoked", revoked="2026-01-01"), SOURCE_1_VERSION)
    batches = [[as_object(submission(record())) for _ in range(30)] for _ in range(6)]
    batches.insert(3, [{"entry": b64encode(revoked)}])

    def post(items: list[dict[str, str]]) -> list[str]:
        with httpx.Client(base_url=live.server.url, timeout=30) as client:
            return codes(client.post("/v1/entries", json={"entries": items}).json()["results"])

    with ThreadPoolExecutor(7) as pool:
        found = [set(answer) for answer in pool.map(post, batches)]
    assert found[3] == {"accepted"}
    assert all(answer in ({"accepted"}, {"source-revoked"}) for answer in found)
    accepted = sum(30 for at, answer in enumerate(found) if at != 3 and answer == {"accepted"})
    live.small.sequencer.step()
    assert live.small.size() == 4 + accepted + 1 + 1
    assert live.small.violations() == []


def test_a_second_service_on_the_same_database_sees_the_same_register_and_labels(live: LiveLedger) -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(500))
    server = Server(
        create_app(live.settings, live.small.store, clock=lambda: NOON, key=LEDGER_KEY, publisher=transport)
    )
    try:
        with httpx.Client(base_url=server.url) as client:

            def post(*raws: bytes) -> list[str]:
                items = [as_object(submission(raw)) for raw in raws]
                return codes(client.post("/v1/entries", json={"entries": items}).json()["results"])

            raw = record()
            assert codes(live.post(as_object(submission(raw)))) == ["accepted"]
            assert post(raw) == ["accepted"]
            assert codes(live.post({"entry": b64encode(source_entry(2, statement("b")))})) == ["accepted"]
            assert post(source_entry(2, statement("b")), source_entry(3, statement("c"))) == ["accepted"] * 2
            assert codes(live.post({"entry": b64encode(source_entry(4, statement("d")))})) == ["accepted"]
    finally:
        server.close()
    live.small.sequencer.step()
    assert live.small.violations() == []


def test_nothing_handed_in_is_ever_logged_or_answered(
    live: LiveLedger, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secret = "Elin-Evans-9434765919"
    item = as_object(submission(record()))
    answers = [
        live.client.post(
            "/v1/entries", json={"entries": [{**item, secret: secret}, {"entry": secret}, secret]}
        ),
        live.client.post("/v1/entries", content=secret, headers={"Content-Type": "application/x-ndjson"}),
        live.client.post("/v1/entries", content=secret, headers={"Content-Type": secret}),
        live.client.post(f"/v1/entries?{secret}", json={"entries": []}),
        live.client.get(f"/v1/receipts/{secret}"),
        live.client.get(f"/{secret}"),
        live.client.post("/v1/entries", json={"entries": [item]}),
    ]
    seen = capfd.readouterr()
    # This test's own client logs the addresses it asks; the service does not.
    caught = [line for line in caplog.text.splitlines() if "httpx" not in line]
    everything = "".join(answer.text for answer in answers) + "".join(caught) + seen.out + seen.err
    assert secret not in everything
    assert item["entry"][24:90] not in everything
    assert "127.0.0.1" not in seen.err.replace(live.server.url, "")


def test_an_unexpected_fault_answers_500_without_a_word_about_the_request(
    live: LiveLedger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "Elin-Evans-9434765919"

    def fail(*_args: object) -> None:
        raise RuntimeError(secret)

    monkeypatch.setattr(inbox, "backlog", fail)
    answer = live.client.post("/v1/entries", json={"entries": [as_object(submission(record()))]})
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:glassbook:problem:internal")
    seen = capfd.readouterr()
    assert secret not in answer.text + seen.out + seen.err
    assert "RuntimeError" in seen.out + seen.err
    monkeypatch.undo()
    assert codes(live.post(as_object(submission(record())))) == ["accepted"]


def test_a_client_that_goes_away_in_the_middle_leaves_nothing_and_no_fault(
    live: LiveLedger, capfd: pytest.CaptureFixture[str]
) -> None:
    before = counts(live)
    body = json.dumps({"entries": [as_object(submission(record()))]}).encode()
    headers = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"POST /v1/entries HTTP/1.1\r\n{headers}\r\n"
    address = live.server.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as gone:
        gone.sendall(head.encode() + body[: len(body) // 2])
        time.sleep(0.1)
    time.sleep(0.1)
    assert codes(live.post()) == []
    assert counts(live) == before
    seen = capfd.readouterr()
    assert "failed" not in seen.out + seen.err


def test_metrics_count_outcomes_by_code(live: LiveLedger) -> None:
    live.post(as_object(submission(record())), {"entry": "AA=="})
    text = live.client.get("/metrics").text
    assert 'glassbook_entries_total{outcome="accepted"} 1.0' in text
    assert 'glassbook_entries_total{outcome="malformed-entry"} 1.0' in text
    assert "glassbook_inbox_entries 1.0" in text
    assert "glassbook_log_entries 4.0" in text


def test_health_and_readiness_are_two_things(live: LiveLedger) -> None:
    assert live.client.get("/healthz").json() == {"status": "ok"}
    assert live.client.get("/readyz").json()["status"] == "ready"


def test_the_api_describes_itself(live: LiveLedger) -> None:
    found = live.client.get("/openapi.json").json()
    assert set(found["paths"]) == {
        "/v1/entries",
        "/v1/receipts/{leaf_hash}",
        "/v1/erasures",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    body = found["paths"]["/v1/entries"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/x-ndjson"}
    assert json.dumps(found)
    assert ORIGIN not in json.dumps(found)
    with live.small.store.read() as db:
        assert log.has_log(db)
