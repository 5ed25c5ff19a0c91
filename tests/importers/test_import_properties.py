"""Whatever a file of any format holds: no traceback, no gap, no word of it in a reason, and counts that add up."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from imported import SAMPLES, counted, read_file
from test_fhir_xml import bundle

from ledger.department.access import Outcome, Summary

MAPS = {
    "csv": (SAMPLES / "maps/counter.toml").read_bytes().replace(b"skip = 1\n", b""),
    "jsonl": (SAMPLES / "maps/portal.toml").read_bytes(),
    "ldv": (SAMPLES / "maps/permits.toml").read_bytes(),
    "pgaudit": (SAMPLES / "maps/database.toml").read_bytes(),
}
MADE = {
    "csv": b"\n".join((SAMPLES / "data/made/counter.csv").read_bytes().split(b"\n")[1:]),
    "jsonl": (SAMPLES / "data/made/portal.jsonl").read_bytes(),
    "ldv": (SAMPLES / "data/made/spans.json").read_bytes(),
    "pgaudit": (SAMPLES / "data/made/database.log").read_bytes(),
}
FORMATS = st.sampled_from(sorted(MAPS))
ANY = settings(max_examples=150, deadline=None)


def outcomes(data: bytes, format_: str, map_: bytes | None, name: str = "log") -> list[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        return read_file(path, format_, map_)


def summary(data: bytes, format_: str) -> Summary:
    return counted(outcomes(data, format_, MAPS.get(format_)))


@ANY
@given(st.binary(max_size=300), FORMATS | st.just("fhir"), st.booleans())
def test_some_bytes_raise(data: bytes, format_: str, packed: bool) -> None:
    summary(gzip.compress(data) if packed else data, format_)


@ANY
@given(FORMATS, st.data())
def test_sample_cut_or_altered_raises_or_is_silent(format_: str, data: st.DataObject) -> None:
    whole = bytearray(MADE[format_])
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    summary(bytes(whole), format_)


@ANY
@given(st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=7), max_size=6), st.booleans())
def test_rows_of_some_text_lose_a_good_row(rows: list[list[str]], quoted: bool) -> None:
    """Rows written as CSV has them, with one good row behind each."""
    head = "Zeitpunkt;Nutzer;Maske;Vorgang;Kunden-Nr.;Grund;Bemerkung\r\n"
    good = "28.02.2026 09:14:05;N;E12;L;bsn 123 456 782;x;\r\n"

    def cell(text: str) -> str:
        text = text.encode("windows-1252", "ignore").decode("windows-1252")
        safe = text.replace('"', '""') if quoted else "".join(c for c in text if c not in '";\r\n')
        return f'"{safe}"' if quoted else safe

    written = "".join(";".join(map(cell, row)) + "\r\n" + good for row in rows)
    found = outcomes((head + written).encode("windows-1252"), "csv", MAPS["csv"])
    counted(found)
    assert sum(o.fate.value == "recorded" for o in found) >= len(rows)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "ts",
    "user",
    "op",
    "client",
    "hits",
    "nhs",
    "screens",
    "why",
    "login",
    "group",
    "job",
    "to",
    "trace",
]


@ANY
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), values, max_size=5) | values, max_size=5))
def test_lines_of_some_json_are_not_counted(events: list[Any]) -> None:
    data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    if data:
        assert summary(data, "jsonl").events == len(events)


@ANY
@given(st.data())
def test_altered_xml_raises_or_is_silent(data: st.DataObject) -> None:
    event = json.loads((SAMPLES / "data/hl7-fhir/R4/AuditEvent-example-disclosure.json").read_bytes())
    whole = bytearray(bundle(event, event))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=6))
    assert summary(bytes(whole), "fhir").events >= 1


@ANY
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=20), FORMATS)
def test_identifier_stands_in_a_reason(secret: str, format_: str) -> None:
    marked = f"zq{secret}qz"
    event = {"ts": "x", "client": {"nhs": marked}, "op": marked, "user": {"login": marked, "group": marked}}
    data = json.dumps(event).encode() if format_ in ("jsonl", "ldv") else marked.encode()
    for outcome in outcomes(data, format_, MAPS[format_]):
        assert marked not in outcome.reason + outcome.position
