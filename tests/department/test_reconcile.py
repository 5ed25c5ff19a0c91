"""An application's log against the receipts: what has no record, what has no access, and nothing about whom."""

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fhirevents import r4
from smalldepartment import TODAY, SmallDepartment
from typer.testing import CliRunner, Result

from ledger.core.encoding import format_date, parse_date
from ledger.core.entries import Record, decode_entry
from ledger.department import recovery
from ledger.department.cli import app
from ledger.department.epochkeys import unlink_persons
from ledger.department.importers.jsonlines import read_json_lines, read_jsonl_mapping
from ledger.department.importers.source import Source
from ledger.department.importing import record_events
from ledger.department.outbox import Outbox

OLD_FILE = Path(__file__).with_name("outbox-v1.sql")
YESTERDAY = format_date(parse_date(TODAY, "") - 1)
JSONL = """format = "jsonl"
[time]
from = "at"
[subject]
from = "people"
scheme = "id"
[activity]
default = 1
[actor]
id = "who"
[event]
request_id = "request"
trace_id = "trace"
"""


def event(person: str, second: int = 0, day: str = TODAY) -> dict[str, Any]:
    return r4(
        recorded=f"{day}T10:{second // 60:02}:{second % 60:02}Z",
        entity=[{"what": {"reference": f"Patient/{person}"}}],
    )


def glassbook(*words: str | Path, code: int) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return result


def compared(small: SmallDepartment, *words: str | Path, code: int = 0) -> dict[str, Any]:
    words = ("reconcile", *words, "--dir", small.home_folder, "--json")
    found: dict[str, Any] = json.loads(glassbook(*words, code=code).stdout)
    assert_adds_up(found)
    return found


def assert_adds_up(found: dict[str, Any]) -> None:
    """Each event in one class, and the days' sums those of the whole."""
    summary = found["summary"]
    of_access = ("with_receipt", "waiting", "refused", "without_record", "not_told")
    others = ("not_about_a_person", "failed", "rejected", "repeated", "outside")
    assert summary["accesses"] == sum(summary[name] for name in of_access)
    assert summary["events"] == summary["accesses"] + sum(summary[name] for name in others)
    for day in found["days"]:
        assert day["accesses"] == sum(day[name] for name in of_access)
    for name in (*of_access, "accesses"):
        assert summary[name] == sum(day[name] for day in found["days"])
    for name, count in summary["records"].items():
        assert count == sum(day["records"][name] for day in found["days"])


def lines(small: SmallDepartment, name: str, *events: dict[str, Any]) -> Path:
    return small.write_log(
        ({"at": f"{TODAY}T09:00:00Z", "who": "clerk 7", "people": ["anna"]} | one for one in events), name
    )


def record_lines(small: SmallDepartment, log: Path) -> None:
    """A JSON Lines log into the outbox, as `import` does it."""
    mapping = read_jsonl_mapping(JSONL.encode(), "map")
    with small.home() as home, Source(log) as source:
        maker = home.maker(home.registration(small.now, print))
        for outcome, _ in record_events(read_json_lines(source, mapping), maker, home.outbox, small.now):
            assert outcome.accesses, outcome


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    small = SmallDepartment(tmp_path)
    (tmp_path / "jsonl.toml").write_text(JSONL)
    return small


def test_an_access_without_a_record_is_taken_for_one_with_a_receipt(small: SmallDepartment) -> None:
    small.record(event("anna", 1), event("anna", 2), event("ben", 1))
    small.send()
    small.record(event("cleo", 1))
    log = small.write_log(
        [event("anna", 1), event("anna", 2), event("dan"), event("ben", 1), event("cleo", 1), r4(entity=None)]
    )
    found = compared(small, "fhir", log, code=3)
    assert {name: count for name, count in found["summary"].items() if count and type(count) is int} == {
        "events": 6, "accesses": 5, "with_receipt": 3, "waiting": 1, "without_record": 1, "not_about_a_person": 1,
    }  # fmt: skip
    assert found["lists"]["without_record"] == [
        {"file": str(log), "position": "line 3", "day": TODAY, "entries": []}
    ]
    assert not found["accounted"] and found["complete"]
    small.send()
    log = small.write_log([event("anna", 1), event("anna", 2), event("ben", 1), event("cleo", 1)])
    found = compared(small, "fhir", log, "--strict")
    assert found["exact"] and found["summary"]["with_receipt"] == 4


