"""The daily coverage: exact, once a day, never too early, whatever happens to agent, ledger and outbox."""

from pathlib import Path

import pytest
from fhirevents import r4
from logfactory import DAY, NOW
from smallagent import agent_of, coverages_in_log, owed
from smalldepartment import TODAY, SmallDepartment
from test_crashes import check_outbox, fail_at, places

from ledger.core.encoding import SECONDS_PER_DAY, format_date
from ledger.core.errors import GlassbookError
from ledger.core.receipt import check_receipt, parse_receipt
from ledger.department.coveragerule import CoverageRule
from ledger.department.coveragetable import count_coverages, coverages
from ledger.department.outbox import Outbox


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


def event(person: str, day: int = DAY, second: int = 0) -> dict[str, object]:
    return r4(
        recorded=f"{format_date(day)}T10:00:{second:02}Z",
        entity=[{"what": {"reference": f"Patient/{person}"}}],
    )


def test_a_day_is_left_out_or_counted_wrong(small: SmallDepartment) -> None:
    small.record(*(event("anna", DAY, second) for second in range(5)), event("ben", DAY - 3))
    with agent_of(small) as running:
        running.rounds(4)
        found = coverages_in_log(small)
        assert list(found) == owed(small)
        assert {day: count for day, count in found.items() if count} == {DAY: 5, DAY - 3: 1}
        assert count_coverages(running.home.outbox).done == len(found)
        receipts = [
            row[0]
            for row in running.home.outbox._db.execute("SELECT receipt FROM coverages WHERE state = 'done'")
        ]
        for receipt in receipts[:5]:
            check_receipt(parse_receipt(receipt), small.log.policy(), NOW)


@pytest.mark.parametrize("hour", [0, 4, 23])
def test_a_day_is_covered_before_its_hour(hour: int) -> None:
    rule = CoverageRule(hour)
    for now in range(NOW, NOW + 2 * SECONDS_PER_DAY, 1800):
        last = rule.last_due(now)
        assert rule.due(last) <= now < rule.due(last + 1)
        assert (last + 1) * SECONDS_PER_DAY <= now


def test_a_record_that_may_be_on_its_way_is_not_counted(small: SmallDepartment) -> None:
    small.record(event("anna"), event("ben", DAY - 1))
    small.ledger.plan = ["drop"]  # taken, and the answer lost: nobody here knows
    small.ledger.publishing = False
    with agent_of(small) as running:
        running.agent.round()
        kept = {one.day for one in coverages(running.home.outbox, ("waiting", "handed in"), 1000)}
        assert kept and not kept & {DAY, DAY - 1}
        small.ledger.publishing = True
        small.ledger.publish()
        running.wait(20)
        running.rounds(4)
    assert coverages_in_log(small)[DAY] == 1 and coverages_in_log(small)[DAY - 1] == 1


def test_a_record_overtakes_the_coverage_that_does_not_count_it(small: SmallDepartment) -> None:
    with agent_of(small) as running:
        small.ledger.plan = ["lost"] * 3  # the coverages are made and wait
        running.agent.round()
        assert coverages(running.home.outbox, ("waiting",), 1000)
        small.record(event("anna"))
        assert running.home.outbox.to_hand_in(10) == []
        small.ledger.plan = []
        running.wait(60)
        running.rounds(4)
        assert running.home.outbox.counts().receipts == 1
    # It came too late to be counted, and after the coverage of its day.
    assert coverages_in_log(small)[DAY] == 0


def test_records_that_the_ledger_refuses_silence_their_day_for_ever(small: SmallDepartment) -> None:
    small.record(event("anna"), event("ben"))
    with agent_of(small) as running:

        def round_refused() -> set[int]:
            small.ledger.plan = ["refuse rule-broken"]
            running.agent.round()
            return {one.day for one in coverages(running.home.outbox, ("handed in", "done"), 1000)}

        assert DAY - 1 in round_refused() and DAY not in round_refused()
        running.wait(11 * 3600)
        assert DAY not in round_refused()
        running.wait(3600)
        assert DAY in round_refused()
        small.ledger.plan = []
        running.wait(700)
        running.rounds(4)
    assert coverages_in_log(small)[DAY] == 0
    assert small.ledger.records_of(DAY) == 2


def test_a_deleted_outbox_makes_a_coverage_of_another_count(small: SmallDepartment) -> None:
    small.record(*(event("anna", DAY, second) for second in range(3)))
    small.send()
    for path in small.home_folder.glob("outbox.sqlite*"):
        path.unlink()
    with agent_of(small) as running:
        running.rounds(4)
    assert coverages_in_log(small)[DAY] == 3


def test_a_coverage_that_is_there_already_is_fought_over(small: SmallDepartment) -> None:
    small.record(event("anna"))
    with agent_of(small) as running:
        running.rounds(4)
    before = coverages_in_log(small)
    for path in small.home_folder.glob("outbox.sqlite*"):
        path.unlink()
    with agent_of(small) as running:
        running.rounds(4)
        assert count_coverages(running.home.outbox).done == len(before)
    assert coverages_in_log(small) == before


def test_what_another_outbox_logged_meanwhile_is_not_counted(small: SmallDepartment, tmp_path: Path) -> None:
    with agent_of(small) as running:
        small.ledger.plan = ["lost"] * 3
        running.agent.round()
        small.ledger.plan = []
        # A record of the same source that this outbox never saw.
        small.log.access(small.source, "id:zoe", day=DAY)
        small.ledger.publish()
        running.wait(60)
        running.rounds(2)
        assert coverages(running.home.outbox, ("refused",), 10)
        running.wait(120)
        running.rounds(4)
        assert not coverages(running.home.outbox, ("refused", "waiting", "handed in"), 10)
    assert coverages_in_log(small)[DAY] == 1


def test_a_failure_at_some_statement_of_a_round_makes_a_wrong_coverage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ready(name: str) -> SmallDepartment:
        (tmp_path / name).mkdir()
        small = SmallDepartment(tmp_path / name)
        # Few days: the statements are what counts here.
        small.log.change_source(small.source, since=format_date(DAY - 31))
        small.ledger.publish()
        small.record(event("anna"), event("ben"), event("anna", DAY - 2))
        return small

    def act(small: SmallDepartment) -> None:
        with agent_of(small) as running:
            running.rounds(2)

    counting = ready("count")
    with monkeypatch.context() as counted:
        made = fail_at(counted, -1, False)
        act(counting)
        statements = made[-1].count
    assert statements > 30
    for at, persisted in list(places(statements))[::19]:
        small = ready(f"{at}-{persisted}")
        with monkeypatch.context() as failing:
            fail_at(failing, at, persisted)
            try:
                act(small)
            except GlassbookError:
                pass
        small.slept.append(700)
        with agent_of(small) as running:
            running.rounds(4)
        check_outbox(small.home_folder)
        found = coverages_in_log(small)
        assert sorted(found) == owed(small) and found[DAY] == 2 and found[DAY - 2] == 1
        assert sorted(small.numbers_in_log("id:anna")) == [1, 2]
        with Outbox(small.home_folder / "outbox.sqlite") as outbox:
            assert outbox.counts().owed == 0
            assert count_coverages(outbox).done == len(found)


def test_today_is_covered(small: SmallDepartment) -> None:
    assert format_date(DAY) == TODAY
    with agent_of(small) as running:
        running.rounds(3)
    assert max(coverages_in_log(small)) == small.now // SECONDS_PER_DAY - 1
