"""Counters lost with the outbox: rebuilt from the public index, and not before that is safe."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from fhirevents import r4
from logfactory import NOW
from smalldepartment import TODAY, SmallDepartment

from ledger.department import recovery
from ledger.department.recovery import Recovered, asking, count_streams
from ledger.department.settings import CannotGoOn

MERGE_DELAY = 60


def event(person: str, second: int) -> dict[str, Any]:
    return r4(recorded=f"{TODAY}T10:00:{second:02}Z", entity=[{"what": {"reference": f"Patient/{person}"}}])


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    small = SmallDepartment(tmp_path)
    small.record(*(event("anna", second) for second in range(20)), event("ben", 0))
    small.send()
    return small


def lose(small: SmallDepartment) -> None:
    for path in small.home_folder.glob("outbox.sqlite*"):
        path.unlink()


def recover(small: SmallDepartment, nothing_waits: bool = False) -> Recovered:
    with small.home() as home:
        recovery.begin(home.outbox, small.now)
        registration = home.registration(small.now, print)
        return recovery.finish(
            home.outbox, home.view(small.now), home.maker(registration), MERGE_DELAY, nothing_waits
        )


def record_after(small: SmallDepartment, *events: dict[str, Any]) -> None:
    with small.home() as home:
        assert recovery.must_ask(home.outbox) and not recovery.is_recovering(home.outbox)
        maker = home.maker(home.registration(small.now, print))
        find = asking(lambda: home.view(small.now), maker)
    small.record(*events, find=find)


def later(small: SmallDepartment, seconds: int) -> None:
    """The log is published again with a witness timestamp so much later."""
    small.now += seconds
    small.ledger.now = small.now
    small.ledger.publish()


def test_lost_outbox_gives_numbers_again(small: SmallDepartment) -> None:
    lose(small)
    with pytest.raises(CannotGoOn, match="may still be on their way"):
        recover(small)
    later(small, MERGE_DELAY - 1)
    with pytest.raises(CannotGoOn, match="1 s too early"):
        recover(small)
    later(small, 1)
    assert recover(small) == Recovered(0, 0, 0)
    record_after(small, event("anna", 30), event("carl", 1), event("anna", 31))
    small.send()
    assert sorted(small.numbers_in_log("id:anna")) == list(range(1, 23))
    assert small.numbers_in_log("id:carl") == [1]


def test_operator_saying_that_nothing_waits_is_not_enough(small: SmallDepartment) -> None:
    lose(small)
    assert recover(small, nothing_waits=True) == Recovered(0, 0, 0)


def test_number_is_given_while_the_counters_are_unknown(small: SmallDepartment) -> None:
    lose(small)
    with small.home() as home:
        recovery.begin(home.outbox, small.now)
    with pytest.raises(CannotGoOn, match="being recovered"):
        small.record(event("anna", 30))


def test_first_time_of_recovery_is_forgotten(small: SmallDepartment) -> None:
    lose(small)
    with small.home() as home:
        assert recovery.begin(home.outbox, NOW) == NOW
        assert recovery.begin(home.outbox, NOW + 1000) == NOW


def test_old_backup_gives_numbers_again(small: SmallDepartment) -> None:
    backup = small.folder / "backup.sqlite"
    with small.home() as home:
        home.outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(small.home_folder / "outbox.sqlite", backup)
    small.record(event("anna", 40), event("ben", 41))
    small.send()
    lose(small)
    shutil.copy(backup, small.home_folder / "outbox.sqlite")
    # Unaware, the restored outbox gives number 21 a second time: the ledger refuses it.
    small.record(event("anna", 50))
    counts = small.send()
    assert counts.refused == 1
    with small.home() as home:
        assert home.outbox.problems()[0][0].startswith("label-conflict")
    with pytest.raises(CannotGoOn, match="60 s too early"):
        recover(small)
    later(small, MERGE_DELAY)
    assert recover(small) == Recovered(2, 1, 1)
    assert small.send().owed == 0
    assert sorted(small.numbers_in_log("id:anna")) == list(range(1, 23))
    with small.home() as home:
        assert home.outbox.counts().streams_done == 2


@pytest.mark.parametrize("records", [0, 1, 7, 8, 9, 23, 24, 25, 56, 57])
def test_long_stream_is_counted_short(records: int, tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    for _ in range(records):
        small.log.access(small.source, "id:dora")
    small.ledger.publish()
    with small.home() as home:
        maker = home.maker(home.registration(small.now, print))
        streams = [(2026, 0, "id:nobody"), (2026, 0, "id:dora"), (2025, 0, "id:dora")]
        assert count_streams(home.view(small.now), maker, streams) == [0, records, 0]