def test_an_entry_is_named_by_another_index(small: SmallDepartment) -> None:
    small.record(event("anna", 1), event("ben", 2, YESTERDAY), event("ben", 3))
    small.send()
    log = small.write_log([event("anna", 1), event("ben", 2, YESTERDAY)])
    found = compared(small, "fhir", log, "--all")
    by_position = {item["position"]: item for item in found["lists"]["with_receipt"]}
    for position, person, day, n in (("line 1", "anna", TODAY, 1), ("line 2", "ben", YESTERDAY, 1)):
        (index,) = by_position[position]["entries"]
        entry = decode_entry(small.log.entries[index])
        assert isinstance(entry, Record) and format_date(entry.day) == day == by_position[position]["day"]
        assert entry.label == small.log.stream(small.source, f"id:{person}", 2026).label(n)
    (unmet,) = found["lists"]["records_without_access"]
    entry = decode_entry(small.log.entries[unmet["index"]])
    assert isinstance(entry, Record)
    assert entry.label == small.log.stream(small.source, "id:ben", 2026).label(2)
    assert unmet["day"] == TODAY and unmet["activity"] == entry.activity
    assert found["accounted"] and not found["exact"]
    compared(small, "fhir", log, "--strict", code=3)


def test_days_not_asked_for_are_counted(small: SmallDepartment) -> None:
    small.record(event("anna", 1), event("ben", 2, YESTERDAY))
    small.send()
    log = small.write_log([event("anna", 1), event("ben", 2, YESTERDAY), event("dan", 3, YESTERDAY)])
    found = compared(small, "fhir", log, "--from", TODAY)
    assert found["summary"]["outside"] == 2 and [day["day"] for day in found["days"]] == [TODAY]
    assert found["exact"]
    found = compared(small, "fhir", log, "--to", YESTERDAY, code=3)
    assert found["summary"]["without_record"] == 1 and found["summary"]["outside"] == 1
    empty = small.write_log([], "empty.ndjson")
    found = compared(small, "fhir", empty, "--from", YESTERDAY, "--to", YESTERDAY, code=3)
    assert found["summary"]["records"]["without_access"] == 1
    assert found["summary"]["rejected"] == 1  # an empty file is no log


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "yesterday"),
        ("--to", "2026-2-1"),
        ("--from", "2026-02-02", "--to", "2026-02-01"),
        ("--by", "x"),
    ],
)
def test_options_that_are_not_right_are_guessed_at(small: SmallDepartment, words: tuple[str, ...]) -> None:
    log = small.write_log([event("anna")])
    glassbook("reconcile", "fhir", log, "--dir", small.home_folder, *words, code=2)
    glassbook("reconcile", "docx", log, "--dir", small.home_folder, code=2)


def test_an_event_in_two_files_counts_twice(small: SmallDepartment) -> None:
    small.record(event("anna", 1), event("anna", 2))
    small.send()
    first = small.write_log([event("anna", 1)], "a.ndjson")
    second = small.write_log([event("anna", 1), event("anna", 2)], "b.ndjson")
    found = compared(small, "fhir", first, second, "--strict")
    assert found["summary"]["repeated"] == 1 and found["summary"]["with_receipt"] == 2


