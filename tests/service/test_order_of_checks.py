"""What each kind of entry is refused for, and in which order."""

from __future__ import annotations

import os
from typing import Any

import pytest
from engines import ENGINES
from livelog import LiveLedger, as_object, codes
from smallledger import (
    CHARTER,
    DAY,
    NOW,
    ORIGIN,
    SOURCE,
    SOURCE_1,
    SOURCE_1_VERSION,
    coverage,
    envelope,
    record,
    seed,
    source_entry,
    statement,
    submission,
)

from ledger.core.encoding import b64encode
from ledger.core.entries import Record, decode_entry, sign_record, signed_message
from ledger.core.keys import Ed25519PrivateKey
from ledger.service.body import Submission

OTHER = Ed25519PrivateKey.from_seed(b"\x07" * 32)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def hand_in(live: LiveLedger, *raws: bytes) -> list[str]:
    return codes(live.post(*(as_object(submission(raw)) for raw in raws)))


def resigned(raw: bytes, **changed: Any) -> bytes:
    """The record with other fields, signed again; its epoch need not be the year of its day."""
    entry = decode_entry(raw)
    assert isinstance(entry, Record)
    unsigned: bytes = entry._replace(signature=bytes(64), **changed).encode()
    return unsigned[:82] + SOURCE.sign(signed_message(ORIGIN, unsigned))


def test_a_good_record_is_accepted_and_again_and_then_a_duplicate(live: LiveLedger) -> None:
    raw = record()
    assert hand_in(live, raw, raw) == ["accepted", "accepted"]
    assert hand_in(live, raw) == ["accepted"]
    live.small.sequencer.step()
    (result,) = live.post(as_object(submission(raw)))
    assert (result["status"], result["index"]) == ("duplicate", 4)
    assert live.small.entries()[4] == raw


@pytest.mark.parametrize("sequenced", [False, True])
def test_another_record_under_a_taken_label_conflicts_in_inbox_and_log(
    live: LiveLedger, sequenced: bool
) -> None:
    label = os.urandom(32)
    first = record(label=label)
    assert hand_in(live, first) == ["accepted"]
    if sequenced:
        live.small.sequencer.step()
    assert hand_in(live, record(label=label)) == ["label-conflict"]
    assert hand_in(live, record(label=label), record()) == ["label-conflict", "accepted"]


def test_two_records_under_one_label_in_one_request_conflict(live: LiveLedger) -> None:
    label = os.urandom(32)
    assert hand_in(live, record(label=label), record(label=label)) == ["accepted", "label-conflict"]


def test_the_same_label_in_another_stream_is_another_label(live: LiveLedger) -> None:
    label, month = os.urandom(32), 56 * 12 + 8
    assert (
        hand_in(live, record(label=label), record(label=label, seal=month + 2, activity=0))
        == ["accepted"] * 2
    )


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"activity": 2}, "rule-broken"),
        ({"activity": 0}, "rule-broken"),
        ({"seal": 56 * 12 + 8 + 13, "activity": 0}, "rule-broken"),
        ({"seal": 56 * 12 + 8, "activity": 0}, "rule-broken"),
        ({"seal": 56 * 12 + 10}, "rule-broken"),
        ({"epoch": 2025}, "rule-broken"),
        ({"day": DAY - 400}, "rule-broken"),
        ({"day": DAY + 2}, "day-in-future"),
        ({"day": 2**32 - 1}, "rule-broken"),
        ({"source": 2}, "source-unknown"),
        ({"source": 0}, "source-unknown"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused_under_its_code(
    live: LiveLedger, changed: dict[str, int], code: str
) -> None:
    assert hand_in(live, resigned(record(), **changed), record()) == [code, "accepted"]


def test_the_rule_that_is_broken_is_named(live: LiveLedger) -> None:
    (result,) = live.post(as_object(submission(record(activity=2))))
    assert result["problem"]["rule"] == "activity"


def test_the_day_is_held_against_the_ledgers_clock_without_tolerance(live: LiveLedger) -> None:
    today = NOW // 86_400
    assert hand_in(live, record(day=today)) == ["accepted"]
    for now, code in ((today * 86_400 + 86_399.9, "day-in-future"), ((today + 1) * 86_400.0, "accepted")):
        live.small.accept([])
        (outcome,) = live.small.accept([record(day=today + 1)], int(now))
        assert getattr(outcome, "code", "accepted") == code


def test_shape_comes_before_everything(live: LiveLedger) -> None:
    bad = record(key=OTHER, source=9, activity=7)
    assert codes(live.post({"entry": b64encode(bad)})) == ["envelope-missing"]
    assert codes(live.post({"entry": b64encode(bad[:-1])})) == ["malformed-entry"]


def test_an_inactive_source_comes_before_the_signature_and_that_before_the_rules(live: LiveLedger) -> None:
    assert hand_in(live, record(key=OTHER, source=9, activity=7)) == ["source-unknown"]
    assert hand_in(live, record(key=OTHER, activity=7, day=DAY + 9)) == ["bad-signature"]
    logged = record()
    assert hand_in(live, logged) == ["accepted"]
    live.small.sequencer.step()
    ended = source_entry(1, statement(status="retired", retired="2026-09-01"), SOURCE_1_VERSION)
    assert hand_in(live, ended) == ["accepted"]
    assert hand_in(live, record(key=OTHER, activity=7)) == ["source-retired"]
    assert hand_in(live, record()) == ["source-retired"], "while the registry entry waits, too"
    live.small.sequencer.step()
    assert hand_in(live, record()) == ["source-retired"]
    assert hand_in(live, logged) == ["duplicate"], "the label is the idempotency key, whatever came since"


def test_rules_come_before_the_label(live: LiveLedger) -> None:
    label = os.urandom(32)
    assert hand_in(live, record(label=label)) == ["accepted"]
    assert hand_in(live, record(label=label, activity=7)) == ["rule-broken"]
    assert hand_in(live, record(label=label, key=OTHER)) == ["bad-signature"]


def test_a_signature_over_another_origin_is_refused(live: LiveLedger) -> None:
    fields = decode_entry(record())
    assert isinstance(fields, Record)
    foreign = sign_record(
        "other.example/log",
        SOURCE,
        source=1,
        day=DAY,
        seal=0,
        activity=1,
        label=fields.label,
        commitment=bytes(32),
    )
    assert hand_in(live, foreign) == ["bad-signature"]


def test_index_roots_are_refused(live: LiveLedger) -> None:
    for raw in (live.small.entries()[1], live.small.entries()[3]):
        assert hand_in(live, raw) == ["index-root-refused"]


def test_envelope_and_fetch_come_with_records_and_nothing_else(live: LiveLedger) -> None:
    raw, body, fetch = record(), envelope(), os.urandom(32)
    results = live.post(
        {"entry": b64encode(raw)},
        {"entry": b64encode(raw), "envelope": b64encode(body)},
        {"entry": b64encode(raw), "fetch": b64encode(fetch)},
        as_object(Submission(coverage(0), body, fetch)),
        as_object(Submission(SOURCE_1, None, fetch)),
        as_object(Submission(source_entry(2, statement("b")), body, None)),
    )
    assert codes(results) == ["envelope-missing"] * 3 + ["envelope-forbidden"] * 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01" + bytes(12 + 16),
        b"\x02" + bytes(12 + 1024 + 16),
        b"\x01" + bytes(12 + 1023 + 16),
        b"\x01" + bytes(12 + 1025 + 16),
        b"\x01" + bytes(12 + 66_560 + 16),
        b"\x01" + bytes(12 + 1024 + 15),
    ],
    ids=["empty", "nothing inside", "version 2", "1,023", "1,025", "over 65,536", "short tag"],
)
def test_an_envelope_of_no_possible_size_is_refused(live: LiveLedger, body: bytes) -> None:
    bad = as_object(Submission(record(), body, os.urandom(32)))
    assert codes(live.post(bad)) == ["malformed-entry"]


