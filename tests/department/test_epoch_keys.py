"""A year's VRF key is destroyed after an announced time and two steps, completely, and never by a slip."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from erasingledger import small_department
from logfactory import DAY
from smalldepartment import SmallDepartment
from test_erasing_details import counts, erase, event, keys_file
from typer.testing import CliRunner

from ledger.core.completeness import seals_to_ask_for
from ledger.core.encoding import parse_date
from ledger.core.errors import Malformed
from ledger.core.receipt import check_receipt, parse_receipt
from ledger.department import epochkeys
from ledger.department.checks import about_epochs
from ledger.department.cli import app
from ledger.department.epochkeys import FILE, announce, earliest, last_opening, read_epochs, withdraw
from ledger.department.erasecommand import Choice, ask_to_destroy, destroy_epoch, finish_epoch
from ledger.department.settings import CannotGoOn, read_settings

SECONDS = 86_400
STATE = {
    "announced": 1,
    "not_before": 0,
    "opening": 0,
    "code": "",
    "asked": 0,
    "confirmed": 0,
    "destroyed": 0,
}
OLD = parse_date("2025-05-06", "day")


def noon(date: str) -> int:
    return parse_date(date, "day") * SECONDS + 43_200


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    """Records of Anna and Ben in 2025, and one of Anna in 2026; the source may not seal."""
    small, _ = small_department(tmp_path)
    small.record(event("anna", OLD), event("anna", OLD + 1), event("ben", OLD), event("anna", DAY))
    small.send()
    return small


def versions(small: SmallDepartment) -> list[Any]:
    return [small.log.version(small.source)]


def step(small: SmallDepartment, date: str, code: str | None = None, epoch: int = 2025) -> list[str]:
    """One step on that day; with a code the second."""
    with small.home() as home:
        registration = home.registration(small.now, print)
        if code is None:
            return ask_to_destroy(home, registration, epoch, noon(date))
        return destroy_epoch(home, registration, epoch, code, noon(date))


def code_in(lines: list[str]) -> str:
    found = re.search(r"--confirm ([0-9]{6})", "\n".join(lines))
    assert found
    return found.group(1)


def announced(
    small: SmallDepartment, date: str = "2027-01-01", now: str = "2026-07-02", notice: int = 90
) -> None:
    announce(small.home_folder, 2025, parse_date(date, "day"), versions(small), notice, noon(now))


def destroy(small: SmallDepartment) -> None:
    announced(small)
    step(small, "2027-01-02", code_in(step(small, "2027-01-02")))


def key_path(small: SmallDepartment) -> Path:
    return small.home_folder / "keys" / "vrf-2025.key"


def test_a_key_goes_without_announcement(small: SmallDepartment) -> None:
    with pytest.raises(CannotGoOn, match="was not announced"):
        step(small, "2030-01-01")
    assert key_path(small).exists()


def test_an_announcement_gives_less_time_than_the_rules_say(small: SmallDepartment) -> None:
    first = earliest(2025, versions(small), 90, parse_date("2026-07-02", "day"))
    assert first == parse_date("2026-09-30", "day")
    with pytest.raises(CannotGoOn, match="announce 2026-09-30 or later"):
        announced(small, "2026-09-29")
    announced(small, "2026-09-30")
    with pytest.raises(CannotGoOn, match="until 2026-09-30"):
        step(small, "2026-09-29")
    assert code_in(step(small, "2026-09-30"))


def test_a_year_that_goes_on_or_has_seals_to_open_loses_its_key(tmp_path: Path) -> None:
    small, _ = small_department(tmp_path, seal_months=14)
    stated = versions(small)
    # December 2025 and 14 months: the last record of 2025 opens in February 2027.
    assert last_opening(2025, stated) == parse_date("2027-02-01", "day")
    last = (2027 - 1970) * 12 + 1
    assert seals_to_ask_for(stated, 2025, 10**6)[-1] == last
    with pytest.raises(CannotGoOn, match="2027-02-01: announce 2027-05-02"):
        announced(small, "2027-05-01")
    announced(small, "2027-05-02")
    with pytest.raises(CannotGoOn, match="opens on 2027-02-01"):
        step(small, "2027-01-31")
    # Allowed less by a newer version: what was sealed under the older one still opens late.
    small.log.change_source(small.source, seal_months=0)
    both = [stated[0], small.log.version(small.source)]
    assert last_opening(2025, both) == parse_date("2027-02-01", "day")
    assert last_opening(2026, versions(small)) == parse_date("2027-01-01", "day")


def test_seals_allowed_after_the_announcement_are_cut_short(small: SmallDepartment) -> None:
    announced(small)
    small.log.change_source(small.source, seal_months=6)
    small.log.publish(small.ledger.folder, small.now)
    with pytest.raises(CannotGoOn, match="sealed for longer than when it was announced"):
        step(small, "2027-01-02")


def test_the_second_step_is_skipped_or_guessed(small: SmallDepartment) -> None:
    announced(small)
    with pytest.raises(CannotGoOn, match="nothing to confirm"):
        step(small, "2027-01-02", "123456")
    code = code_in(step(small, "2027-01-02"))
    with pytest.raises(CannotGoOn, match="that is not the code"):
        step(small, "2027-01-02", "x" + code[1:])
    with pytest.raises(CannotGoOn, match="nothing to confirm"):  # one attempt a code
        step(small, "2027-01-02", code)
    code = code_in(step(small, "2027-01-02"))
    with pytest.raises(CannotGoOn, match="more than a day old"):
        step(small, "2027-01-04", code)
    assert key_path(small).exists() and not read_epochs(small.home_folder)[2025].confirmed


def test_records_without_receipts_are_left_behind(small: SmallDepartment) -> None:
    announced(small)
    small.record(event("carl", OLD))
    with pytest.raises(CannotGoOn, match="1 records of the year have no receipt yet"):
        step(small, "2027-01-02")
    small.send()
    assert code_in(step(small, "2027-01-02"))


def test_the_key_or_a_name_is_still_there(small: SmallDepartment) -> None:
    before = key_path(small).read_bytes()
    with key_path(small).open("rb") as held:  # the file itself is overwritten, not only its name removed
        destroy(small)
        held.seek(0)
        assert held.read() != before
    assert not key_path(small).exists()
    for path in small.home_folder.glob("outbox.sqlite*"):
        assert b"id:ben" not in path.read_bytes()  # of 2025 alone; Anna has a record of 2026, too
    with small.home() as home:
        assert [(s.epoch, s.subject) for s in home.outbox.streams()] == [(2026, "id:anna")]
        assert sorted(home.seeds()) == [2026]


def test_receipts_are_lost_or_hold_no_longer(small: SmallDepartment) -> None:
    destroy(small)
    with small.home() as home:
        kept = list(home.outbox.receipts())
        assert home.outbox.counts().receipts == len(kept) == 4
        for _, receipt in kept:
            check_receipt(parse_receipt(receipt), home.policy, small.now)


def test_a_person_is_given_no_keys_of_other_years_or_is_not_told(small: SmallDepartment) -> None:
    announced(small)
    file = keys_file(small, "anna")
    assert sorted(secret.epoch for secret in file.keys) == [2025, 2026]
    assert [(one.epoch, one.day) for one in file.notices.announced] == [
        (2025, parse_date("2027-01-01", "day"))
    ]
    step(small, "2027-01-02", code_in(step(small, "2027-01-02")))
    file = keys_file(small, "anna")
    assert [secret.epoch for secret in file.keys] == [2026]
    assert [(one.epoch, one.day) for one in file.notices.destroyed] == [
        (2025, parse_date("2027-01-02", "day"))
    ]
    assert file.notices.announced == ()


def test_the_year_can_be_recorded_in_after_its_key_is_gone(small: SmallDepartment) -> None:
    destroy(small)
    ((outcome, _),) = small.record(event("dora", OLD))
    assert outcome.reason and not outcome.accesses
    ((outcome, _),) = small.record(event("dora", DAY))
    assert outcome.accesses
    small.send()


def test_details_of_the_year_cannot_be_erased_afterwards(small: SmallDepartment) -> None:
    destroy(small)
    assert counts(small) == (4, 0, 0)
    assert erase(small, Choice(before=OLD + 2))["erased"] == 3
    assert counts(small) == (1, 0, 3)


def test_a_key_that_is_not_the_registered_one_is_destroyed_in_its_place(small: SmallDepartment) -> None:
    announced(small)
    path = key_path(small)
    path.write_bytes((small.home_folder / "keys" / "vrf-2026.key").read_bytes())
    with pytest.raises(CannotGoOn, match="does not hold the registered key"):
        step(small, "2027-01-02")
    assert path.exists()


def test_a_key_in_the_memory_of_an_agent_is_called_destroyed(small: SmallDepartment) -> None:
    announced(small)
    code = code_in(step(small, "2027-01-02"))
    with small.home() as agent:
        agent.seeds()
        with pytest.raises(CannotGoOn, match="another program has the keys in its memory"):
            step(small, "2027-01-02", code)
        assert key_path(small).exists()
    step(small, "2027-01-02", code)
    assert not key_path(small).exists()


@pytest.mark.parametrize("killed_in", ["note_receipts", "unlink_persons", "destroy_file", "_put"])
def test_a_crash_leaves_half_a_destruction(
    small: SmallDepartment, killed_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced(small)
    code = code_in(step(small, "2027-01-02"))
    calls = []

    def die(*args: Any) -> None:
        calls.append(args)
        if killed_in != "_put" or len(calls) == 2:  # the second state written is the last step
            raise KeyboardInterrupt
        put(*args)

    put = epochkeys._put
    monkeypatch.setattr(epochkeys, killed_in, die)
    with pytest.raises(KeyboardInterrupt):
        step(small, "2027-01-02", code)
    monkeypatch.undo()
    assert epochkeys.is_unfinished(small.home_folder, 2025)
    # Nothing uses the key from the confirmation on, whether the file is there or not.
    assert [secret.epoch for secret in keys_file(small, "anna").keys] == [2026]
    with small.home() as home:
        finish_epoch(home, 2025, noon("2027-01-03"))
    assert not key_path(small).exists() and not epochkeys.is_unfinished(small.home_folder, 2025)
    with small.home() as home:
        assert [s.epoch for s in home.outbox.streams()] == [2026]
        assert home.outbox.counts().receipts == 4


KILLED = """
import os, signal, sys
from pathlib import Path
from ledger.department import epochkeys
from ledger.department.erasecommand import destroy_epoch
from ledger.department.home import Home
real = os.fsync
def fsync(handle):
    if os.readlink(f"/proc/self/fd/{handle}").endswith(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
with Home(Path(sys.argv[1])) as home:
    destroy_epoch(home, home.registration(int(sys.argv[3]), print), 2025, sys.argv[2], int(sys.argv[3]))
"""


def test_kill_9_while_the_key_is_overwritten_leaves_it_in_use(small: SmallDepartment) -> None:
    announced(small)
    code = code_in(step(small, "2027-01-02"))
    words = [
        sys.executable,
        "-c",
        KILLED,
        str(small.home_folder),
        code,
        str(noon("2027-01-02")),
        "vrf-2025.key",
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert key_path(small).exists()
    with small.home() as home:
        assert sorted(home.seeds()) == [2026]
        finish_epoch(home, 2025, noon("2027-01-02"))
    assert not key_path(small).exists()


def test_what_was_announced_cannot_be_taken_back_or_what_was_done_can(small: SmallDepartment) -> None:
    assert not withdraw(small.home_folder, 2025)
    announced(small)
    assert withdraw(small.home_folder, 2025) and not read_epochs(small.home_folder)
    destroy(small)
    with pytest.raises(CannotGoOn, match="cannot be undone"):
        withdraw(small.home_folder, 2025)
    with pytest.raises(CannotGoOn, match="destroyed already"):
        announced(small, "2030-01-01")


def test_a_year_that_is_not_registered_is_announced(small: SmallDepartment) -> None:
    with pytest.raises(CannotGoOn, match="no VRF key in the register"):
        announce(small.home_folder, 2019, DAY + 4000, versions(small), 90, noon("2026-07-02"))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{}", b'{"epochs": []}', b'{"epochs": {"x": {}}}', b'{"epochs": {"2025": {}}}',
        json.dumps({"epochs": {"2025": STATE | {"announced": -1}}}).encode(),
        json.dumps({"epochs": {"2025": STATE | {"code": 7}}}).encode(),
        json.dumps({"epochs": {"2025": STATE | {"more": 7}}}).encode(),
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_read_counts_as_nothing_announced(
    small: SmallDepartment, content: bytes
) -> None:
    (small.home_folder / FILE).write_bytes(content)
    with pytest.raises(Malformed, match=FILE), small.home() as home:
        home.seeds()


def test_the_commands_say_what_they_do(small: SmallDepartment, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [noon("2026-07-03")]
    monkeypatch.setattr("ledger.department.erasecli.time.time", lambda: float(clock[0]))

    def run(*words: str, code: int = 0) -> str:
        ran = CliRunner().invoke(app, ["erase-epoch", "2025", "--dir", str(small.home_folder), *words])
        assert ran.exit_code == code, ran.output
        return ran.output

    assert "was not announced" in run(code=3)
    run("--announce", "tomorrow", code=2)
    run("--announce", "2027-01-01", "--withdraw", code=2)
    assert "Announced: the VRF key of 2025 is destroyed on 2027-01-01 or later." in run(
        "--announce", "2027-01-01"
    )
    words = ["status", "--dir", str(small.home_folder)]
    assert (
        "is to be destroyed on 2027-01-01 or later, as announced on 2026-07-03"
        in CliRunner().invoke(app, words).stdout
    )
    clock[0] = noon("2027-01-05")
    asked = run()
    assert "who has none will never find her accesses of that year" in asked and "forgets 2 streams" in asked
    assert "is destroyed; the outbox forgot 2 streams" in run("--confirm", code_in([asked]))
    status = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert status["erasure"]["epochs"] == {"2025": {"not_before": "2027-01-01", "destroyed": "2027-01-05"}}
    assert "destroyed already" in run("--announce", "2030-01-01", code=3)


def test_the_doctor_overlooks_what_was_announced_or_a_key_that_came_back(small: SmallDepartment) -> None:
    def found(date: str) -> list[tuple[str, str]]:
        settings = read_settings(small.home_folder)
        return [(one.mark, one.says) for one in about_epochs(settings, noon(date))]

    kept = key_path(small).read_bytes()
    assert found("2026-07-02") == []
    announced(small)
    assert found("2026-12-31") == [
        ("good", "its key is to be destroyed on 2027-01-01 or later, as announced")
    ]
    assert found("2027-01-01") == [("look", "was announced for 2027-01-01, which has come")]
    step(small, "2027-01-02", code_in(step(small, "2027-01-02")))
    assert found("2027-01-03") == [("good", "its key was destroyed on 2027-01-02")]
    key_path(small).write_bytes(kept)
    ((state, says),) = found("2027-01-03")
    assert state == "mend" and "is there again" in says