def test_a_refused_record_is_taken_for_one_on_its_way(small: SmallDepartment) -> None:
    both = event("anna") | {"entity": [{"what": {"reference": f"Patient/{p}"}} for p in ("anna", "ben")]}
    small.record(both)
    small.ledger.plan = ["refuse rule-broken"]
    with small.home() as home:
        small.sender(home).send(wait=False)
    found = compared(small, "fhir", small.write_log([both]), code=3)
    (refused,) = found["lists"]["refused"]
    assert refused["reason"] == "rule-broken" and found["summary"]["refused"] == 1


def test_a_person_whom_the_mapping_finds_since_is_taken_for_recorded(small: SmallDepartment) -> None:
    two = event("anna") | {
        "entity": [{"what": {"reference": "Patient/anna"}}],
        "agent": [{"who": {"reference": "Patient/ben"}, "requestor": True}],
    }
    small.record(two)
    (small.folder / "new.toml").write_bytes(
        (small.home_folder / "map.toml").read_bytes().replace(b'"entity"]', b'"entity", "agent"]')
    )
    found = compared(small, "fhir", small.write_log([two]), "--map", small.folder / "new.toml", code=3)
    (missing,) = found["lists"]["without_record"]
    assert missing["reason"] == "1 of its 2 accesses have a record"


def test_a_record_with_another_number_is_lost_to_its_event(small: SmallDepartment) -> None:
    small.record(event("anna", 1))
    small.send()
    for path in small.home_folder.glob("outbox.sqlite*"):
        path.unlink()
    small.record(event("anna", 2))  # n = 1 once more: an outbox that was lost
    with small.home() as home:
        small.sender(home).send(wait=False)
        assert [code for code, _ in home.outbox.problems()][0].startswith("label-conflict")
        recovery.begin(home.outbox, small.now)
        registration = home.registration(small.now, print)
        recovery.finish(home.outbox, home.view(small.now), home.maker(registration), 60, True)
    small.send()
    found = compared(small, "fhir", small.write_log([event("anna", 2)]), "--all")
    (item,) = found["lists"]["with_receipt"]
    entry = decode_entry(small.log.entries[item["entries"][0]])
    assert isinstance(entry, Record)
    assert entry.label == small.log.stream(small.source, "id:anna", 2026).label(2)


def test_a_destroyed_year_is_taken_for_missing_or_still_leads_to_persons(small: SmallDepartment) -> None:
    small.record(event("anna", 1), event("anna", 2))
    small.send()
    log = small.write_log([event("anna", 1), event("anna", 2)])
    assert compared(small, "fhir", log)["exact"]
    with small.home() as home:
        unlink_persons(home.outbox, 2026)
    with sqlite3.connect(small.home_folder / "outbox.sqlite") as db:
        assert db.execute("SELECT count(*) FROM links").fetchone() == (0,)
    found = compared(small, "fhir", log)
    assert found["summary"]["not_told"] == 2 and found["accounted"] and not found["exact"]
    assert found["summary"]["records"] == {
        "with_access": 0, "without_access": 0, "without_claim": 0, "not_told": 2,
    }  # fmt: skip


def test_an_outbox_of_an_earlier_release_is_refused_or_its_events_are_missing(small: SmallDepartment) -> None:
    path = small.home_folder / "outbox.sqlite"
    db = sqlite3.connect(path)
    db.executescript(OLD_FILE.read_text())
    db.close()
    small.record(event("anna", 1))
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM links")  # as the earlier release left it
    found = compared(small, "fhir", small.write_log([event("anna", 1)]))
    assert found["summary"]["not_told"] == 1 and found["accounted"]
    assert found["summary"]["records"]["without_access"] == 0
    assert found["summary"]["records"]["not_told"] >= 1


