"""Details erased by record, by date and by rule: durably decided, asked for until answered, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from erasingledger import ErasingLedger, small_department
from fhirevents import r4
from logfactory import DAY
from smalldepartment import SmallDepartment
from typer.testing import CliRunner

from ledger.core.encoding import day_of, format_date, parse_date
from ledger.core.errors import Malformed
from ledger.core.keysfile import KeysFile
from ledger.core.receipt import check_receipt, parse_receipt
from ledger.core.replay import Replay, bad_signatures
from ledger.department.cli import app
from ledger.department.erasecommand import Choice, check_choice, erase_details
from ledger.department.erasing import erase_daily
from ledger.department.erasures import count_erasures, note_receipts
from ledger.department.handin import Busy, LedgerClient
from ledger.department.outboxschema import NOTED
from ledger.department.release import notices_for, release
from ledger.department.retention import Retention, open_since, read_retention
from ledger.department.settings import CannotGoOn, read_settings
from ledger.department.strict_toml import parse_toml

SECONDS = 86_400


@pytest.fixture
def made(tmp_path: Path) -> tuple[SmallDepartment, ErasingLedger]:
    """Three accesses to Anna's data, on three days, and one to Ben's; all with receipts."""
    small, ledger = small_department(tmp_path)
    small.record(*(event("anna", DAY - back) for back in (0, 1, 2)), event("ben", DAY))
    small.send()
    return small, ledger


def event(person: str, day: int, second: int = 0) -> dict[str, Any]:
    moment = datetime.fromtimestamp(day * SECONDS + 36_000 + second, UTC)
    return r4(
        recorded=moment.strftime("%Y-%m-%dT%H:%M:%SZ"), entity=[{"what": {"reference": f"Patient/{person}"}}]
    )


def erase(small: SmallDepartment, choice: Choice, dry_run: bool = False) -> dict[str, Any]:
    with small.home() as home:
        return erase_details(home, choice, dry_run, small.now, print, lambda: client(small))


def client(small: SmallDepartment) -> LedgerClient:
    return LedgerClient("http://ledger.invalid", small.ledger.transport())


def counts(small: SmallDepartment) -> tuple[int, int, int]:
    with small.home() as home:
        found = count_erasures(home.outbox)
        return found.kept, found.waiting, found.erased


def positions(small: SmallDepartment) -> list[int]:
    with small.home() as home:
        return sorted(position for position, _ in home.outbox.receipts())


def keys_file(small: SmallDepartment, person: str) -> KeysFile:
    with small.home() as home:
        registration = home.registration(small.now, print)
        notices = notices_for(home.settings.home, home.outbox, registration.source, [f"id:{person}"])
        return release(registration, home.seeds(), [f"id:{person}"], small.now, notices=notices)


def test_one_record_takes_others_with_it(made: tuple[SmallDepartment, ErasingLedger]) -> None:
    small, ledger = made
    chosen = positions(small)[1]
    result = erase(small, Choice(records=(chosen,)))
    assert (result["chosen"], result["erased"], result["unknown"]) == (1, 1, 0)
    assert len(ledger.envelopes) == 3 and counts(small) == (3, 0, 1)
    again = erase(small, Choice(records=(chosen,)))
    assert (again["chosen"], again["erased"]) == (0, 0)
    assert len(ledger.erasures) == 1


def test_a_record_that_is_none_of_ours_is_erased(made: tuple[SmallDepartment, ErasingLedger]) -> None:
    small, ledger = made
    with pytest.raises(CannotGoOn, match="entry 99999: is no record of this department with a receipt"):
        erase(small, Choice(records=(99_999, positions(small)[0])))
    assert counts(small) == (4, 0, 0) and not ledger.erasures


def test_before_a_day_takes_that_day_or_leaves_an_earlier_one(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, ledger = made
    shown = erase(small, Choice(before=DAY), dry_run=True)
    assert sorted(one["date"] for one in shown["records"]) == [format_date(DAY - 2), format_date(DAY - 1)]
    assert not ledger.erasures and counts(small) == (4, 0, 0)
    assert erase(small, Choice(before=DAY, activity=7))["chosen"] == 0
    assert erase(small, Choice(before=DAY, activity=1))["erased"] == 2
    assert len(ledger.envelopes) == 2


@pytest.mark.parametrize("mishap", ["lost", "busy", "nonsense", "drop"])
def test_a_fault_on_the_way_forgets_the_decision(
    made: tuple[SmallDepartment, ErasingLedger], mishap: str
) -> None:
    small, ledger = made
    ledger.mishaps = [mishap]
    with pytest.raises(Busy if mishap == "busy" else CannotGoOn):
        erase(small, Choice(before=DAY))
    assert counts(small) == (2, 2, 0)  # noted, and asked for until it is answered
    assert erase(small, Choice())["erased"] == 2
    assert counts(small) == (2, 0, 2) and len(ledger.envelopes) == 2


def test_what_the_ledger_does_not_answer_counts_as_erased(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, ledger = made
    ledger.mishaps = ["silent"]
    assert erase(small, Choice(before=DAY))["unknown"] == 2
    assert counts(small) == (2, 2, 0)


def test_a_restored_backup_of_the_operator_keeps_what_was_erased(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, ledger = made
    backup = dict(ledger.envelopes)
    erase(small, Choice(before=DAY))
    ledger.envelopes = backup
    assert erase(small, Choice(again=True))["erased"] == 2
    assert len(ledger.envelopes) == 2


def test_a_record_without_receipt_is_chosen(made: tuple[SmallDepartment, ErasingLedger]) -> None:
    small, ledger = made
    small.record(event("carl", DAY - 3))
    result = erase(small, Choice(before=DAY))
    assert (result["chosen"], result["without_receipt"]) == (2, 1)
    small.send()
    assert erase(small, Choice(before=DAY))["chosen"] == 1


def test_the_log_or_a_receipt_suffers(made: tuple[SmallDepartment, ErasingLedger]) -> None:
    small, _ = made
    erase(small, Choice(before=DAY + 1))
    replay = Replay(small.log.origin, small.now)
    replay.report(bad_signatures(small.log.origin, replay.feed_many(small.log.entries)))
    replay.finish()
    assert list(replay.violations) == []
    with small.home() as home:
        for _, receipt in home.outbox.receipts():
            check_receipt(parse_receipt(receipt), home.policy, small.now)


def test_counters_go_back_when_details_are_erased(made: tuple[SmallDepartment, ErasingLedger]) -> None:
    small, _ = made
    erase(small, Choice(before=DAY + 1))
    small.record(event("anna", DAY, 5))
    small.send()
    assert sorted(small.numbers_in_log("id:anna")) == [1, 2, 3, 4]


def test_the_person_is_not_told_which_of_hers_are_erased(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, _ = made
    erase(small, Choice(before=DAY))
    erased = keys_file(small, "anna").notices.erased
    # Anna's are of the days DAY, DAY − 1 and DAY − 2, in this order.
    assert [(one.number, one.seal, one.day) for one in erased] == [
        (2, 0, day_of(small.now)),
        (3, 0, day_of(small.now)),
    ]
    assert keys_file(small, "ben").notices.erased == ()


def rules(days: int | None = None, **activities: int) -> Retention:
    return Retention(days, {int(name[1:]): count for name, count in activities.items()})


@pytest.mark.parametrize(
    ("kept", "day", "seal", "activity", "due"),
    [
        (rules(30), DAY - 30, 0, 1, False),
        (rules(30), DAY - 31, 0, 1, True),
        (rules(30, a1=90), DAY - 31, 0, 1, False),
        (rules(30, a1=90), DAY - 91, 0, 1, True),
        (rules(a1=90), DAY - 9000, 0, 2, False),
        (rules(), DAY - 9000, 0, 1, False),
        # Sealed: from the day on which it opens, 1 July 2026 here, and by `days` alone.
        (rules(30), DAY - 400, 678, 0, False),
        (rules(a1=1), 0, 1, 0, False),
    ],
)  # fmt: skip
def test_a_rule_is_a_day_off(kept: Retention, day: int, seal: int, activity: int, due: bool) -> None:
    assert kept.is_due(day, seal, activity, DAY) is due


def test_a_sealed_record_is_due_before_it_was_ever_open() -> None:
    january = (2027 - 1970) * 12  # sealed in December 2026 until January 2027
    day = parse_date("2026-12-31", "day")
    assert open_since(day, january) == parse_date("2027-01-01", "day")
    kept = rules(10)
    assert not kept.is_due(day, january, 0, parse_date("2027-01-11", "day"))
    assert kept.is_due(day, january, 0, parse_date("2027-01-12", "day"))
    leap = rules(1)
    assert not leap.is_due(parse_date("2028-02-28", "day"), 0, 1, parse_date("2028-02-29", "day"))
    assert leap.is_due(parse_date("2028-02-28", "day"), 0, 1, parse_date("2028-03-01", "day"))


@pytest.mark.parametrize(
    "text",
    [
        "days = 0", "days = '1'", "days = 1.5", "notice_days = 0", "more = 1", "[activities]\n0 = 5",
        "[activities]\n01 = 5", "[activities]\n1 = 0", "[activities]\nx = 1", "[activities]\n1 = true",
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_taken(text: str) -> None:
    with pytest.raises(Malformed):
        read_retention(parse_toml(text.encode(), "department.toml"))


def test_settings_do_not_hold_the_rules(made: tuple[SmallDepartment, ErasingLedger]) -> None:
    small, _ = made
    path = small.home_folder / "department.toml"
    path.write_text(path.read_text() + "[retention]\ndays = 3650\n[retention.activities]\n1 = 730\n")
    assert read_settings(small.home_folder).retention == Retention(3650, {1: 730})


def daily(small: SmallDepartment, kept: Retention, now: int) -> list[str]:
    said: list[str] = []
    with small.home() as home:
        registration = home.registration(small.now, print)
        erase_daily(home.outbox, kept, registration, small.source.key, client(small), now, said.append)
    return said


def test_the_agent_erases_later_than_the_rules_say_or_twice_a_day(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, ledger = made
    noon = (DAY + 1) * SECONDS + 43_200
    ledger.now = noon
    assert daily(small, rules(2), noon) == ["The details of 1 record are erased at the operator."]
    assert daily(small, rules(1), noon + 60) == []  # once a day
    ledger.now = noon + SECONDS
    assert daily(small, rules(2), noon + SECONDS) == ["The details of 1 record are erased at the operator."]
    assert len(ledger.envelopes) == 2


def test_a_day_on_which_the_operator_was_away_is_left_out(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, ledger = made
    ledger.mishaps = ["lost"]
    noon = ledger.now
    with pytest.raises(CannotGoOn):
        daily(small, rules(1), noon)
    assert daily(small, rules(1), noon + 30) == ["The details of 4 records are erased at the operator."]


def test_many_records_go_in_one_request_a_person(tmp_path: Path) -> None:
    small, ledger = small_department(tmp_path)
    small.record(*(event(f"p{number}", DAY, number) for number in range(30)))
    small.send()
    erase(small, Choice(before=DAY + 1))
    assert [len(erasure.leaves) for erasure in ledger.erasures] == [30]


def test_options_that_contradict_each_other_are_taken(tmp_path: Path) -> None:
    assert check_choice(Choice(records=(1,), before=3)) and check_choice(Choice(activity=3))
    assert check_choice(Choice(rule=True, again=True)) and not check_choice(Choice(before=3, activity=1))
    runner = CliRunner()
    for words in (
        ["--record", "1", "--rule"],
        ["--activity", "1"],
        ["--before", "2026-02-30"],
        ["--record", "-1"],
    ):
        assert runner.invoke(app, ["erase", "--dir", str(tmp_path), *words]).exit_code == 2


def test_receipts_of_an_earlier_release_are_not_noted_or_looked_through_for_ever(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, _ = made
    with small.home() as home:
        assert note_receipts(home.outbox) == 0
        with home.outbox.transaction() as db:
            before = db.execute("SELECT * FROM details ORDER BY position").fetchall()
            db.execute("DELETE FROM details")
        assert note_receipts(home.outbox) == 0
        home.outbox.put(NOTED, None)
        assert note_receipts(home.outbox) == 4
        with home.outbox.reading() as db:
            assert db.execute("SELECT * FROM details ORDER BY position").fetchall() == before
        assert note_receipts(home.outbox) == 0


def test_the_command_erases_in_a_dry_run_or_does_not_say_what(
    made: tuple[SmallDepartment, ErasingLedger],
) -> None:
    small, _ = made
    words = ["--dir", str(small.home_folder)]
    shown = CliRunner().invoke(app, ["erase", *words, "--before", "9999-01-01", "--dry-run"])
    assert shown.exit_code == 0 and "The details of 4 records would be erased. Nothing was." in shown.stdout
    # They are logged in random order.
    days = [format_date(DAY - back) for back in (0, 1, 2)]
    assert any(f"entry {positions(small)[0]}, {day}, activity 1" in shown.stdout for day in days)
    # The ledger of department.toml cannot be reached: it is noted, and said by status.
    failed = CliRunner().invoke(app, ["erase", *words, "--before", "9999-01-01"])
    assert failed.exit_code == 3
    status = json.loads(CliRunner().invoke(app, ["status", *words, "--json"]).stdout)
    assert status["erasure"]["details"] == {"kept": 0, "to_erase": 4, "erased": 0}
    told = CliRunner().invoke(app, ["status", *words])
    assert "The details of 0 records are erased, those of 4 are to be; 0 are kept." in told.stdout
