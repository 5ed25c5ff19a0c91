"""`POST /v1/erasures`: envelopes deleted on the word of their source alone, and nothing else with them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from engines import ENGINES
from livelog import NOON, LiveLedger, as_object
from smallledger import (
    DAY,
    NOW,
    ORIGIN,
    SOURCE,
    SOURCE_1_VERSION,
    SmallLedger,
    coverage,
    record,
    seed,
    source_entry,
    statement,
    submission,
)

from ledger.core.encoding import b64encode, b64url_encode
from ledger.core.erasure import AGE_S, AHEAD_S, MAX_LEAVES, TYP, sign_erasure
from ledger.core.jose import jwk, sign_jws
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.statements import parse_charter, parse_source
from ledger.service.body import Submission
from ledger.store import Store
from ledger.store.envelopes import find_envelopes

OTHER = Ed25519PrivateKey.from_seed(seed("source 2"))


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def erase(
    live: LiveLedger, body: bytes | str, code: int = 200, kind: str = "application/jose"
) -> dict[str, Any]:
    answer = live.client.post("/v1/erasures", content=body, headers={"Content-Type": kind})
    assert answer.status_code == code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def statuses(live: LiveLedger, *raws: bytes, key: Ed25519PrivateKey = SOURCE, source: int = 1) -> list[str]:
    """What becomes of these entries' envelopes, in their order."""
    body = sign_erasure(ORIGIN, source, NOW, [leaf_hash(raw) for raw in raws], key)
    by_leaf = {result["leaf"]: result["status"] for result in erase(live, body)["results"]}
    return [by_leaf[b64url_encode(leaf_hash(raw))] for raw in raws]


def problem(answer: dict[str, Any]) -> str:
    code: str = answer["type"]
    return code.removeprefix("urn:glassbook:problem:")


def held(small: SmallLedger, made: Submission) -> bytes | None:
    assert made.fetch is not None
    with small.store.read() as db:
        return find_envelopes(db, [made.fetch])[0]


def test_an_erased_envelope_is_still_given_out(live: LiveLedger) -> None:
    one, other = submission(record()), submission(record())
    live.post(as_object(one), as_object(other))
    live.small.sequencer.step()
    assert statuses(live, one.entry) == ["erased"]
    assert held(live.small, one) is None
    assert held(live.small, other) == other.envelope
    assert live.small.violations() == []  # the log is as whole as before


def test_the_public_address_gives_null_for_it_and_the_receipt_holds(tmp_path: Path) -> None:
    live = LiveLedger(tmp_path / "home", lambda: NOON, wait_s=20)
    try:
        live.publishing()
        token = os.urandom(32)
        made = submission(record())._replace(fetch=sha256(token).digest())
        before = live.post(as_object(made), wait=True)[0]["receipt"]
        assert statuses(live, made.entry) == ["erased"]
        leaf = leaf_hash(made.entry).hex()
        assert live.client.get(f"/v1/receipts/{leaf}").json()["entry"] == before["entry"]
        assert (
            live.post(as_object(made))[0]["status"] == "duplicate"
        )  # handed in again, it does not come back
        assert held(live.small, made) is None
    finally:
        live.close()


def test_what_waits_in_the_inbox_is_not_erased_and_comes_back_with_sequencing(live: LiveLedger) -> None:
    made = submission(record())
    live.post(as_object(made))
    assert statuses(live, made.entry) == ["erased"]
    live.post(as_object(made))
    live.small.sequencer.step()
    assert held(live.small, made) is None
    assert made.entry in live.small.entries()


def test_a_second_time_answers_something_else_than_gone(live: LiveLedger) -> None:
    made = submission(record())
    live.post(as_object(made))
    assert statuses(live, made.entry) == ["erased"]
    assert statuses(live, made.entry) == ["absent"]


@pytest.mark.parametrize("engine", ["sqlite"])  # PostgreSQL's files are its operator's: docs/operating.md
def test_deleted_bytes_stay_in_the_files(live: LiveLedger, engine: str) -> None:
    made = [submission(record()) for _ in range(40)]
    live.post(*map(as_object, made))
    live.small.sequencer.step()
    parts = [one.envelope[100:200] for one in made if one.envelope]
    files = [path for path in live.home.glob("ledger.sqlite*") if not path.name.endswith("-shm")]

    def found() -> int:
        content = b"".join(path.read_bytes() for path in files if path.exists())
        return sum(part in content for part in parts)

    assert found() == 40
    assert statuses(live, *(one.entry for one in made)) == ["erased"] * 40
    assert found() == 0


