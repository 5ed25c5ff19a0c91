"""Spans and log records in files: every shape that is met, and every event that is none."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from imported import counted, fates, read_bytes

from ledger.department.access import Outcome
from ledger.department.importers.identity import Identities
from ledger.department.importers.ldv import from_attributes, read_ldv_mapping

MAP = """
format = "ldv"
[activity]
default = 3
"""
TRACE = "0ac8d1c5251f6cd04c2fe5acd871f69c"
ABOUT = {"dpl.core.data_subject_id": "123456782", "dpl.core.data_subject_id_type": "BSN"}


def wrapped(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def span(**changes: Any) -> dict[str, Any]:
    made = {
        "traceId": TRACE, "spanId": "f08448c4a0dfea16", "name": "look", "startTimeUnixNano": "1772269405123456789",
        "attributes": wrapped(ABOUT), "status": {"code": 1},
    } | changes  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


def traces(*spans: Any, top: str = "resourceSpans", scopes: str = "scopeSpans") -> dict[str, Any]:
    return {
        top: [{"resource": {"attributes": wrapped({"service.name": "s"})}, scopes: [{"spans": list(spans)}]}]
    }


def logs(*records: Any) -> dict[str, Any]:
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": list(records)}]}]}


def read(folder: Path, value: Any, name: str = "spans.json") -> list[Outcome]:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    found = read_bytes(folder, data, "ldv", MAP, name)
    counted(found)
    return found


TEMPO = span(traceId=base64.b64encode(bytes.fromhex(TRACE)).decode(), spanId="8IRIxKDf6hY=")
PRINTED = {
    "trace_id": TRACE, "span_id": "f08448c4a0dfea16", "status": "ok", "name": "look",
    "start_time": "2026-02-28T09:03:25Z", "attributes": ABOUT, "resource": {"attributes": {"service.name": "s"}},
}  # fmt: skip

SHAPES: dict[str, Any] = {
    "one document": traces(span()),
    "before scopes had that name": traces(span(), scopes="instrumentationLibrarySpans"),
    "Tempo's answer": traces(TEMPO, top="batches"),
    "an array": [traces(span())],
    "one a line": b"\n" + json.dumps(traces(span())).encode() + b"\n\n",
    "as the standard prints it": PRINTED,
    "as the standard prints it, in milliseconds": PRINTED | {"start_time": 1772269405123},
    "a log record": logs(
        {
            "timeUnixNano": "1772269405123456789",
            "traceId": TRACE,
            "attributes": wrapped(ABOUT),
            "eventName": "look",
        }
    ),
    "a log record with the time it was seen": logs(
        {"observedTimeUnixNano": "1772269405123456789", "traceId": TRACE, "attributes": wrapped(ABOUT)}
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shape_of_spans_is_not_read(case: str, tmp_path: Path) -> None:
    (outcome,) = read(tmp_path, SHAPES[case])
    (access,) = outcome.accesses
    assert (access.subject, access.activity, access.day) == ("bsn:123456782", 3, 20512)
    assert access.claims["event"]["trace_id"] == TRACE


def test_line_of_spans_takes_its_neighbours_with_it(tmp_path: Path) -> None:
    good = json.dumps(traces(span(), span()))
    found = read(tmp_path, f"{good}\n{good[:60]}\n[]\n{good}\n".encode())
    assert [(place, fate) for place, fate, _ in fates(found)] == [
        ("line 1: resourceSpans[0].scopeSpans[0].spans[0]", "recorded"),
        ("line 1: resourceSpans[0].scopeSpans[0].spans[1]", "recorded"),
        ("line 2", "rejected"),
        ("line 3", "rejected"),
        ("line 4: resourceSpans[0].scopeSpans[0].spans[0]", "recorded"),
        ("line 4: resourceSpans[0].scopeSpans[0].spans[1]", "recorded"),
    ]


def test_second_kind_of_list_in_one_document_is_lost(tmp_path: Path) -> None:
    both = traces(span()) | logs({"timeUnixNano": "1772269405123456789", "attributes": wrapped(ABOUT)})
    both["resourceSpans"][0] |= traces(span(spanId="1" * 16), scopes="instrumentationLibrarySpans")[
        "resourceSpans"
    ][0]
    assert [o.fate.value for o in read(tmp_path, both)] == ["recorded"] * 3


BROKEN: dict[str, Any] = {
    "span is a number": 5,
    "attributes are an object": span(attributes=ABOUT),
    "attribute without a key": span(attributes=[{"value": {"stringValue": "x"}}]),
    "attribute twice": span(attributes=wrapped(ABOUT) * 2),
    "attribute of no type": span(attributes=[{"key": "a", "value": "x"}]),
    "attribute of two types": span(attributes=[{"key": "a", "value": {"stringValue": "x", "intValue": "1"}}]),
    "no time": span(startTimeUnixNano=None),
    "time is a word": span(startTimeUnixNano="now"),
    "no kind of identifier": span(attributes=wrapped(ABOUT)[:1]),
    "another kind of identifier": span(attributes=wrapped(ABOUT | {"dpl.core.data_subject_id_type": "x"})),
    "identifier with a space": span(attributes=wrapped(ABOUT | {"dpl.core.data_subject_id": "1 2"})),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_span_takes_its_neighbours_with_it(case: str, tmp_path: Path) -> None:
    found = read(tmp_path, traces(span(), BROKEN[case], span(spanId="1" * 16)))
    assert [o.fate.value for o in found] == ["recorded", "rejected", "recorded"]
    assert "123456782" not in found[1].reason + found[1].position


WHOLE: dict[str, Any] = {
    "nothing": b"",
    "words": b"traces",
    "an object of something else": {"hello": 1},
    "no array": {"resourceSpans": {}},
    "a resource without scopes": {"resourceSpans": [{}]},
    "resource is a text": {"resourceSpans": [{"resource": "x", "scopeSpans": []}]},
    "cut short": json.dumps(traces(span())).encode()[:-9],
    "an array cut short": json.dumps([traces()]).encode()[:-1],
    "deep": b'{"resourceSpans":' + b"[" * 500 + b"]" * 500 + b"}",
    "nested attribute": json.dumps(
        traces(span(attributes=[{"key": "a", "value": {"arrayValue": {"values": [{"x": [1]}]}}}]))
    ).encode(),
}


@pytest.mark.parametrize("case", WHOLE)
def test_file_that_holds_no_spans_ends_well(case: str, tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE[case])
    assert [o.fate.value for o in found] == ["rejected"]


def test_token_in_the_address_of_the_caller_is_kept(tmp_path: Path) -> None:
    attributes = wrapped(
        ABOUT | {"foreign_operation.entity": "https://user:pass@a.example/x?token=secret#part"}
    )
    (outcome,) = read(tmp_path, traces(span(attributes=attributes)))
    assert outcome.accesses[0].claims["actor"]["on_behalf_of"] == "https://a.example/x"


def test_same_span_sent_again_is_another_event() -> None:
    mapping = read_ldv_mapping(MAP.encode(), "map.toml")

    def sent(**changes: Any) -> bytes:
        arguments: dict[str, Any] = {
            "trace_id": TRACE,
            "span_id": "f0" * 8,
            "start": 1772269405123456789,
        } | changes
        with Identities() as identities:
            return from_attributes(ABOUT, mapping, identities, **arguments).identity

    assert sent() == sent() == sent(trace_id=TRACE.upper())
    assert len({sent(), sent(span_id="f1" * 8), sent(start=1772269405123456790), sent(name="x")}) == 4


@pytest.mark.parametrize("status", [0, 1, 2, "0", "STATUS_CODE_ERROR", "error", "odd", 99])
def test_status_of_some_spelling_raises(status: int | str) -> None:
    mapping = read_ldv_mapping(MAP.encode(), "map.toml")
    with Identities() as identities:
        outcome = from_attributes(ABOUT, mapping, identities, start=1772269405123456789, status=status)
    failed = status in (2, "STATUS_CODE_ERROR", "error")
    assert outcome.accesses[0].claims["event"]["outcome"] == ("failure" if failed else "success")
