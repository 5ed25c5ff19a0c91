"""X-Road's operational monitoring: both sides of an exchange, and a record for each."""

import gzip
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smalldepartment import SmallDepartment
from test_reconcile import compared, lines, record_lines
from typer.testing import CliRunner

from ledger.core.errors import Malformed
from ledger.department.access import Outcome
from ledger.department.cli import app
from ledger.department.importers.source import Source
from ledger.department.reconcile.classes import Class, Event
from ledger.department.reconcile.exchanges import MOST, exchanges, pairs
from ledger.department.reconcile.xroad import Side, default_xroad_mapping, read_sides, read_xroad_mapping

DATA = Path(__file__).parents[2] / "samples/data/xroad"
REAL = DATA / "operational-monitoring-data.json.gz"
DAY_MS = 1_771_891_200_000  # 2026-02-24


def raw(message: str = "m-1", kind: str = "Producer", **changes: Any) -> dict[str, Any]:
    """One side, as a security server writes it down; `None` takes a member away."""
    record = {
        "securityServerType": kind,
        "messageId": message,
        "requestInTs": DAY_MS + 10,
        "clientMemberCode": "1234567-8",
        "serviceMemberCode": "8765432-1",
        "serviceCode": "personData",
        "succeeded": True,
    } | changes
    return {name: value for name, value in record.items() if value is not None}


def both(message: str = "m-1", **changes: Any) -> list[dict[str, Any]]:
    return [raw(message, "Client", **changes), raw(message, "Producer", **changes)]