def test_what_is_erased_comes_back_when_the_database_is_opened_again(tmp_path: Path) -> None:
    live = LiveLedger(tmp_path / "home", lambda: NOON)
    try:
        made = submission(record())
        live.post(as_object(made))
        statuses(live, made.entry)
    finally:
        live.close()
    store = Store.open(f"sqlite:///{tmp_path / 'home' / 'ledger.sqlite'}")
    try:
        with store.read() as db:
            assert made.fetch is not None
            assert find_envelopes(db, [made.fetch]) == [None]
    finally:
        store.close()


def test_one_source_erases_the_records_of_another(live: LiveLedger) -> None:
    live.post({"entry": b64encode(source_entry(2, statement("source 2")))})
    made = submission(record())
    live.post(as_object(made))
    assert statuses(live, made.entry, key=OTHER, source=2) == ["unknown"]
    answer = erase(live, sign_erasure(ORIGIN, 1, NOW, [leaf_hash(made.entry)], OTHER), 422)
    assert problem(answer) == "bad-signature"
    assert held(live.small, made) == made.envelope


def test_entries_that_have_no_envelope_are_said_to_be_erased(live: LiveLedger) -> None:
    day, stranger = coverage(0), record()
    live.post(as_object(submission(day)))
    assert statuses(live, day, stranger) == ["unknown", "unknown"]


@pytest.fixture
def deposited(live: LiveLedger) -> Iterator[Submission]:
    """A record; whatever a test does with it, its envelope is still there afterwards."""
    made = submission(record())
    live.post(as_object(made))
    yield made
    assert held(live.small, made) == made.envelope


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"origin": "log.example.gov/access/2025"}, "rule-broken"),
        ({"iat": NOW - AGE_S - 1}, "rule-broken"),
        ({"iat": NOW + AHEAD_S + 1}, "rule-broken"),
        ({"iat": "now"}, "malformed-body"),
        ({"iat": -1}, "malformed-body"),
        ({"iat": True}, "malformed-body"),
        ({"source": 2}, "source-unknown"),
        ({"source": 0}, "malformed-body"),
        ({"source": 2**32}, "malformed-body"),
        ({"source": "1"}, "malformed-body"),
        ({"leaves": []}, "malformed-body"),
        ({"leaves": {}}, "malformed-body"),
        ({"leaves": ["AAAA"]}, "malformed-body"),
        ({"leaves": [7]}, "malformed-body"),
        ({"leaves": [b64url_encode(bytes(32)) + "="]}, "malformed-body"),
        ({"leaves": [b64url_encode(bytes(32))] * 2}, "malformed-body"),
        ({"leaves": [b64url_encode(b"\2" * 32), b64url_encode(b"\1" * 32)]}, "malformed-body"),
        ({"more": 1}, "malformed-body"),
    ],
)
def test_an_erasure_that_is_not_right_erases(
    live: LiveLedger, deposited: Submission, changed: dict[str, Any], code: str
) -> None:
    leaf = b64url_encode(leaf_hash(deposited.entry))
    payload = {"origin": ORIGIN, "source": 1, "iat": NOW, "leaves": [leaf]} | changed
    answer = erase(live, sign_jws(payload, TYP, SOURCE), 422 if "-body" not in code else 400)
    assert problem(answer) == code
    assert leaf not in json.dumps(answer)


@pytest.mark.parametrize("name", ["origin", "source", "iat", "leaves"])
def test_a_member_may_be_left_out(live: LiveLedger, deposited: Submission, name: str) -> None:
    payload = {
        "origin": ORIGIN,
        "source": 1,
        "iat": NOW,
        "leaves": [b64url_encode(leaf_hash(deposited.entry))],
    }
    del payload[name]
    erase(live, sign_jws(payload, TYP, SOURCE), 400)


def test_another_kind_of_jws_by_the_source_erases(live: LiveLedger, deposited: Submission) -> None:
    payload = {
        "origin": ORIGIN,
        "source": 1,
        "iat": NOW,
        "leaves": [b64url_encode(leaf_hash(deposited.entry))],
    }
    assert problem(erase(live, sign_jws(payload, "glassbook-promise+jws", SOURCE), 400)) == "malformed-body"


