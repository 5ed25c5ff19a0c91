"""Changes of the register as the ledger takes them: in force from their place on, whoever waits beside them."""

from __future__ import annotations

from typing import Any

import pytest
from livelog import LiveLedger, as_object, codes
from smallledger import (
    CHARTER,
    DAY,
    SOURCE,
    SOURCE_1_VERSION,
    coverage,
    record,
    seed,
    source_entry,
    statement,
    submission,
)

from ledger.core import vrf
from ledger.core.encoding import b64url_encode, format_date
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.statements import SourceVersion, parse_charter, parse_source

NEW = Ed25519PrivateKey.from_seed(seed("rotated"))


def hand_in(live: LiveLedger, *raws: bytes) -> list[str]:
    return codes(live.post(*(as_object(submission(raw)) for raw in raws)))


def follow(before: SourceVersion, **changed: Any) -> tuple[bytes, SourceVersion]:
    """The next statement of source 1, and the version that it is."""
    raw = source_entry(1, statement(**changed), before)
    return raw, parse_source(raw, before.index + 1, parse_charter(CHARTER))


@pytest.mark.parametrize("sequenced", [False, True])
def test_after_a_rotation_the_old_key_signs_nothing_and_the_new_one_does(
    live: LiveLedger, sequenced: bool
) -> None:
    rotated, _ = follow(SOURCE_1_VERSION, key=jwk(NEW.public))
    assert hand_in(live, record(), record(key=NEW)) == ["accepted", "bad-signature"]
    assert hand_in(live, rotated) == ["accepted"]
    if sequenced:
        live.small.sequencer.step()
    assert hand_in(live, record(), record(key=NEW), coverage(2, key=SOURCE), coverage(2, key=NEW)) == [
        "bad-signature", "accepted", "bad-signature", "accepted",
    ]  # fmt: skip
    live.small.sequencer.step()
    assert live.small.violations() == []


def test_a_rotation_in_the_middle_of_a_request_is_in_force_behind_it(live: LiveLedger) -> None:
    rotated, _ = follow(SOURCE_1_VERSION, key=jwk(NEW.public))
    assert hand_in(live, record(), rotated, record(), record(key=NEW)) == [
        "accepted", "accepted", "bad-signature", "accepted",
    ]  # fmt: skip
    live.small.sequencer.step()
    assert live.small.violations() == []


def test_a_new_epoch_is_registered_before_its_first_record(live: LiveLedger) -> None:
    stated = statement()["vrf"] | {"2025": b64url_encode(vrf.public_key(seed("2025")))}
    old = DAY - 365
    raw, _ = follow(SOURCE_1_VERSION, vrf=stated)
    assert hand_in(live, record(day=old), raw, record(day=old)) == ["rule-broken", "accepted", "accepted"]
    live.small.sequencer.step()
    assert live.small.violations() == []


def test_a_retired_source_covers_its_days_and_records_nothing(live: LiveLedger) -> None:
    retired, _ = follow(SOURCE_1_VERSION, status="retired", retired=format_date(DAY))
    assert hand_in(live, record(), retired, record(), coverage(1)) == [
        "accepted", "accepted", "source-retired", "accepted",
    ]  # fmt: skip
    live.small.sequencer.step()
    assert live.small.violations() == []


def test_a_revoked_source_records_nothing_whatever_the_day(live: LiveLedger) -> None:
    revoked, _ = follow(SOURCE_1_VERSION, status="revoked", revoked=format_date(DAY))
    assert hand_in(live, revoked, record(day=DAY - 30), coverage(0)) == [
        "accepted", "source-revoked", "accepted",
    ]  # fmt: skip
    live.small.sequencer.step()
    assert live.small.violations() == []


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {"vrf": {"2026": b64url_encode(vrf.public_key(seed("another")))}}),
        ({}, {"vrf": {"2027": b64url_encode(vrf.public_key(seed("another")))}}),
        ({}, {"since": "2026-01-02"}),
        ({"status": "retired", "retired": "2026-09-01"}, {}),
        ({"status": "revoked", "revoked": "2026-09-01"}, {}),
        ({"status": "revoked", "revoked": "2026-09-01"}, {"status": "retired", "retired": "2026-09-01"}),
    ],
    ids=["VRF key restated", "VRF key left out", "since later", "active after retired", "active after revoked",
         "retired after revoked"],
)  # fmt: skip
def test_a_statement_that_may_not_follow_is_refused_and_changes_nothing(
    live: LiveLedger, first: dict[str, Any], then: dict[str, Any]
) -> None:
    before = SOURCE_1_VERSION
    if first:
        raw, before = follow(before, **first)
        assert hand_in(live, raw) == ["accepted"]
    bad = source_entry(1, statement(**then), before)
    assert hand_in(live, bad) == ["rule-broken"]
    live.small.sequencer.step()
    assert hand_in(live, bad) == ["rule-broken"]
    assert live.small.violations() == []
    good, _ = follow(before, **(first or {"seal_months": 1}))
    assert hand_in(live, good) == ["accepted"], "the version's place is still free"


def test_an_old_statement_handed_in_again_brings_no_old_key_back(live: LiveLedger) -> None:
    rotated, second = follow(SOURCE_1_VERSION, key=jwk(NEW.public))
    back, third = follow(second)
    assert hand_in(live, rotated, back) == ["accepted"] * 2
    again, _ = follow(third, key=jwk(NEW.public))
    assert hand_in(live, rotated) == ["accepted"], "the same bytes are what they were, and change nothing"
    assert hand_in(live, record(), record(key=NEW)) == ["accepted", "bad-signature"]
    live.small.sequencer.step()
    assert hand_in(live, rotated, again) == ["duplicate", "accepted"]
    live.small.sequencer.step()
    assert live.small.violations() == []