def test_the_smallest_and_the_largest_envelope_are_taken(live: LiveLedger) -> None:
    items = [as_object(Submission(record(), envelope(steps), os.urandom(32))) for steps in (1, 64)]
    assert codes(live.post(*items)) == ["accepted"] * 2


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_fetch_hash_has_32_bytes(live: LiveLedger, length: int) -> None:
    bad = as_object(Submission(record(), envelope(), bytes(length)))
    assert codes(live.post(bad)) == ["malformed-entry"]


def test_a_coverage_must_count_what_is_in_log_and_inbox_before_it(live: LiveLedger) -> None:
    assert hand_in(live, record(), record()) == ["accepted"] * 2
    live.small.sequencer.step()
    assert hand_in(live, record()) == ["accepted"]
    assert hand_in(live, coverage(2), coverage(4)) == ["rule-broken"] * 2
    assert hand_in(live, record(), coverage(4), record()) == ["accepted"] * 3
    assert hand_in(live, coverage(4)) == ["accepted"], "the same again, though a late record came since"
    assert hand_in(live, coverage(5)) == ["label-conflict"]
    live.small.sequencer.step()
    assert hand_in(live, coverage(4)) == ["duplicate"]
    assert live.small.violations() == []


def test_a_coverage_waits_for_the_end_of_its_day_and_needs_its_source(live: LiveLedger) -> None:
    assert hand_in(live, coverage(0, day=NOW // 86_400)) == ["day-in-future"]
    assert hand_in(live, coverage(0, key=OTHER)) == ["bad-signature"]
    assert hand_in(live, coverage(0)) == ["accepted"]


def test_a_registry_entry_is_in_force_at_once_for_what_comes_behind_it(live: LiveLedger) -> None:
    mine = record(key=Ed25519PrivateKey.from_seed(seed("second")), source=2)
    assert hand_in(live, mine, source_entry(2, statement("second")), mine) == [
        "source-unknown",
        "accepted",
        "accepted",
    ]
    live.small.sequencer.step()
    assert live.small.violations() == []


def test_registry_entries_are_refused_for_signature_order_and_rules(live: LiveLedger) -> None:
    good = source_entry(2, statement("b"))
    forged = good[:-2] + (b"AA" if good[-2:] != b"AA" else b"BB")
    third = source_entry(3, statement("c"))
    changed = statement()
    changed["vrf"] = statement("d")["vrf"]
    swapped = source_entry(1, changed, SOURCE_1_VERSION)
    assert hand_in(live, forged) == ["bad-signature"] or hand_in(live, forged) == ["malformed-entry"]
    assert hand_in(live, third, swapped) == ["rule-broken"] * 2
    assert hand_in(live, CHARTER, SOURCE_1) == ["duplicate"] * 2
    assert hand_in(live, good, good) == ["accepted"] * 2
    live.small.sequencer.step()
    assert hand_in(live, good) == ["duplicate"]


def test_another_version_of_a_taken_registry_label_is_refused(live: LiveLedger) -> None:
    assert hand_in(live, source_entry(1, statement("other key"))) == ["rule-broken"]


def test_everything_accepted_passes_the_audit(live: LiveLedger) -> None:
    test_a_coverage_must_count_what_is_in_log_and_inbox_before_it(live)
    hand_in(live, source_entry(2, statement("b")), record(), record())
    while live.small.sequencer.step():
        pass
    assert live.small.violations() == []
