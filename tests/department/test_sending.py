"""What may happen between outbox and log; nothing may be lost, given twice, or believed unchecked."""

import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from fhirevents import r4
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logfactory import NOW
from smalldepartment import TODAY, SmallDepartment

from ledger.core.claims import check_claims, check_complete
from ledger.core.entries import Record, decode_entry
from ledger.core.errors import GlassbookError, ProofRefuted, Refuted
from ledger.core.receipt import check_receipt, parse_receipt
from ledger.core.sdjwt import parse_sd_jwt
from ledger.core.streams import open_envelope
from ledger.department.settings import CannotGoOn


def event(person: str, second: int = 0) -> dict[str, object]:
    return r4(
        recorded=f"{TODAY}T10:{second // 60:02}:{second % 60:02}Z",
        entity=[{"what": {"reference": f"Patient/{person}"}}],
    )


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


def test_records_leave_without_receipts_or_numbers_have_gaps(small: SmallDepartment) -> None:
    small.record(*(event(person, second) for second in range(9) for person in ("anna", "ben")))
    counts = small.send()
    assert (counts.owed, counts.receipts, counts.streams, counts.streams_done) == (0, 18, 2, 2)
    for person in ("anna", "ben"):
        assert sorted(small.numbers_in_log(f"id:{person}")) == list(range(1, 10))
    with small.home() as home:
        kept = list(home.outbox.receipts())
        assert len(kept) == 18
        for position, data in kept:
            checked = check_receipt(parse_receipt(data), small.log.policy(), NOW)
            assert checked.index == position


def test_two_senders_at_once_fail_over_the_same_receipt(small: SmallDepartment) -> None:
    small.record(r4(), r4(recorded=f"{TODAY}T11:00:00Z"))
    with small.home() as slow:
        records = slow.outbox.awaiting_receipt(10, 0)
        small.send()
        kept = list(slow.outbox.receipts())
        before = slow.outbox.counts()
        with slow.outbox.transaction():
            for record, (position, receipt) in zip(records, reversed(kept), strict=True):
                slow.outbox.add_receipt(record, position, receipt)
        assert slow.outbox.counts() == before and before.receipts == 2
        assert list(slow.outbox.receipts()) == kept


def test_records_are_handed_in_by_the_order_of_access(small: SmallDepartment) -> None:
    random.seed(7)
    small.record(*(event("anna", second) for second in range(40)))
    small.send()
    order = small.numbers_in_log("id:anna")
    assert order != sorted(order) and sorted(order) == list(range(1, 41))


def test_envelope_holds_other_claims_than_the_event(small: SmallDepartment) -> None:
    small.record(event("anna"))
    key = small.log.stream(small.source, "id:anna", 2026)
    with small.home() as home:
        (waiting,) = home.outbox.to_hand_in(5)
    text = open_envelope(key, 1, waiting.envelope)
    assert waiting.deposited == key.deposited(1)
    sd_jwt = parse_sd_jwt(text, small.source.key.public)
    record = decode_entry(waiting.entry)
    assert isinstance(record, Record)
    check_claims(record, sd_jwt, small.log.register.charter, "id:anna")
    check_complete(sd_jwt, small.log.register.charter)
    assert sd_jwt.claims["purpose"]["legal_basis"] == ["https://w3id.org/dpv/legal/eu/gdpr#A9-2-h"]


@pytest.mark.parametrize("trouble", ["busy", "lost", "broken", "drop", "nonsense", "short"])
def test_trouble_changes_what_is_sent_or_loses_it(trouble: str, small: SmallDepartment) -> None:
    small.record(*(event("anna", second) for second in range(3)))
    small.ledger.plan = [trouble]
    try:
        small.send()
    except CannotGoOn as error:
        assert trouble != "busy" and "stay in the outbox" in str(error) or "ledger's address" in str(error)
    counts = small.send()
    assert (counts.owed, counts.receipts) == (0, 3)
    first, second = small.ledger.requests[0], small.ledger.requests[1]
    assert sorted(first) == sorted(second)
    assert sorted(small.numbers_in_log("id:anna")) == [1, 2, 3]