def test_one_record_answers_for_many_accesses_of_its_trace(small: SmallDepartment) -> None:
    trace, other = "0af7651916cd43dd8448eb211c80319c", "1" * 32
    record_lines(
        small, lines(small, "a.jsonl", *({"n": i, "trace": trace} for i in range(9)), {"trace": other})
    )
    small.send()
    log = lines(
        small,
        "b.jsonl",
        *({"m": i, "trace": trace} for i in range(10)),
        {"m": 11},
        {"m": 12, "trace": "2" * 32},
    )
    found = compared(
        small, "jsonl", log, "--map", small.folder / "jsonl.toml", "--by", "event.trace_id", code=3
    )
    summary = found["summary"]
    assert (summary["with_receipt"], summary["without_record"]) == (9, 3)
    assert [item.get("reason") for item in found["lists"]["without_record"]] == [
        None, "does not have event.trace_id, by which records are looked for", None,
    ]  # fmt: skip
    assert summary["records"] == {"with_access": 9, "without_access": 1, "without_claim": 0, "not_told": 0}
    by_identity = compared(small, "jsonl", log, "--map", small.folder / "jsonl.toml", code=3)
    assert by_identity["summary"]["without_record"] == 12


def test_a_record_without_the_claim_is_said_to_have_no_access(small: SmallDepartment) -> None:
    record_lines(small, lines(small, "a.jsonl", {"request": "r-1"}, {"n": 2}))
    log = lines(small, "b.jsonl", {"request": "r-1", "other": "log"})
    words = ("jsonl", log, "--map", small.folder / "jsonl.toml", "--by", "event.request_id")
    found = compared(small, *words)
    assert found["summary"]["waiting"] == 1
    assert found["summary"]["records"] == {
        "with_access": 1, "without_access": 0, "without_claim": 1, "not_told": 0,
    }  # fmt: skip


def test_words_or_json_name_a_person_or_what_was_written(small: SmallDepartment) -> None:
    secret = {"people": ["secret-person"], "who": "secret-clerk", "request": "secret-request"}
    record_lines(small, lines(small, "a.jsonl", secret, secret | {"n": 1}))
    log = lines(small, "b.jsonl", secret, secret | {"n": 2}, secret | {"at": "secret-time"})
    words = (
        "reconcile",
        "jsonl",
        log,
        "--map",
        small.folder / "jsonl.toml",
        "--dir",
        small.home_folder,
        "--all",
    )
    for result in (glassbook(*words, code=3), glassbook(*words, "--json", code=3)):
        assert "secret" not in result.output
    with Outbox(small.home_folder / "outbox.sqlite") as outbox, outbox.reading() as db:
        kept = db.execute("SELECT key FROM links").fetchall()
    assert kept and all(len(key) == 32 for (key,) in kept)


def test_the_words_say_something_else_than_the_counts(small: SmallDepartment) -> None:
    small.record(event("anna", 1), event("ben", 1))
    small.send()
    log = small.write_log([event("anna", 1), event("cleo", 1), r4(recorded="never")])
    shown = glassbook("reconcile", "fhir", log, "--dir", small.home_folder, code=3).stdout.splitlines()
    (unmet,) = compared(small, "fhir", log, code=3)["lists"]["records_without_access"]
    assert [" ".join(line.split()) for line in shown] == [
        f"without a record: {log}: line 2 ({TODAY})",
        f"rejected: {log}: line 3: recorded: is no instant (date, time and zone, as in 2026-02-28T10:03:00Z)",
        f"without an access: entry {unmet['index']} ({TODAY}, activity 1)",
        "day accesses receipt waiting refused no record not told records no access",
        f"{TODAY} 2 1 0 0 1 0 2 1",
        "3 events: 2 accesses",
        "1 rejected",
        "1 access has no record: import the log that they stand in.",
        "What was rejected may be an access: correct the mapping or the log.",
        "1 record has no access here: is every log of these days named?",
        "NOT ACCOUNTED FOR: not every access has its record.",
    ]
    log = small.write_log([event("anna", 1), event("ben", 1)])
    shown = glassbook("reconcile", "fhir", log, "--dir", small.home_folder, code=0).stdout.splitlines()
    assert shown[-1] == "ACCOUNTED FOR: every access has its record, and every record its access."

    nobody = small.write_log([r4(entity=None)])
    shown = glassbook("reconcile", "fhir", nobody, "--dir", small.home_folder, code=0).stdout.splitlines()
    assert shown[-1] == "NOTHING TO ACCOUNT FOR: no access is in these files."


