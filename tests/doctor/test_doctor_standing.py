"""What the doctor says of states that come and go: a key being rotated, promises overdue, something put back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from fhirevents import r4
from smalldepartment import TODAY, SmallDepartment
from test_whole_log import events
from wholelog import WholeLog

from ledger.checkup import Finding, Place
from ledger.core.keys import Ed25519PrivateKey, format_private_key
from ledger.department.checks import checks
from ledger.department.rotating import rotate_key
from ledger.files import write_atomic


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


def found(small: SmallDepartment, later_s: int = 0) -> dict[str, Finding]:
    place = Place(small.home_folder, None, False, small.now + later_s)
    return {one.check: one for one in checks(place)}


def look_at_register(small: SmallDepartment) -> None:
    with small.home() as home:
        home.registration(small.now, print)


def test_two_keys_of_a_rotation_are_called_wrong_or_two_wrong_ones_right(small: SmallDepartment) -> None:
    look_at_register(small)
    assert found(small)["source key"].says.endswith("is the one of the register")
    with small.home() as home:
        _, statement = rotate_key(home, home.registration(small.now, print), None)
    before = found(small)
    assert before["source key"].says.endswith("is the one of the register")
    assert (before["next source key"].mark, before["source key"].mark) == ("good", "good")
    assert "not the one in force" in before["next source key"].says
    small.log.change_source(small.source, key=json.loads(statement.read_text())["key"])
    small.ledger.publish()
    look_at_register(small)
    after = found(small)
    assert after["next source key"].says.endswith("is the one of the register")
    assert after["source key"].mark == "good" and "not the one in force" in after["source key"].says
    with small.home() as home:
        second = home.settings.next_key
    assert second is not None
    other = format_private_key(Ed25519PrivateKey.from_seed(bytes(32)), None)
    write_atomic(second, other, 0o600)
    assert {found(small)[name].mark for name in ("source key", "next source key")} == {"mend"}


def test_a_retired_source_is_to_be_mended_for_ever(small: SmallDepartment) -> None:
    look_at_register(small)
    small.log.change_source(small.source, status="retired", retired=TODAY)
    small.ledger.publish()
    look_at_register(small)
    # Years later, too, when it has no key of the year and needs none.
    for later_s in (0, 3 * 366 * 86_400):
        told = found(small, later_s)
        assert told["register"].mark == "look" and "keys" in told["register"].do
        assert not [one for one in told.values() if "is not registered" in one.says]


def test_a_revoked_source_is_nothing_to_mend(small: SmallDepartment) -> None:
    small.log.change_source(small.source, status="revoked", revoked=TODAY)
    small.ledger.publish()
    look_at_register(small)
    assert found(small)["register"].mark == "mend"


def test_an_overdue_promise_is_not_told(small: SmallDepartment) -> None:
    small.ledger.forgetting = True
    small.record(r4(recorded=f"{TODAY}T10:00:00Z", entity=[{"what": {"reference": "Patient/anna"}}]))
    with small.home() as home:
        small.sender(home).send(wait=False)
    assert found(small)["promises"] == Finding("good", "promises", "none of 1 is overdue")
    overdue = found(small, 3600)["promises"]
    assert overdue.mark == "mend" and overdue.says.startswith("1 record accepted more than a minute ago")
    assert overdue.do.startswith("run: glassbook department promises --out DIR")


def _put_back(database: bytes, checkpoint: bytes, folder: Path) -> None:
    for path in folder.glob("ledger.sqlite*"):
        path.unlink()
    (folder / "ledger.sqlite").write_bytes(database)
    (folder / "public" / "checkpoint").write_bytes(checkpoint)


def _database(folder: Path, copy: Path) -> bytes:
    """The database as a backup has it."""
    with (
        closing(sqlite3.connect(folder / "ledger.sqlite")) as live,
        closing(sqlite3.connect(copy)) as kept,
    ):
        live.backup(kept)
        kept.execute("PRAGMA journal_mode=WAL").fetchall()
    return copy.read_bytes()


def _settled(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_an_older_database_or_public_folder_put_back_goes_unseen(whole: WholeLog, tmp_path: Path) -> None:
    old_database = _database(whole.operator, tmp_path / "old.sqlite")
    old_checkpoint = (whole.operator / "public" / "checkpoint").read_bytes()
    whole.source("import", "fhir", events(tmp_path, 2, 40))
    whole.source("send", "--wait")
    _settled(lambda: (whole.operator / "public" / "checkpoint").read_bytes() != old_checkpoint)
    database = _database(whole.operator, tmp_path / "new.sqlite")
    copy = tmp_path / "operator"
    shutil.copytree(whole.operator, copy)
    _put_back(old_database, old_checkpoint, copy)
    told = whole.doctor(copy, code=3)
    assert "✗ signed checkpoint: one of " in told
    assert "bring the newer database back; this log can never be signed without those entries" in told
    _put_back(database, old_checkpoint, copy)
    told = whole.doctor(copy, code=3)
    assert "✓ signed checkpoint: " in told
    assert "✗ public files: hold " in told and "were they restored? The publisher writes them again" in told