def test_retry_after_is_not_waited_for(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.plan = ["busy"]
    small.send()
    assert 7.0 in small.slept


def test_refused_record_is_lost_or_lets_later_numbers_pass(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.plan = ["refuse rule-broken"]
    counts = small.send()
    assert (counts.refused, counts.receipts) == (1, 0)
    small.record(event("anna", 1), event("ben"))
    with small.home() as home:
        assert [w.stream.subject for w in home.outbox.to_hand_in(9)] == ["id:ben"]
        assert home.outbox.problems() == [("rule-broken: because", 1)]
    counts = small.send()
    assert (counts.owed, counts.receipts) == (0, 3)
    assert sorted(small.numbers_in_log("id:anna")) == [1, 2]


def test_unpublished_records_are_taken_for_done(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.publishing = False
    with pytest.raises(CannotGoOn, match="no receipt yet"):
        small.send()
    with small.home() as home:
        assert home.outbox.counts().handed_in == 1
    small.ledger.publishing = True
    small.ledger.publish()
    assert small.send().owed == 0


def test_checkpoint_without_the_witness_is_believed(small: SmallDepartment) -> None:
    small.record(event("anna"))
    path = small.ledger.folder / "checkpoint"
    with small.home() as home:
        sender = small.sender(home)
        sender.send(wait=False)
        home.outbox.try_again()
    small.record(event("ben"))
    small.ledger.publish()
    note = path.read_bytes()
    path.write_bytes(b"\n".join(line for line in note.split(b"\n") if b"witness.example" not in line))
    with small.home() as home, pytest.raises(Refuted):
        small.sender(home).send(wait=True)
    with small.home() as home:
        assert home.outbox.counts().owed == 1


def test_log_cut_short_is_believed(small: SmallDepartment) -> None:
    small.record(event("anna"))
    old = (small.ledger.folder / "checkpoint").read_bytes()
    small.send()
    small.record(event("ben"))
    (small.ledger.folder / "checkpoint").write_bytes(old)
    with pytest.raises(Refuted) as caught:
        small.send()
    assert caught.value.evidence


def test_receipt_for_another_number_is_believed(small: SmallDepartment) -> None:
    small.record(event("anna"), event("anna", 1))
    with small.home() as home:
        home.outbox._db.execute("UPDATE records SET n = n + 10")
        with pytest.raises(ProofRefuted, match="another label"):
            small.sender(home).send(wait=True)
        assert home.outbox.counts().receipts == 0


def test_altered_key_file_signs(small: SmallDepartment) -> None:
    path = small.home_folder / "keys" / "source.key"
    path.write_bytes((small.home_folder / "keys" / "vrf-2026.key").read_bytes())
    with pytest.raises(CannotGoOn, match="no source with this department's key"):
        small.record(event("anna"))


def test_swapped_vrf_keys_label_records(small: SmallDepartment) -> None:
    keys = small.home_folder / "keys"
    (keys / "vrf-2025.key").write_bytes((keys / "vrf-2026.key").read_bytes())
    with pytest.raises(CannotGoOn, match="not the one registered"):
        small.record(event("anna"))


def test_key_file_open_to_others_is_used(small: SmallDepartment) -> None:
    os.chmod(small.home_folder / "keys" / "source.key", 0o640)
    with pytest.raises(CannotGoOn, match="chmod 600"):
        small.record(event("anna"))


def test_outbox_can_be_read_by_others(small: SmallDepartment) -> None:
    small.record(event("anna"))
    for path in small.home_folder.glob("outbox.sqlite*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_log_out_of_reach_stops_recording(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.folder.rename(small.folder / "elsewhere")
    ((outcome, before),) = small.record(event("ben"))
    assert outcome.accesses and not before


def test_same_import_again_records_again(small: SmallDepartment) -> None:
    events = [event("anna"), event("anna"), event("ben")]
    assert [before for _, before in small.record(*events)] == [False] * 3
    assert [before for _, before in small.record(*events)] == [True] * 3
    with small.home() as home:
        assert home.outbox.counts().waiting == 3


def test_access_the_register_does_not_allow_is_recorded(small: SmallDepartment) -> None:
    tomorrow = r4(recorded="2026-12-31T00:00:00Z", entity=[{"what": {"reference": "Patient/anna"}}])
    early = r4(recorded="2024-12-31T00:00:00Z", entity=[{"what": {"reference": "Patient/anna"}}])
    shape = r4(recorded=f"{TODAY}T10:00:00Z", entity=[{"what": {"reference": f"Patient/{'a' * 41}"}}])
    found = small.record(tomorrow, early, shape)
    assert ["future" in o.reason or "2024" in o.reason or "canonical" in o.reason for o, _ in found] == [
        True
    ] * 3
    assert "glassbook department epochs 2024" in found[1][0].reason
    with small.home() as home:
        assert home.outbox.counts().streams == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["anna", "ben", "carl"]), st.integers(0, 30))
        | st.sampled_from(
            ["busy", "lost", "drop", "broken", "refuse busy", "nonsense", "send", "unpublish", "publish"]
        ),
        max_size=30,
    )
)
def test_some_sequence_of_failures_makes_a_gap_or_a_double(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int] | str]
) -> None:
    small = SmallDepartment(tmp_path_factory.mktemp("small"))
    expected: Counter[str] = Counter()
    recorded: set[str] = set()
    for step in steps:
        if isinstance(step, tuple):
            for outcome, before in small.record(event(*step)):
                assert before == (repr(step) in recorded)
                expected[step[0]] += not before
                recorded.add(repr(step))
                assert outcome.accesses
        elif step == "send":
            with suppress(GlassbookError):
                small.send(patience=0.5)
        elif step in ("publish", "unpublish"):
            small.ledger.publishing = step == "publish"
        else:
            small.ledger.plan.append(step)
    small.ledger.plan, small.ledger.publishing = [], True
    counts = small.send()
    assert counts.owed == 0 and counts.receipts == sum(expected.values())
    for person in ("anna", "ben", "carl"):
        assert sorted(small.numbers_in_log(f"id:{person}")) == list(range(1, expected[person] + 1))


def test_error_names_the_person(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.plan = ["broken"]
    with pytest.raises(CannotGoOn) as caught:
        small.send()
    assert "anna" not in str(caught.value)


def test_running_agent_sends_all_again_each_round_or_never(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.publishing = False
    with small.home() as home:
        sender = small.sender(home)
        for seconds, requests in ((0, 1), (30, 1), (500, 1), (100, 2), (5, 2)):
            small.slept.append(seconds)
            sender.send(wait=False)
            assert len(small.ledger.requests) == requests