def write(folder: Path, *records: Any, name: str = "monitoring.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"records": records}))
    return path


def sides_of(path: Path, map_: str = "") -> list[Side | Outcome]:
    mapping = read_xroad_mapping(map_.encode(), "map") if map_ else default_xroad_mapping()
    with Source(path) as source:
        return list(read_sides(source, mapping))


def events_of(path: Path, map_: str = "") -> list[Event]:
    return list(exchanges(sides_of(path, map_)))


def test_a_side_of_a_real_exchange_stays_alone() -> None:
    sides = sides_of(REAL)
    assert len(sides) == 5230 and all(isinstance(side, Side) for side in sides)
    events = events_of(REAL)
    assert len(events) == 2615 and not any(event.side for event in events)
    assert Counter(event.class_ for event in events) == {None: 1905, Class.NOT_ABOUT_A_PERSON: 710}
    # One message id was used three times, each time in another request.
    thrice = [key for key, count in Counter(event.key for event in events).items() if count > 1]
    assert [sum(event.key == key for event in events) for key in thrice] == [3]


def test_real_exchanges_and_an_application_log_do_not_meet(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    with gzip.open(REAL) as file:
        records = json.load(file)["records"]
    ids = dict.fromkeys(record["messageId"] for record in records if record["serviceCode"] == "RestTest")
    assert len(ids) == 1905
    known = [message for message in ids if sum(r["messageId"] == message for r in records[3000:3400])]
    record_lines(small, lines(small, "app.jsonl", *({"request": message} for message in known)))
    words = ("reconcile", "xroad", str(REAL), "--dir", str(small.home_folder))
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 3
    rows = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    left = 1905 - len(known)
    assert len(known) > 100 and rows[-6:] == [
        f"2020-11-03 1905 0 {len(known)} 0 {left} 0 0 0",
        "2615 events: 1905 accesses",
        "710 not about a person",
        f"{left} accesses have no record: import the log that they stand in.",
        "Records that wait have no receipt yet: glassbook department send --wait",
        "NOT ACCOUNTED FOR: not every access has its record.",
    ]


def test_a_corrected_document_is_read_otherwise_than_its_records(tmp_path: Path) -> None:
    path = DATA / "clean_documents.json"
    events = events_of(path)
    assert len(events) == 10
    assert Counter((event.class_, event.side) for event in events) == {
        (None, ""): 5, (Class.FAILED, "client"): 5,
    }  # fmt: skip
    records = [
        document[side]
        for document in map(json.loads, path.read_text().splitlines())
        for side in ("client", "producer")
        if document[side]
    ]
    plain = events_of(write(tmp_path, *records))
    assert sorted((e.key, e.day, e.side) for e in plain) == sorted((e.key, e.day, e.side) for e in events)
    again = list(exchanges([*sides_of(path), *sides_of(write(tmp_path, *records))]))
    assert sum(event.class_ is Class.REPEATED for event in again) == len(records)


@pytest.mark.parametrize(
    "write_as",
    [
        lambda records: json.dumps({"records": records}),
        lambda records: json.dumps({"more": {"x": [1]}, "records": records, "nextRecordsFrom": 7}, indent=1),
        lambda records: json.dumps(records, indent=1),
        lambda records: "\n".join(map(json.dumps, records)),
        lambda records: "\n".join(json.dumps({"records": [record]}) for record in records),
    ],
)
def test_one_way_of_writing_records_is_not_read(tmp_path: Path, write_as: Any) -> None:
    path = tmp_path / "monitoring.json.gz"
    path.write_bytes(gzip.compress(write_as([*both("a"), *both("b"), raw("c", "Client")]).encode()))
    assert [(event.class_, event.side) for event in events_of(path)] == [
        (None, ""),
        (None, ""),
        (None, "client"),
    ]


def test_an_exchange_without_a_record_is_taken_for_accounted(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    application = lines(small, "app.jsonl", *({"request": f"m-{i}"} for i in range(4)), {"n": "no id"})
    record_lines(small, application)
    small.send()
    record_lines(small, lines(small, "app2.jsonl", {"request": "m-4"}))
    path = write(
        tmp_path,
        *(record for i in range(6) for record in both(f"m-{i}")),
        raw("m-6", "Client"),
        *both("m-7", succeeded=False),
        raw("m-8", "Client", succeeded=False), raw("m-8"),
        *both("m-9", serviceCode="listMethods"),
    )  # fmt: skip
    found = compared(small, "xroad", path, "--all", code=3)
    summary = found["summary"]
    assert summary["with_receipt"] == 4 and summary["waiting"] == 1 and summary["failed"] == 1
    assert summary["not_about_a_person"] == 1 and summary["events"] == 10
    assert [item["position"] for item in found["lists"]["without_record"]] == [
        "records[11]", "records[12]", "records[16]",
    ]  # fmt: skip
    assert [(item["position"], item["side"]) for item in found["lists"]["one_side"]] == [
        ("records[12]", "client")
    ]
    assert found["by"] == "event.request_id"
    # Records are of the day the log file says, the exchanges of another: they are met all the same.
    assert summary["records"]["without_access"] == 0


def test_a_record_answers_for_every_exchange_with_its_message_id(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    record_lines(small, lines(small, "app.jsonl", {"request": "m", "n": 1}, {"request": "m", "n": 2}))
    again = [record for i in range(3) for record in both("m", xRequestId=f"x{i}", requestInTs=DAY_MS + i)]
    found = compared(small, "xroad", write(tmp_path, *again), code=3)
    assert found["summary"]["waiting"] == 2 and found["summary"]["without_record"] == 1


def test_a_message_id_as_trace_id_is_another_with_capitals_and_hyphens(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    record_lines(small, lines(small, "app.jsonl", {"trace": "0af7651916cd43dd8448eb211c80319c"}))
    map_ = tmp_path / "xroad.toml"
    map_.write_text('format = "xroad"\n[exchange]\nclaim = "event.trace_id"\n')
    path = write(tmp_path, *both("0AF76519-16cd-43dd-8448-eb211c80319c"), *both("DEV-1"))
    found = compared(small, "xroad", path, "--map", map_, code=3)
    assert found["summary"]["waiting"] == 1 and found["by"] == "event.trace_id"
    assert [item["reason"] for item in found["lists"]["rejected"]] == [
        "is no event.trace_id: not 32 hex digits"
    ] * 2


def test_an_exchange_of_another_department_is_to_be_accounted_for(tmp_path: Path) -> None:
    map_ = 'format = "xroad"\n[exchange]\nwhere = { serviceMemberCode = "8765432-1" }\n'
    map_ += '[[nobody]]\nwhere = { serviceCode = "addresses" }\nreason = "no persons"\n'
    path = write(
        tmp_path, *both("a"), *both("b", serviceMemberCode="other"), *both("c", serviceCode="addresses"),
        *both("d", serviceCode="getWsdl"),
    )  # fmt: skip
    assert [(event.class_, event.reason) for event in events_of(path, map_)] == [
        (None, ""),
        (Class.NOT_ABOUT_A_PERSON, "another's: `where` in [exchange] does not hold"),
        (Class.NOT_ABOUT_A_PERSON, "no persons"),
        (Class.NOT_ABOUT_A_PERSON, "a service of the security server itself"),
    ]


BAD_MAPS = {
    'claim = "x"': "format",
    'format = "csv"': "format",
    'format = "xroad"\n[exchange]\nclaim = "subject"': "exchange.claim",
    'format = "xroad"\n[exchange]\nside = "client"': "side",
    'format = "xroad"\n[[nobody]]\nreason = "x"': "where",
    'format = "xroad"\n[exchange]\nwhere = { serviceCode = [] }': "serviceCode",
    'format = "xroad"\n[subject]\n': "subject",
}


@pytest.mark.parametrize("map_", BAD_MAPS)
def test_a_mapping_that_is_not_right_is_used(map_: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_xroad_mapping(map_.encode(), "map.toml")
    assert BAD_MAPS[map_] in str(caught.value)


BAD_RECORDS = {
    "no side": raw(securityServerType=None),
    "another side": raw(kind="Server"),
    "no id": raw(messageId=None),
    "an empty id": raw(""),
    "an endless id": raw("m" * 2000),
    "no time": raw(requestInTs=None),
    "a time before all": raw(requestInTs=-5),
    "a time after all": raw(requestInTs=10**15),
    "a fraction": raw(requestInTs=1.5),
    "success in words": raw(succeeded="true"),
    "no object": 5,
    "a list": [],
}


def test_a_record_that_is_none_stops_those_after_it(tmp_path: Path) -> None:
    path = write(tmp_path, *BAD_RECORDS.values(), *both("good"))
    events = events_of(path)
    rejected = [event for event in events if event.class_ is Class.REJECTED]
    assert len(rejected) == len(BAD_RECORDS) and len(events) == len(BAD_RECORDS) + 1
    for number, event in enumerate(rejected):
        assert event.position.startswith(f"records[{number}]") and event.reason
    assert events[-1].class_ is None and not events[-1].side


def test_one_message_id_for_everything_fills_the_memory(tmp_path: Path) -> None:
    records = (raw("m", "Client", requestInTs=DAY_MS + i) for i in range(MOST + 5))
    path = tmp_path / "monitoring.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    found = Counter(event.class_ for event in events_of(path))
    assert found == {None: MOST, Class.REJECTED: 5}


@st.composite
def monitoring(draw: st.DrawFn) -> list[Any]:
    records = draw(
        st.lists(
            st.builds(
                raw,
                st.sampled_from(["a", "b", "c"]),
                st.sampled_from(["Client", "Producer"]),
                requestInTs=st.integers(DAY_MS, DAY_MS + 3),
                xRequestId=st.sampled_from([None, "x", "y"]),
                succeeded=st.booleans(),
                serviceCode=st.sampled_from(["personData", "getWsdl"]),
            )
            | st.sampled_from(list(BAD_RECORDS.values())),
            max_size=30,
        )
    )
    return records


@settings(max_examples=150, deadline=None)
@given(monitoring())
def test_a_side_is_in_no_exchange_or_in_two(records: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), *records)
        sides, events = sides_of(path), events_of(path)
    good = {side.identity: side for side in sides if isinstance(side, Side)}
    settled = Counter(event.class_ for event in events)
    assert settled[Class.REJECTED] == sum(isinstance(side, Outcome) for side in sides)
    assert settled[Class.REPEATED] == len(sides) - settled[Class.REJECTED] - len(good)
    counted = sum(
        1 if event.side else 2 for event in events if event.class_ not in (Class.REJECTED, Class.REPEATED)
    )
    assert counted == len(good)
    for key in {side.key for side in good.values()}:
        same = sorted((side for side in good.values() if side.key == key), key=lambda side: side.at)
        found = pairs(same)
        assert sorted(side.identity for pair in found for side in pair) == sorted(
            side.identity for side in same
        )
        assert all([side.side for side in pair] == ["client", "service"] for pair in found if len(pair) == 2)
        # Nobody stays alone while another side of the same message stays alone too.
        assert len({pair[0].side for pair in found if len(pair) == 1}) <= 1


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_classes_of_a_random_log_do_not_add_up(data: st.DataObject) -> None:
    """`compared` itself holds every sum; here it meets any mixture, in both ways of looking."""
    with tempfile.TemporaryDirectory() as folder:
        small = SmallDepartment(Path(folder))
        (small.folder / "jsonl.toml").write_text(MAP)
        some = st.fixed_dictionaries(
            {
                "people": st.lists(
                    st.sampled_from(["anna", "ben", "cleo"]), min_size=1, max_size=2, unique=True
                ),
                "request": st.sampled_from(["r1", "r2", ""]),
                "at": st.sampled_from(["2026-06-20T10:00:00Z", "2026-06-21T10:00:00Z"]),
            }
        )
        recorded = data.draw(st.lists(some, min_size=1, max_size=12))
        others = data.draw(st.lists(some, max_size=6))
        sent = data.draw(st.integers(0, len(recorded)))
        if sent:
            record_lines(small, lines(small, "first.jsonl", *recorded[:sent]))
            small.send()
        record_lines(small, lines(small, "all.jsonl", *recorded))
        shown: list[dict[str, Any]] = [
            *recorded,
            *others,
            *data.draw(st.lists(st.just({"at": "never"}), max_size=2)),
        ]
        random.Random(data.draw(st.integers(0, 9))).shuffle(shown)
        log = lines(small, "log.jsonl", *shown)
        for by in ("identity", "event.request_id"):
            words = ("jsonl", log, "--map", small.folder / "jsonl.toml", "--by", by)
            found = compared(small, *words, code=compared_code(shown, recorded, by))
            summary = found["summary"]
            assert summary["events"] == len(shown)
            if by == "identity":
                # What is alike is told apart by how many stood before: so many have a record as were recorded.
                assert summary["with_receipt"] + summary["waiting"] == len(recorded)
                assert summary["without_record"] == len(others)
                assert summary["records"]["without_access"] == 0


def compared_code(shown: list[Any], recorded: list[Any], by: str) -> int:
    """3 unless every event has its record."""
    if by == "identity":
        return 0 if len(shown) == len(recorded) else 3
    without_id = any(not event.get("request") for event in shown)
    return 0 if len(shown) == len(recorded) and not without_id else 3


MAP = """format = "jsonl"
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
"""
