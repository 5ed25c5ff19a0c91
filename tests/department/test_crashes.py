"""A crash at any point: each statement of the outbox failed, each commit failed but persisted, kill -9, a full disk."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhirevents import r4
from smalldepartment import MAP, TODAY, SmallDepartment

from ledger.department.home import Home
from ledger.department.importers.fhir import read_fhir
from ledger.department.importing import record_events
from ledger.department.mapping import parse_mapping
from ledger.department.outbox import Outbox
from ledger.department.settings import CannotGoOn


class Failing:
    """A connection whose statement number `at` fails: before it is executed, or (a commit) after."""

    def __init__(self, db: sqlite3.Connection, at: int, persisted: bool) -> None:
        self._db, self._at, self._persisted, self.count = db, at, persisted, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, sql: str, *values: Any) -> Any:
        return self._run(self._db.execute, sql, *values)

    def executemany(self, sql: str, *values: Any) -> Any:
        return self._run(self._db.executemany, sql, *values)

    def _run(self, call: Any, sql: str, *values: Any) -> Any:
        self.count += 1
        if self.count == self._at:
            if self._persisted:
                call(sql, *values)
            raise sqlite3.OperationalError("disk I/O error")
        return call(sql, *values)


def events(persons: int = 3, each: int = 2) -> list[dict[str, Any]]:
    return [
        r4(recorded=f"{TODAY}T10:00:{second:02}Z", entity=[{"what": {"reference": f"Patient/p{person}"}}])
        for second in range(each)
        for person in range(persons)
    ]


def check_outbox(home: Path) -> dict[str, int]:
    """Every number given has its record or its receipt, from 1 on, each once; returns the counters."""
    with Outbox(home / "outbox.sqlite") as outbox:
        rows = outbox._db.execute(
            "SELECT stream, n FROM records UNION ALL SELECT stream, n FROM receipts"
        ).fetchall()
        given: dict[str, int] = {}
        for stream in outbox.streams():
            assert sorted(n for s, n in rows if s == stream.id) == list(range(1, stream.given + 1))
            given[stream.subject] = stream.given
        assert outbox._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return given


def fail_at(monkeypatch: pytest.MonkeyPatch, at: int, persisted: bool) -> list[Failing]:
    made: list[Failing] = []
    original = Home.__init__

    def init(self: Home, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        made.append(Failing(self.outbox._db, at, persisted))
        self.outbox._db = made[-1]  # type: ignore[assignment]

    monkeypatch.setattr(Home, "__init__", init)
    return made


def places(count: int) -> Iterator[tuple[int, bool]]:
    for at in range(1, count + 1):
        yield at, False
        yield at, True


def count_statements(small: SmallDepartment, act: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    with monkeypatch.context() as counting:
        made = fail_at(counting, -1, False)
        act(small)
        return made[-1].count


def crash(
    small: SmallDepartment, act: Any, at: int, persisted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as failing:
        fail_at(failing, at, persisted)
        with pytest.raises(CannotGoOn):
            act(small)
    check_outbox(small.home_folder)


def test_failure_at_some_statement_of_an_import_loses_a_number_or_gives_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SmallDepartment(tmp_path)

    def record(small: SmallDepartment) -> None:
        small.record(*events(2, 2))

    statements = count_statements(small, record, monkeypatch)
    assert statements > 10
    for at, persisted in places(statements):
        for path in small.home_folder.glob("outbox.sqlite*"):
            path.unlink()
        crash(small, record, at, persisted, monkeypatch)
        record(small)
        assert check_outbox(small.home_folder) == {"id:p0": 2, "id:p1": 2}


def test_failure_at_some_statement_of_a_send_loses_a_record_or_logs_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ready(name: str) -> SmallDepartment:
        (tmp_path / name).mkdir()
        small = SmallDepartment(tmp_path / name)
        small.record(*events(1, 2))
        return small

    statements = count_statements(ready("count"), SmallDepartment.send, monkeypatch)
    assert statements > 10
    for at, persisted in places(statements):
        small = ready(f"{at}-{persisted}")
        crash(small, SmallDepartment.send, at, persisted, monkeypatch)
        assert small.send().owed == 0
        assert check_outbox(small.home_folder) == {"id:p0": 2}
        assert sorted(small.numbers_in_log("id:p0")) == [1, 2]


IMPORT = "import sys; from ledger.department.cli import app; app(sys.argv[1:])"


def test_kill_9_in_an_import_loses_an_event_or_records_it_twice(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    persons, each = 20, 60
    log = small.write_log(events(persons, each))
    command = [sys.executable, "-c", IMPORT, "import", "fhir", "--dir", str(small.home_folder), str(log)]
    chance = random.Random(11)
    outbox = small.home_folder / "outbox.sqlite-wal"
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        size, deadline = outbox.stat().st_size if outbox.exists() else 0, time.monotonic() + 20
        # Wait until this run writes, then strike at a random moment.
        while process.poll() is None and time.monotonic() < deadline:
            if outbox.exists() and outbox.stat().st_size != size:
                time.sleep(chance.random() * 0.3)
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        check_outbox(small.home_folder)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{persons * each} events: {persons * each} recorded" in done.stdout
    assert check_outbox(small.home_folder) == {f"id:p{person}": each for person in range(persons)}


def test_full_disk_loses_what_was_recorded_before(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    small.record(*events())
    before = check_outbox(small.home_folder)
    with small.home() as home:
        pages = home.outbox._db.execute("PRAGMA page_count").fetchone()[0]
        home.outbox._db.execute(f"PRAGMA max_page_count={pages + 5}")
        maker = home.maker(home.registration(small.now, print))
        path = small.write_log(events(20, 20), "more.ndjson")
        with pytest.raises(CannotGoOn, match="the disk is full; .* make room and run it again"):
            list(record_events(read_fhir(path, parse_mapping(MAP, "m")), maker, home.outbox, small.now))
    assert check_outbox(small.home_folder) == before
    small.send()


def test_outbox_of_another_release_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    Outbox(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(CannotGoOn, match="another release"):
        Outbox(path)


def test_file_that_is_no_outbox_is_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"not a database at all" * 300)
    with pytest.raises(CannotGoOn, match="damaged, or no outbox"):
        Outbox(path)
    assert os.path.getsize(path) == 6300
