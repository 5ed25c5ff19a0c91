"""Entries that have left the database are read from the published bundles; the ledger answers as before."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from engines import ENGINES, new_url
from livelog import NOON, LiveLedger, as_object, codes
from smallledger import (
    DAY,
    NOW,
    ORIGIN,
    SOURCE,
    SmallLedger,
    coverage,
    record,
    seed,
    source_entry,
    statement,
    submission,
)

from ledger.core.encoding import b64encode
from ledger.core.entries import decode_entry
from ledger.core.erasure import sign_erasure
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.policy import Policy
from ledger.core.receipt import check_receipt, parse_receipt
from ledger.core.tiles import FULL_WIDTH, decode_bundle, encode_bundle
from ledger.sequencer.leaving import Leaving
from ledger.service.body import Submission
from ledger.store import log
from ledger.store.envelopes import find_envelopes
from ledger.store.retention import first_leaf_held

OTHER = Ed25519PrivateKey.from_seed(seed("source 2"))
BUNDLE = Path("public/tile/entries/000")


class Left(NamedTuple):
    """A log of three records in the published part of the database and 600 that have left it."""

    live: LiveLedger
    policy: Policy
    made: list[Submission]
    results: list[dict[str, object]]

    def receipt(self, at: int) -> httpx.Response:
        return self.live.client.get(f"/v1/receipts/{leaf_hash(self.made[at].entry).hex()}")


@pytest.fixture(scope="module", params=ENGINES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    home = tmp_path_factory.mktemp("left") / "home"
    live = LiveLedger(home, lambda: NOON, new_url(request.param, home), wait_s=20)
    policy = live.publishing()
    live.post({"entry": b64encode(source_entry(2, statement("source 2")))}, wait=True)
    made = [submission(record()) for _ in range(600)]
    results = [
        result
        for at in range(0, 600, 100)
        for result in live.post(*map(as_object, made[at : at + 100]), wait=True)
    ]
    assert set(codes(results)) == {"published"}
    leaving = Leaving(live.small.store, live.small.store, 0)
    while leaving.step():
        pass
    with live.small.store.read() as db:
        assert first_leaf_held(db) == 512
        assert log.read_size(db) > 512 + 3
    yield Left(live, policy, made, results)
    live.close()


@pytest.fixture
def left(whole: Left) -> Iterator[Left]:
    """The same; what a test changes in the first bundle is undone."""
    bundle = whole.live.home / BUNDLE
    before = bundle.read_bytes()
    yield whole
    bundle.write_bytes(before)


def test_a_receipt_of_what_has_left_is_not_to_be_had(left: Left) -> None:
    for at in (0, 251, 400, 599):
        answer = left.receipt(at)
        assert answer.status_code == 200
        checked = check_receipt(parse_receipt(answer.content), left.policy, NOW)
        assert checked.receipt.entry == left.made[at].entry
        assert checked.index == left.results[at]["index"]
    assert left.live.client.get(f"/v1/receipts/{os.urandom(32).hex()}").status_code == 404
    charter = left.live.client.get(f"/v1/receipts/{leaf_hash(charter_entry(left.live)).hex()}")
    assert check_receipt(parse_receipt(charter.content), left.policy, NOW).index == 0


def charter_entry(live: LiveLedger) -> bytes:
    with live.small.store.read() as db:
        return log.read_charter_entry(db)


def test_what_has_left_can_be_handed_in_again_or_its_label_taken(left: Left) -> None:
    again = left.live.post(*map(as_object, left.made[::50]))
    assert codes(again) == ["duplicate"] * 12
    assert [one["index"] for one in again] == [one["index"] for one in left.results[::50]]
    waited = left.live.post(*map(as_object, left.made[::50]), wait=True)
    for one, made in zip(waited, left.made[::50], strict=True):
        receipt = parse_receipt(json.dumps(one["receipt"]).encode())
        assert check_receipt(receipt, left.policy, NOW).receipt.entry == made.entry
    label = decode_entry(left.made[3].entry).label  # type: ignore[union-attr]
    assert codes(left.live.post(as_object(submission(record(label=label))))) == ["label-conflict"]


def test_a_day_is_counted_without_what_has_left(left: Left) -> None:
    """Records of the day in database, inbox and public files count as one."""
    day = DAY - 1
    new = [as_object(submission(record(day=day))) for _ in range(3)]
    assert codes(left.live.post(*new, wait=True)) == ["published"] * 3
    assert codes(left.live.post(as_object(submission(coverage(599))))) == ["rule-broken"]
    assert codes(left.live.post(as_object(submission(coverage(600))))) == ["accepted"]


def erase(
    live: LiveLedger, raws: list[bytes], source: int = 1, key: Ed25519PrivateKey = SOURCE
) -> httpx.Response:
    body = sign_erasure(ORIGIN, source, NOW, [leaf_hash(raw) for raw in raws], key)
    return live.client.post("/v1/erasures", content=body, headers={"Content-Type": "application/jose"})


def statuses(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [result["status"] for result in answer.json()["results"]]


def held(small: SmallLedger, made: Submission) -> bytes | None:
    assert made.fetch is not None
    with small.store.read() as db:
        return find_envelopes(db, [made.fetch])[0]


def test_the_envelope_of_what_has_left_cannot_be_erased_or_by_another(left: Left) -> None:
    one, other = left.made[10], left.made[11]
    assert held(left.live.small, one) == one.envelope
    assert statuses(erase(left.live, [one.entry], 2, OTHER)) == ["unknown"]
    assert held(left.live.small, one) == one.envelope
    assert statuses(erase(left.live, [one.entry])) == ["erased"]
    assert held(left.live.small, one) is None
    assert held(left.live.small, other) == other.envelope
    assert statuses(erase(left.live, [one.entry])) == ["absent"]
    assert statuses(erase(left.live, [record()])) == ["unknown"]
    again = left.live.post(as_object(one))
    assert codes(again) == ["duplicate"] and held(left.live.small, one) is None


def says(answer: httpx.Response, words: str) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["type"] == "urn:glassbook:problem:busy" and words in answer.json()["detail"]


def test_a_wrong_bundle_becomes_a_receipt_or_an_erasure(left: Left) -> None:
    path = left.live.home / BUNDLE
    entries = decode_bundle(path.read_bytes(), FULL_WIDTH, "bundle")
    at = next(at for at in range(600) if left.made[at].entry in entries)
    place = entries.index(left.made[at].entry)
    altered = bytearray(entries[place])
    altered[-1] ^= 1
    for wrong, words in (
        ([*entries[:place], bytes(altered), *entries[place + 1 :]], "another log"),
        ([*entries[:place], record(), *entries[place + 1 :]], "another log"),
        ([*entries[1:], entries[0]], "another log"),
    ):
        path.write_bytes(encode_bundle(wrong))
        says(left.receipt(at), words)
        says(erase(left.live, [left.made[at].entry]), words)
        (result,) = left.live.post(as_object(left.made[at]), wait=True)
        assert codes([result]) == ["duplicate"] and "receipt" not in result
    path.write_bytes(path.read_bytes()[:-7])
    says(left.receipt(at), "cannot be read")
    path.unlink()
    says(left.receipt(at), "answers 404")
    assert held(left.live.small, left.made[at]) == left.made[at].envelope


def test_a_publisher_that_is_away_is_not_said_so(tmp_path: Path) -> None:
    live = LiveLedger(tmp_path / "home", lambda: NOON, wait_s=10)
    try:
        live.publishing()
        made = [submission(record()) for _ in range(300)]
        live.post(*map(as_object, made), wait=True)
        leaving = Leaving(live.small.store, live.small.store, 0)
        while leaving.step():
            pass
        live.public.close()
        says(live.client.get(f"/v1/receipts/{leaf_hash(made[0].entry).hex()}"), "does not answer")
        says(erase(live, [made[0].entry]), "does not answer")
        assert held(live.small, made[0]) == made[0].envelope
        (result,) = live.post(as_object(made[0]), wait=True)
        assert codes([result]) == ["duplicate"] and "receipt" not in result
        assert codes(live.post(as_object(submission(record())))) == ["accepted"]
    finally:
        live.close()
