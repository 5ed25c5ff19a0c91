"""Receipts that a department can check with its policy alone, and what is said before there is one."""

from __future__ import annotations

import json
import threading

from livelog import LiveLedger, as_object, codes
from smallledger import NOW, SOURCE_1, coverage, record, submission

from ledger.core.encoding import sha256
from ledger.core.entries import IndexRoot
from ledger.core.merkle import leaf_hash
from ledger.core.receipt import check_receipt, parse_receipt
from ledger.store.witnesses import WitnessProgress, write_witnesses


def test_waiting_for_publication_answers_with_receipts_that_hold(live: LiveLedger) -> None:
    policy = live.publishing()
    raws = [record() for _ in range(300)]
    results = live.post(*(as_object(submission(raw)) for raw in raws), {"entry": "AA=="}, wait=True)
    assert codes(results) == ["published"] * 300 + ["malformed-entry"]
    for raw, result in zip(raws[::37], results[:300:37], strict=True):
        checked = check_receipt(parse_receipt(json.dumps(result["receipt"]).encode()), policy, NOW)
        assert checked.receipt.entry == raw
        assert checked.index == result["index"]
        assert isinstance(checked.index_root, IndexRoot)
    again = live.post(as_object(submission(raws[0])), wait=True)
    assert codes(again) == ["duplicate"]
    assert again[0]["index"] == results[0]["index"]
    assert parse_receipt(json.dumps(again[0]["receipt"]).encode()).entry == raws[0]


def test_ndjson_waits_as_well_and_answers_in_ndjson(live: LiveLedger) -> None:
    live.publishing()
    body = json.dumps(as_object(submission(record()))).encode()
    answer = live.client.post(
        "/v1/entries?wait=published", content=body, headers={"Content-Type": "application/x-ndjson"}
    )
    assert codes([json.loads(line) for line in answer.text.splitlines()]) == ["published"]


def test_every_kind_of_entry_gets_a_receipt_by_its_leaf_hash(live: LiveLedger) -> None:
    policy = live.publishing()
    raws = [record(), coverage(1), SOURCE_1]
    live.post(*(as_object(submission(raw)) for raw in raws), wait=True)
    for raw in raws:
        answer = live.client.get(f"/v1/receipts/{leaf_hash(raw).hex()}")
        assert answer.status_code == 200
        assert check_receipt(parse_receipt(answer.content), policy, NOW).receipt.entry == raw


def test_an_entry_not_yet_published_is_202_and_an_unknown_one_404(live: LiveLedger) -> None:
    raw = record()
    address = f"/v1/receipts/{leaf_hash(raw).hex()}"
    assert live.client.get(address).status_code == 404
    live.post(as_object(submission(raw)))
    answer = live.client.get(address)
    assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    live.small.sequencer.step()
    answer = live.client.get(address)
    about = {"status": "sequenced", "index": 4, "published_size": 0}
    assert (answer.status_code, answer.json()) == (202, about)
    assert live.client.get(f"/v1/receipts/{sha256(b'another').hex()}").status_code == 404


def test_a_leaf_hash_has_one_way_to_be_written(live: LiveLedger) -> None:
    leaf = leaf_hash(SOURCE_1).hex()
    for wrong in (leaf.upper(), leaf[:-1], leaf + "0", leaf[:-1] + "g", leaf[:-1] + "%20"):
        answer = live.client.get(f"/v1/receipts/{wrong}")
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:glassbook:problem:bad-request")


def test_waiting_ends_and_says_accepted_when_nothing_is_published(live: LiveLedger) -> None:
    object.__setattr__(live.settings, "wait_s", 1)
    assert codes(live.post(as_object(submission(record())), wait=True)) == ["accepted"]


def test_what_is_sequenced_and_not_published_is_said_to_be_that(live: LiveLedger) -> None:
    object.__setattr__(live.settings, "wait_s", 1)
    raw = record()
    sequencing = threading.Timer(0.3, live.small.sequencer.step)
    sequencing.start()
    (result,) = live.post(as_object(submission(raw)), wait=True)
    sequencing.join()
    assert (result["status"], result["index"]) == ("accepted", 4) and "promise" in result
    with live.small.store.write() as db:
        absent = WitnessProgress("witness.example/w1+0+k", 0, 0, "missing", NOW, "answered 500")
        write_witnesses(db, [absent])
    ready = live.client.get("/readyz")
    assert ready.status_code == 200, "entries are taken all the same"
    about = ready.json()
    assert (about["sequenced_size"], about["published_size"]) == (6, 0)
    missing = {"name": "witness.example/w1", "standing": "missing", "since": NOW}
    assert about["witnesses_missing"] == [missing]
    assert "glassbook_published_entries 0.0\n" in live.client.get("/metrics").text
