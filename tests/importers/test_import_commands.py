"""The import as people meet it: a mapping that does not fit is refused whole, and words and JSON tell the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from smalldepartment import TODAY, SmallDepartment
from typer.testing import CliRunner, Result

from ledger.department import importresult
from ledger.department.cli import app

MAP = """format = "csv"

[time]
from = "when"

[subject]
from = "who"
scheme = "id"

[activity]
default = 1

[actor]
id = "by"

[reason]
text = "why"
"""
HEAD = "when,who,by,why\n"
ROW = f"{TODAY}T00:00:00Z,p1,clerk,because\n"


def glassbook(*words: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return result


class Desk:
    """A department with a mapping for CSV and two logs."""

    def __init__(self, folder: Path, map_: str = MAP) -> None:
        self.small = SmallDepartment(folder)
        self.map = folder / "csv.toml"
        self.map.write_text(map_)
        self.logs = [folder / "monday.csv", folder / "tuesday.csv"]
        for log in self.logs:
            log.write_text(HEAD + ROW)

    def run(self, *words: str | Path, code: int = 0) -> Result:
        where = ("--dir", self.small.home_folder, "--map", self.map)
        return glassbook("import", "csv", *where, *words, *self.logs, code=code)

    def waiting(self) -> int:
        with self.small.home() as home:
            return home.outbox.counts().waiting


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


REFUSED: dict[str, tuple[str, str, str]] = {
    "activity": (
        "default = 1", "default = 9",
        "csv.toml: line 11: activity.default: activity 9 is not registered for this source (it has 1",
    ),
    "activity of a rule": (
        "[actor]", "[[activity.rule]]\nactivity = 8\nwhere = { by = 'x' }\n[actor]",
        "csv.toml: line 14: activity.rule[0].activity: activity 8 is not registered",
    ),
    "scheme": ('"id"', '"passport"', "csv.toml: line 6: subject: the scheme passport is not registered"),
    "exact subject": (
        "[activity]", "[subject.exact]\n'Mr X' = 'id:Mr'\n[activity]",
        "csv.toml: line 10: subject.exact: member 1: leads to no subject of this log",
    ),
    "scheme of a pattern": (
        "[activity]", "[[subject.pattern]]\nmatch = 'x'\nsubject = 'nr:1'\n[activity]",
        "csv.toml: line 12: subject.pattern[0].subject: the scheme nr is not registered",
    ),
    "claim": ('[reason]\ntext = "why"\n', "", "csv.toml: reason: missing; the charter demands this claim"),
    "unknown member": ("[actor]", "[actor]\nnick = 'by'", "csv.toml: line 14: actor.nick: unknown"),
    "column": ('id = "by"', 'id = "user"', "monday.csv: has no column user, which"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_mapping_that_does_not_fit_queues_something(case: str, tmp_path: Path) -> None:
    old, new, fault = REFUSED[case]
    assert old in MAP
    desk = Desk(tmp_path, MAP.replace(old, new, 1))
    for words in ((), ("--dry-run",)):
        assert fault in desk.run(*words, code=3).stderr
    assert desk.waiting() == 0


def test_default_that_does_not_fit_the_register_is_used(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.small.log.change_source(desk.small.source, schemes=["nhs"])
    desk.small.ledger.publish()
    (desk.small.home_folder / "map.toml").write_text("[activity]\ndefault = 1\n")
    log = desk.small.write_log([])
    refused = glassbook("import", "fhir", "--dir", desk.small.home_folder, log, code=3).stderr
    assert "map.toml: subject: missing; by the default the scheme id is not registered" in refused


def test_second_file_that_does_not_fit_is_found_when_the_first_is_queued(desk: Desk) -> None:
    desk.logs[1].write_text("time,person\n")
    assert "tuesday.csv: has no column by, when, who, why" in desk.run(code=3).stderr
    assert desk.waiting() == 0


def test_import_of_two_files_says_otherwise_than_it_does(desk: Desk) -> None:
    desk.logs[1].write_text(HEAD + ROW.replace("p1", "p2") + ROW.replace("p1", "") + "\n")
    done = desk.run()
    assert "3 events: 2 recorded, 0 not about a person, 1 rejected." in done.stdout
    assert "monday.csv: 1 = 1 recorded + 0 not about a person + 0 rejected" in done.stdout
    assert "tuesday.csv: 2 = 1 recorded + 0 not about a person + 1 rejected" in done.stdout
    assert "tuesday.csv: line 3: who: names no person" in done.stderr
    assert desk.waiting() == 2
    assert "2 of them had been recorded before" in desk.run().stdout
    assert desk.waiting() == 2


def test_imported_row_never_reaches_the_log(desk: Desk) -> None:
    desk.logs[0].write_text(HEAD + ROW * 3)
    desk.run()
    desk.small.send()
    assert sorted(desk.small.numbers_in_log("id:p1")) == [1, 2, 3]


def test_rows_from_a_pipe_are_lost(desk: Desk, tmp_path: Path) -> None:
    where = ["--dir", str(desk.small.home_folder), "--map", str(desk.map)]
    program = [sys.executable, "-m", "ledger.department.cli", "import", "csv", *where, "/dev/stdin"]
    run = subprocess.run(program, input=HEAD + ROW, capture_output=True, text=True, check=True)
    assert "1 event: 1 recorded" in run.stdout


def test_folder_or_forbidden_file_gives_a_traceback(desk: Desk, tmp_path: Path) -> None:
    desk.logs = [tmp_path, tmp_path / "none.csv", *desk.logs]
    result = desk.run(code=3)
    assert "4 events: 2 recorded, 0 not about a person, 2 rejected." in result.stdout
    assert "Is a directory" in result.stderr and "No such file" in result.stderr


def test_dry_run_shows_another_sentence_or_records(desk: Desk) -> None:
    shown = desk.run("--dry-run").stdout
    assert f"id:p1  On {TODAY} clerk used your data. " in shown and "Reason given: because." in shown
    found = json.loads(desk.run("--dry-run", "--json").stdout)
    assert [access["position"] for access in found["accesses"]] == ["line 2", "line 2"]
    assert found["format"] == "csv" and found["left_off"] == 0
    assert desk.waiting() == 0


def test_list_in_the_json_has_no_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importresult, "LISTED", 3)
    desk.logs[0].write_text(HEAD + "bad\n" * 10)
    found = json.loads(desk.run("--json").stdout)
    assert (len(found["rejected"]), found["left_off"], found["summary"]["rejected"]) == (3, 7, 10)


def test_format_that_needs_a_mapping_goes_without(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(HEAD + ROW)
    assert "csv: needs a mapping file" in glassbook("import", "csv", "--dry-run", log, code=3).stderr


def test_mapping_of_another_format_is_used(desk: Desk) -> None:
    wrong = glassbook("import", "jsonl", "--dry-run", "--map", desk.map, desk.logs[0], code=3).stderr
    assert "csv.toml: line 1: format: is csv, and the import is of jsonl" in wrong
    plain = glassbook(
        "import", "csv", "--dry-run", "--map", desk.small.home_folder / "map.toml", desk.logs[0], code=3
    )
    assert 'format: missing; write format = "csv"' in plain.stderr


def test_file_without_events_passes_for_one_with_some(tmp_path: Path, desk: Desk) -> None:
    for log in desk.logs:
        log.write_text(HEAD)
    assert "No event of the format csv is in these files." in desk.run().stdout


def test_long_log_is_held_in_memory(tmp_path: Path) -> None:
    """Fifty megabytes of rows about nobody, in a process of its own: they are never in its memory together."""
    map_, log = tmp_path / "map.toml", tmp_path / "log.csv"
    map_.write_text(MAP + "[[nobody]]\nwhere = { by = 'clerk' }\n")
    with log.open("w") as out:
        out.write(HEAD)
        for _ in range(50):
            out.write((ROW.strip() + "x" * 1000 + "\n") * 1000)
    script = (
        "import sys; from ledger.department.cli import app\n"
        "def peak(): return next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
        "try: app()\n"
        "finally: print(peak(), file=sys.stderr)"
    )
    words = ["import", "csv", "--dry-run", "--json", "--map", str(map_), str(log)]
    run = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    result = json.loads(run.stdout)
    assert result["summary"]["not_about_a_person"] == 50_000 and result["left_off"] == 40_000
    # Its own highest, KiB: `ru_maxrss` would begin with that of the process which started it.
    assert int(run.stderr.split()[-1]) < 120_000