@pytest.mark.parametrize(
    "body", [b"", b".", b"a.b.c", b"\xff\xfe", b"{}", b"." * 1000, b"e30.e30.", b"W10.W10.AA"]
)
def test_a_body_that_is_no_jws_does_harm(live: LiveLedger, deposited: Submission, body: bytes) -> None:
    assert problem(erase(live, body, 400)) == "malformed-body"


def test_a_flipped_bit_anywhere_goes_unnoticed(live: LiveLedger, deposited: Submission) -> None:
    body = sign_erasure(ORIGIN, 1, NOW, [leaf_hash(deposited.entry)], SOURCE)
    for place in range(0, len(body), 7):
        wrong = bytearray(body)
        wrong[place] ^= 1
        answer = live.client.post(
            "/v1/erasures", content=bytes(wrong), headers={"Content-Type": "application/jose"}
        )
        assert answer.status_code in (400, 422), place


def test_too_much_or_another_kind_is_taken(live: LiveLedger, deposited: Submission) -> None:
    good = sign_erasure(ORIGIN, 1, NOW, [leaf_hash(deposited.entry)], SOURCE)
    erase(live, good, 415, kind="application/json")
    erase(live, b"x" * ((1 << 20) + 1), 413)
    leaves = [os.urandom(32) for _ in range(MAX_LEAVES + 1)]
    erase(live, sign_erasure(ORIGIN, 1, NOW, leaves, SOURCE), 400)


def test_the_largest_erasure_is_refused(live: LiveLedger) -> None:
    leaves = [os.urandom(32) for _ in range(MAX_LEAVES)]
    found = erase(live, sign_erasure(ORIGIN, 1, NOW, leaves, SOURCE))["results"]
    assert [result["leaf"] for result in found] == [b64url_encode(leaf) for leaf in sorted(leaves)]


def rotated(key: Ed25519PrivateKey = SOURCE, **changed: Any) -> bytes:
    """The next version of source 1."""
    return source_entry(1, statement(key=jwk(key.public), **changed), SOURCE_1_VERSION)


def test_a_key_that_is_no_longer_in_force_erases_what_it_signed(live: LiveLedger) -> None:
    made = submission(record())
    live.post(as_object(made))
    new = Ed25519PrivateKey.generate()
    live.post({"entry": b64encode(rotated(new))})
    old = sign_erasure(ORIGIN, 1, NOW, [leaf_hash(made.entry)], SOURCE)
    assert problem(erase(live, old, 422)) == "bad-signature"
    assert held(live.small, made) == made.envelope
    assert statuses(live, made.entry, key=new) == ["erased"]


def test_a_retired_source_keeps_what_its_rules_let_it_no_longer_keep(live: LiveLedger) -> None:
    made = submission(record())
    live.post(as_object(made))
    live.post({"entry": b64encode(rotated(status="retired", retired="2026-09-20"))})
    assert statuses(live, made.entry) == ["erased"]


def test_whoever_has_a_revoked_key_erases_with_it(live: LiveLedger) -> None:
    made = submission(record())
    live.post(as_object(made))
    revocation = rotated(status="revoked", revoked="2026-09-20")
    live.post({"entry": b64encode(revocation)})
    body = sign_erasure(ORIGIN, 1, NOW, [leaf_hash(made.entry)], SOURCE)
    assert problem(erase(live, body, 422)) == "source-revoked"
    # Its department is not locked out for good: the registrar states another key.
    new = Ed25519PrivateKey.generate()
    charter = live_charter(live)
    stated = statement(key=jwk(new.public), status="revoked", revoked="2026-09-20")
    before = parse_source(revocation, 5, charter)
    live.post({"entry": b64encode(source_entry(1, stated, before))})
    assert held(live.small, made) == made.envelope
    assert statuses(live, made.entry, key=new) == ["erased"]


def live_charter(live: LiveLedger) -> Any:
    return parse_charter(live.small.entries()[0], ORIGIN)


def test_nothing_but_a_count_of_it_is_shown(live: LiveLedger) -> None:
    made = submission(record(day=DAY))
    live.post(as_object(made))
    statuses(live, made.entry)
    shown = httpx.get(f"{live.server.url}/metrics").text
    assert 'glassbook_erasures_total{outcome="erased"} 1.0' in shown
