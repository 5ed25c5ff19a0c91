"""Sealed records: as far as the register lets them, found by nobody before their month, and then by their subject."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from erasingledger import small_department
from logfactory import DAY, NOW
from smalldepartment import MAP, SmallDepartment
from test_erasing_details import event
from typer.testing import CliRunner

from ledger.client.openlog import open_log
from ledger.core.encoding import month_of, parse_date
from ledger.core.entries import Record, decode_entry
from ledger.core.errors import Malformed
from ledger.core.keysfile import KeysFile, format_keys_file, parse_keys_file
from ledger.core.policy import parse_policy
from ledger.core.sdjwt import split_sd_jwt
from ledger.core.streams import open_envelope
from ledger.department import recovery
from ledger.department.cli import app
from ledger.department.importers.fhir import read_fhir
from ledger.department.importing import record_events
from ledger.department.mapping import parse_mapping
from ledger.department.recovery import asking
from ledger.department.release import release
from ledger.department.sealing import check_seal, format_seal, parse_seal, seal_outcomes
from ledger.department.settings import CannotGoOn
from ledger.department.unsealing import check_unseal, record_unsealing
from verifier_cli.lookup import Lookup
from verifier_cli.mine import look_up, merge_keys
from verifier_cli.report import Progress

ANNA = "id:anna"
MARCH = parse_seal("2027-03")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    """A department that may seal for 12 months."""
    return small_department(tmp_path, seal_months=12)[0]


def record(small: SmallDepartment, seal: int, *events: dict[str, Any]) -> list[str]:
    """Events into the outbox, sealed; the reasons why some were rejected."""
    with small.home() as home:
        maker = home.maker(home.registration(small.now, print))
        outcomes = read_fhir(small.write_log(events), parse_mapping(MAP, "map.toml"))
        done = record_events(seal_outcomes(outcomes, seal), maker, home.outbox, small.now)
        return [outcome.reason for outcome, _ in done if outcome.reason]


def keys(small: SmallDepartment, now: int, *, subject: str = ANNA, unseal: tuple[int, ...] = ()) -> KeysFile:
    with small.home() as home:
        registration = home.registration(small.now, print)
        return release(registration, home.seeds(), [subject], now, unseal=unseal)


def mine(small: SmallDepartment, now: int, file: KeysFile | None = None) -> Lookup:
    """What the person finds in the published log with the keys that she is given at that time."""
    policy = parse_policy(small.log.policy_text().encode())
    found = merge_keys([("keys", format_keys_file(file or keys(small, now)))], policy.origin)
    return look_up(open_log(str(small.ledger.folder)), policy, found, now, Progress(False))


@pytest.mark.parametrize("text", ["1970-02", "2027-03", "2028-02", "2026-12", "2027-01"])
def test_a_month_is_read_otherwise_than_written(text: str) -> None:
    assert format_seal(parse_seal(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027",
        "2027-3",
        "2027-13",
        "2027-00",
        "1970-01",
        "1969-12",
        "9999-01",
        "27-03",
        "2027-03-01",
        "2027-03\n",
        "２０２７-03",
    ],
)
def test_a_text_that_is_no_month_is_taken(text: str) -> None:
    with pytest.raises(Malformed):
        parse_seal(text)
    ran = CliRunner().invoke(app, ["import", "fhir", "x.json", "--seal", text])
    assert ran.exit_code == 2


def test_what_the_register_does_not_allow_is_queued(small: SmallDepartment, tmp_path: Path) -> None:
    with small.home() as home:
        registration = home.registration(NOW, print)
        check_seal(parse_seal("2027-07"), registration, NOW)  # July 2026 and 12 months
        with pytest.raises(CannotGoOn, match="later than the register allows.*until 2027-07"):
            check_seal(parse_seal("2027-08"), registration, NOW)
        never = replace(registration.newest, seal_months=0)
        with pytest.raises(CannotGoOn, match="seal_months 0"):
            check_seal(MARCH, replace(registration, versions=(never,)), NOW)


@pytest.mark.parametrize(
    ("seal", "reason"),
    [("2026-06", "seal month is not after"), ("2026-05", "not after"), ("2027-07", "longer than the 12 months"),
     ("2026-07", ""), ("2027-06", "")],
)  # fmt: skip
def test_a_single_access_is_sealed_for_too_short_or_too_long(
    small: SmallDepartment, seal: str, reason: str
) -> None:
    assert month_of(DAY) == parse_seal("2026-06")
    reasons = record(small, parse_seal(seal), event("anna", DAY))
    assert [reason in found for found in reasons] == ([True] if reason else [])


def test_the_public_sees_the_activity_of_a_sealed_record(small: SmallDepartment) -> None:
    record(small, MARCH, event("anna", DAY))
    with small.home() as home:
        (waiting,) = home.outbox.to_hand_in(10)
        key = home.maker(home.registration(NOW, print)).key_of(2026, MARCH, ANNA)
    entry = decode_entry(waiting.entry)
    assert isinstance(entry, Record)
    assert (entry.seal, entry.activity, entry.epoch) == (MARCH, 0, 2026)
    details = split_sd_jwt(open_envelope(key, 1, waiting.envelope), small.source.key.public)
    assert details.claims["purpose"]["activity"] == 1  # she learns it all the same


def test_an_activity_that_nobody_registered_hides_behind_a_seal(small: SmallDepartment) -> None:
    with small.home() as home:
        maker = home.maker(home.registration(NOW, print))
        outcomes = list(
            seal_outcomes(read_fhir(small.write_log([event("anna", DAY)]), parse_mapping(MAP, "m")), MARCH)
        )
        (access,) = outcomes[0].accesses
        assert maker.fault(access, NOW) == ""
        assert "activity 99 is not registered" in maker.fault(replace(access, activity=99), NOW)


@pytest.mark.parametrize(
    ("day", "seal", "before", "opens"),
    [
        ("2026-06-22", "2027-03", "2027-02-28T23:59:59", "2027-03-01T00:00:00"),
        ("2026-12-31", "2027-01", "2026-12-31T23:59:59", "2027-01-01T00:00:00"),
        ("2026-12-31", "2027-12", "2027-11-30T23:59:59", "2027-12-01T00:00:00"),
        ("2026-01-01", "2026-02", "2026-01-31T23:59:59", "2026-02-01T00:00:00"),
    ],
)
def test_a_stream_opens_a_second_early_or_late(
    small: SmallDepartment, day: str, seal: str, before: str, opens: str
) -> None:
    small.now = small.ledger.now = max(NOW, at(f"{day}T23:00:00"))
    assert record(small, parse_seal(seal), event("anna", parse_date(day, "day"))) == []
    small.send()
    early = mine(small, at(before)) if at(before) >= small.now else None
    if early is not None:
        assert (early.accesses, early.gaps, early.faults) == ([], [], [])
    assert not [one for one in keys(small, at(before)).keys if one.seal == parse_seal(seal)]
    later = mine(small, max(at(opens), small.now))
    assert [access.record.seal for access in later.accesses] == [parse_seal(seal)]
    assert (later.gaps, later.faults) == ([], [])  # the same proof that none is missing
    if at(opens) >= small.now:
        # Keys from the day before leave exactly this month's streams open: she is told, not left in the dark.
        missing = mine(small, at(opens), keys(small, at(before)))
        assert {gap.seal for gap in missing.gaps} == {parse_seal(seal)}


def test_a_seal_ends_in_february_of_a_leap_year_on_another_day(small: SmallDepartment) -> None:
    stated = small.log.version(small.source).statement | {"seal_months": 24}
    small.log.change_source(small.source, seal_months=stated["seal_months"])
    small.log.publish(small.ledger.folder, NOW)
    march = parse_seal("2028-03")
    assert record(small, march, event("anna", DAY)) == []
    small.send()
    assert mine(small, at("2028-02-29T23:59:59")).accesses == []
    assert len(mine(small, at("2028-03-01T00:00:00")).accesses) == 1


def test_before_its_month_a_person_with_a_sealed_record_is_told_from_one_without(
    small: SmallDepartment,
) -> None:
    record(small, MARCH, event("anna", DAY))
    small.send()
    shape = [(one.source, one.epoch, one.seal) for one in keys(small, NOW).keys]
    assert shape == [(one.source, one.epoch, one.seal) for one in keys(small, NOW, subject="id:nobody").keys]
    assert max(seal for _, _, seal in shape) == month_of(DAY) + 1  # July 2026, the present month


def test_seals_share_a_counter_with_open_records(small: SmallDepartment) -> None:
    for second, seal in enumerate((0, MARCH, 0, MARCH, parse_seal("2027-04"))):
        assert record(small, seal, event("anna", DAY, second)) == []
    small.send()
    with small.home() as home:
        found = {stream.seal: (stream.given, stream.done) for stream in home.outbox.streams()}
    assert found == {0: (2, 2), MARCH: (2, 2), parse_seal("2027-04"): (1, 1)}
    assert len(mine(small, at("2027-04-01T00:00:00")).accesses) == 5


def test_a_lost_outbox_counts_sealed_streams_from_one_again(small: SmallDepartment) -> None:
    record(small, MARCH, event("anna", DAY, 1), event("anna", DAY, 2))
    small.send()
    for path in small.home_folder.glob("outbox.sqlite*"):
        path.unlink()
    with small.home() as home:
        recovery.begin(home.outbox, small.now)
        registration = home.registration(small.now, print)
        maker = home.maker(registration)
        recovery.finish(home.outbox, home.view(small.now), maker, 60, True)
        outcomes = read_fhir(small.write_log([event("anna", DAY, 3)]), parse_mapping(MAP, "m"))
        find = asking(lambda: home.view(small.now), maker)
        list(record_events(seal_outcomes(outcomes, MARCH), maker, home.outbox, small.now, find))
        assert [(s.seal, s.given) for s in home.outbox.streams()] == [(MARCH, 3)]
    small.send()
    found = mine(small, at("2027-03-01T00:00:00")).accesses
    assert sorted(access.n for access in found) == [1, 2, 3]


def test_what_is_opened_early_changes_an_entry_or_lacks_its_proof(small: SmallDepartment) -> None:
    record(small, MARCH, event("anna", DAY))
    small.send()
    before = list(small.log.entries)
    file = keys(small, NOW, unseal=(MARCH,))
    found = mine(small, NOW, file)
    assert [access.record.seal for access in found.accesses] == [MARCH]
    assert (found.gaps, found.faults) == ([], []) and small.log.entries[: len(before)] == before
    # Only what the register makes possible, and nothing twice.
    impossible = keys(small, NOW, unseal=(MARCH, MARCH + 100, month_of(DAY)))
    assert impossible.keys == file.keys


def test_a_seal_is_opened_early_without_a_record_of_it(small: SmallDepartment) -> None:
    record(small, MARCH, event("anna", DAY))
    small.send()
    with small.home() as home:
        registration = home.registration(NOW, print)
        with pytest.raises(CannotGoOn, match="name its activity"):
            check_unseal(registration, None)
        with pytest.raises(CannotGoOn, match="99 is not registered"):
            check_unseal(registration, 99)
        record_unsealing(home, registration, [ANNA], [MARCH], check_unseal(registration, 1), NOW)
    small.send()
    accesses = mine(small, NOW, keys(small, NOW, unseal=(MARCH,))).accesses
    assert sorted(access.record.seal for access in accesses) == [0, MARCH]
    never = replace(registration.newest, seal_months=0)
    with pytest.raises(CannotGoOn, match="never could seal"):
        check_unseal(replace(registration, versions=(never,)), 1)


def test_the_commands_seal_and_open(small: SmallDepartment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.department.importcommand.time.time", lambda: float(NOW))
    log = small.write_log([event("anna", DAY)])
    where = ["--dir", str(small.home_folder)]
    refused = CliRunner().invoke(app, ["import", "fhir", str(log), *where, "--seal", "2027-08"])
    assert refused.exit_code == 3 and "later than the register allows" in refused.output
    with small.home() as home:
        assert home.outbox.counts().owed == 0
    ran = CliRunner().invoke(app, ["import", "fhir", str(log), *where, "--seal", "2027-03", "--json"])
    assert ran.exit_code == 0 and json.loads(ran.stdout)["summary"]["recorded"] == 1
    small.send()
    out = small.folder / "anna.keys.json"
    words = ["keys", *where, "--subject", ANNA, "--out", str(out)]
    failed = CliRunner().invoke(app, [*words, "--unseal", "2027-03"])
    assert failed.exit_code == 3 and not out.exists()  # nothing is given that is not recorded
    done = CliRunner().invoke(app, [*words, "--unseal", "2027-03", "--activity", "1"])
    assert done.exit_code == 0, done.output
    assert MARCH in {secret.seal for secret in parse_keys_file(out.read_bytes()).keys}
    with small.home() as home:
        assert home.outbox.counts().waiting == 1
