"""FHIR's XML: the same events as in JSON, and nothing a parser of XML can be led to."""

import gzip
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from fhirevents import r4, r5
from imported import SAMPLES, counted, fates, read_bytes

from ledger.department.access import Outcome
from ledger.department.importers.fhir import read_fhir, xmlform
from ledger.department.mapping import default_mapping

NAMESPACE = 'xmlns="http://hl7.org/fhir"'


def as_xml(value: Any, name: str = "") -> str:
    """A resource in FHIR's XML, from its JSON."""
    if isinstance(value, list):
        return "".join(as_xml(item, name) for item in value)
    if not isinstance(value, dict):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f"<{name} value={quoteattr(text)}/>"
    url = f" url={quoteattr(value['url'])}" if name == "extension" else ""
    inner = "".join(
        as_xml(item, key) for key, item in value.items()
        if key != "resourceType" and not key.startswith("_")
        and not (key == "text" and isinstance(item, dict)) and not (url and key == "url")
    )  # fmt: skip
    if "resourceType" not in value:
        return f"<{name}{url}>{inner}</{name}>"
    kind = value["resourceType"]
    return f"<{name}><{kind}>{inner}</{kind}></{name}>" if name else f"<{kind} {NAMESPACE}>{inner}</{kind}>"


def bundle(*resources: Any, **members: Any) -> bytes:
    entries = [{"resource": resource} for resource in resources]
    return as_xml({"resourceType": "Bundle", **members, "entry": entries}).encode()


def read(folder: Path, data: bytes) -> list[Outcome]:
    found = read_bytes(folder, data, "fhir", None)
    counted(found)
    return found


FILES = sorted(
    str(path.relative_to(SAMPLES / "data"))
    for folder in ("hl7-fhir", "ihe-balp", "fhir-server-bundles")
    for path in (SAMPLES / "data" / folder).rglob("*.json")
)


@pytest.mark.parametrize("name", FILES)
def test_event_in_xml_differs_from_the_same_in_json(name: str, tmp_path: Path) -> None:
    path = SAMPLES / "data" / name
    xml = as_xml(json.loads(path.read_bytes())).encode()
    in_json = [(o.position, o.fate, o.reason, o.accesses) for o in read_fhir(path, default_mapping())]
    assert [(o.position, o.fate, o.reason, o.accesses) for o in read(tmp_path, xml)] == in_json


def test_event_read_in_both_forms_is_recorded_twice(tmp_path: Path) -> None:
    for event in (r4(), r5()):
        (xml,) = read(tmp_path, as_xml(event).encode())
        (plain,) = read(tmp_path, json.dumps(event).encode())
        assert xml.identity == plain.identity != b""


def test_extension_in_xml_is_lost(tmp_path: Path) -> None:
    url = "http://hl7.org/fhir/StructureDefinition/auditevent-OnBehalfOf"
    behalf = [
        {"url": url, "valueReference": {"display": "County"}},
        {"url": "http://a.example/x", "valueBoolean": True},
    ]
    agents = [
        {
            "extension": behalf,
            "who": {"reference": "Practitioner/7"},
            "requestor": True,
            "policy": ["http://a.example"],
        },
        {"who": {"reference": "#d"}, "requestor": False, "role": [{"text": "gateway"}]},
    ]
    contained = [{"resourceType": "Device", "id": "d", "identifier": [{"value": "gw"}]}]
    event = r4(agent=agents, contained=contained)
    (xml,) = read(tmp_path, as_xml(event).encode())
    (plain,) = read(tmp_path, json.dumps(event).encode())
    assert xml.accesses == plain.accesses and xml.identity == plain.identity
    assert xml.accesses[0].claims["actor"]["on_behalf_of"] == "County"


def test_bundle_with_a_bad_entry_loses_its_neighbours(tmp_path: Path) -> None:
    data = bundle(r4(), r4(agent=None), {"resourceType": "Patient", "id": "x"}, r5())
    data = data.replace(b"</Bundle>", b"<entry/></Bundle>")
    assert [(place, fate) for place, fate, _ in fates(read(tmp_path, data))] == [
        ("entry[0].resource", "recorded"),
        ("entry[1].resource.agent", "rejected"),
        ("entry[2].resource", "rejected"),
        ("entry[3].resource", "recorded"),
        ("entry[4]", "rejected"),
    ]