HOSTILE = {
    "nothing": b"",
    "zeros": bytes(5000),
    "cut off": b'{"records": [{"securityServerType": "Client", "mess',
    "brackets": b"[" * 100_000,
    "objects": b'{"records":' * 50_000,
    "gzip cut off": gzip.compress(b'{"records": []}' * 1000)[:-9],
    "a bomb": gzip.compress(bytes(80 << 20)),
    "half a surrogate": b'{"records": [{"securityServerType": "Client", "messageId": "\\ud800"}]}',
    "records are none": b'{"records": [1, null, "x", [], {}, {"securityServerType": []}]}',
    "records is none": b'{"records": 7}',
    "twice": b'{"records": [], "records": []} x',
    "latin": "märz".encode("latin-1"),
}


@pytest.mark.parametrize("format_", ["fhir", "jsonl", "ldv", "xroad"])
def test_a_file_makes_a_traceback(small: SmallDepartment, format_: str) -> None:
    maps = {"jsonl": ("--map", small.folder / "jsonl.toml"), "ldv": (), "fhir": (), "xroad": ()}
    (small.home_folder / "department.toml").write_text(
        (small.home_folder / "department.toml").read_text().replace('map = "map.toml"\n', "")
    )
    if format_ == "ldv":
        (small.folder / "ldv.toml").write_text('format = "ldv"\n[activity]\ndefault = 1\n')
        maps["ldv"] = ("--map", small.folder / "ldv.toml")
    for name, data in HOSTILE.items():
        path = small.folder / f"{name}.json"
        path.write_bytes(data)
        words = ("reconcile", format_, path, "--dir", small.home_folder, *maps[format_], "--json")
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code in (0, 3) and "Traceback" not in result.output, (name, result.exception)
        assert_adds_up(json.loads(result.stdout))
    for missing in (small.folder / "nowhere", small.folder):
        found = compared(small, format_, missing, *maps[format_], code=3)
        assert not found["complete"] and found["summary"]["rejected"] == 1


def test_an_access_before_1970_makes_a_traceback_or_goes_missing(small: SmallDepartment) -> None:
    log = lines(small, "old.jsonl", {"at": "1969-07-20T20:17:40Z"})
    found = compared(small, "jsonl", log, "--map", small.folder / "jsonl.toml", code=3)
    assert found["summary"]["without_record"] + found["summary"]["rejected"] == 1
    words = ("jsonl", log, "--map", small.folder / "jsonl.toml", "--from", "1960-01-01", "--to", "1969-12-31")
    assert compared(small, *words, code=3)["summary"]["outside"] == 0


def test_a_long_log_makes_an_endless_answer(small: SmallDepartment) -> None:
    log = lines(small, "long.jsonl", *({"n": i} for i in range(10_050)))
    found = compared(small, "jsonl", log, "--map", small.folder / "jsonl.toml", code=3)
    assert found["summary"]["without_record"] == 10_050
    assert len(found["lists"]["without_record"]) == 10_000 and found["left_off"] == 50
    words = ("reconcile", "jsonl", log, "--map", small.folder / "jsonl.toml", "--dir", small.home_folder)
    shown = glassbook(*words, code=3).stdout
    assert shown.count("\nwithout a record") == 99
    assert "… and 9950 more without a record; --json lists up to 10000 of each kind." in shown


def test_comparing_changes_what_is_recorded(small: SmallDepartment) -> None:
    small.record(event("anna", 1))
    small.send()
    small.record(event("anna", 2))
    path = small.home_folder / "outbox.sqlite"

    def dump() -> list[str]:
        with sqlite3.connect(path) as db:
            return [line for line in db.iterdump() if "details" not in line]

    before = dump()
    compared(small, "fhir", small.write_log([event("anna", 1), event("ben", 1)]), code=3)
    assert dump() == before