def test_entries_before_a_cut_are_lost(tmp_path: Path) -> None:
    data = bundle(r4(), r5(), r4())
    for packed in (data[:-40], gzip.compress(data)[:-12]):
        found = read(tmp_path, packed)
        assert [o.fate.value for o in found[:2]] == ["recorded", "recorded"]
        assert found[-1].fate.value == "rejected" and found[-1].position.startswith("entry[")


def test_empty_search_result_is_an_error_and_a_bundle_that_lost_its_entries_is_none(tmp_path: Path) -> None:
    empty = f'<Bundle {NAMESPACE}><type value="searchset"/><total value="0"/></Bundle>'.encode()
    assert read(tmp_path, empty) == []
    (outcome,) = read(tmp_path, empty.replace(b'"0"', b'"7"'))
    assert outcome.fate.value == "rejected" and "without entries" in outcome.reason


def test_words_for_people_and_other_namespaces_are_read(tmp_path: Path) -> None:
    words = '<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml"><p>x<b>y</b></p></div></text>'
    (outcome,) = read(tmp_path, as_xml(r4()).replace("<type>", words + "<type>", 1).encode())
    assert outcome.fate.value == "recorded"


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'

REFUSED: dict[str, tuple[bytes, str]] = {
    "entities": (BOMB + as_xml(r4(action="&b;")).replace("&amp;", "&").encode(), "DTD"),
    "a file outside": (OUTSIDE + as_xml(r4(action="&a;")).replace("&amp;", "&").encode(), "DTD"),
    "a DTD alone": (b'<!DOCTYPE AuditEvent SYSTEM "http://a.example/x.dtd">' + as_xml(r4()).encode(), "DTD"),
    "another namespace": (as_xml(r4()).replace("hl7.org/fhir", "hl7.org/v3", 1).encode(), "namespace"),
    "no namespace": (b"<AuditEvent/>", "namespace"),
    "half a document": (as_xml(r4()).encode()[:-5], "not well-formed XML at line 1"),
    "two documents": (as_xml(r4()).encode() * 2, "not well-formed"),
    "an attribute twice": (
        as_xml(r4()).replace('value="R"', 'value="R" value="R"').encode(),
        "not well-formed",
    ),
    "deep": (f"<AuditEvent {NAMESPACE}>".encode() + b"<a>" * 100 + b"</a>" * 100 + b"</AuditEvent>", "deep"),
    "unknown encoding": (
        b'<?xml version="1.0" encoding="klingon"?><AuditEvent/>',
        "encoding|not well-formed",
    ),
    "DSTU2": (
        f"<AuditEvent {NAMESPACE}><event/><participant/></AuditEvent>".encode(),
        "no known release|DSTU2",
    ),
    "STU3": (as_xml(r4(agent=[{"userId": {"value": "95"}}])).encode(), "STU3"),
    "one element twice": (
        as_xml(r4()).replace("<recorded", '<recorded value="x"/><recorded').encode(),
        "an array",
    ),
    "requestor is a word": (as_xml(r4(agent=[{"requestor": "yes"}])).encode(), "true or false"),
    "a Patient": (f'<Patient {NAMESPACE}><id value="1"/></Patient>'.encode(), "a Patient, not an AuditEvent"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_xml_that_is_no_event_passes_or_raises(case: str, tmp_path: Path) -> None:
    data, reason = REFUSED[case]
    (outcome,) = read(tmp_path, data)
    assert outcome.fate.value == "rejected"
    assert any(word in outcome.reason for word in reason.split("|")), outcome.reason
    assert "root:" not in str(outcome)


def test_endless_element_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmlform, "LONGEST", 1 << 18)
    head = f"<Bundle {NAMESPACE}><entry>".encode()
    for filler in (
        b"<a value='" + b"x" * (1 << 20),
        b"<a value='x'/>" * (1 << 16),
        b"<!--" + b"x" * (1 << 20),
    ):
        found = read(tmp_path, head + filler)
        assert "longer than" in found[-1].reason


def test_long_bundle_is_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xmlform, "LONGEST", 1 << 14)
    found = read(tmp_path, bundle(*[r4()] * 300))
    assert len(found) == 300 and {o.fate.value for o in found} == {"recorded"}
