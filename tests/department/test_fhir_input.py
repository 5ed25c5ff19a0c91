"""What files may hold that is not as it should be: one event is lost to it, never its neighbours, never silently."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from fhirevents import bundle, ndjson, r4, r5

from ledger.department.access import Fate, Outcome
from ledger.department.importers import source as source_module
from ledger.department.importers.fhir import read_fhir
from ledger.department.mapping import default_mapping, parse_mapping


def read(tmp_path: Path, data: bytes, name: str = "log.json") -> list[Outcome]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_fhir(path, default_mapping()))


def fates(found: list[Outcome]) -> list[tuple[str, str, str]]:
    return [(outcome.position, outcome.fate.value, outcome.reason) for outcome in found]


def one(tmp_path: Path, resource: Any) -> Outcome:
    (outcome,) = read(tmp_path, json.dumps(resource).encode())
    return outcome


WHOLE_FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "empty"),
    "white space": (b" \n\t\r\n", "empty"),
    "zeros": (bytes(4096), "zero bytes"),
    "another xml behind a BOM": (b"\xef\xbb\xbf<Bundle/>", "namespace"),
    "utf-16": ("{}".encode("utf-16"), "UTF-16"),
    "an array": (b"[{}]", "JSON array"),
    "words": (b"2026-02-28 someone looked", "not JSON"),
    "half an event": (b'{"resourceType":"AuditEvent","agent":[{"who":', "ends early"),
    "half a string": (b'{"resourceType":"Audit', "ends early"),
    "something behind": (b'{"resourceType":"AuditEvent"} true', "something after the end"),
    "not utf-8": (b'{"resourceType":"\xff"}', "not UTF-8"),
    "member twice": (b'{"resourceType":"AuditEvent","recorded":"x","recorded":"y"}', "recorded stands twice"),
    "NaN": (b'{"resourceType":"AuditEvent","x":NaN}', "NaN"),
    "huge number": (b'{"resourceType":"AuditEvent","x":123456789012345678901234567890}', "integer"),
    "deep": (b'{"a":' * 2000 + b"1" + b"}" * 2000, "deep"),
    "unpaired surrogate": (b'{"resourceType":"AuditEvent","id":"\\ud800"}', "surrogate"),
    "a Patient": (b'{"resourceType":"Patient"}', "a Patient, not an AuditEvent"),
    "no type": (b"{}", "no AuditEvent"),
    "type is a number": (b'{"resourceType":7}', "is a number where FHIR has a string"),
    "broken gzip": (gzip.compress(b"{}" * 999)[:30] + b"junk", "gzip"),
    "gzip cut at once": (gzip.compress(bundle(r4()))[:8], "gzip"),
    "entry is no array": (b'{"resourceType":"Bundle","entry":{}}', "is no array"),
    "bundle cut in an entry": (b'{"resourceType":"Bundle","entry":[{"resource":{"resour', "ends early"),
    "bundle without entries": (b'{"resourceType":"Bundle","type":"collection"}', "without entries"),
    "entries twice": (b'{"resourceType":"Bundle","entry":[],"entry":[]}', "entry stands twice"),
    "mismatched brackets": (b'{"resourceType":"AuditEvent","agent":[}', "ends early"),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_unreadable_file_is_passed_over_or_breaks_the_import(case: str, tmp_path: Path) -> None:
    data, reason = WHOLE_FILES[case]
    found = read(tmp_path, data)
    assert found[-1].fate is Fate.REJECTED and reason in found[-1].reason, fates(found)
    assert all(outcome.fate is Fate.REJECTED for outcome in found)


def test_missing_file_breaks_the_import(tmp_path: Path) -> None:
    (outcome,) = read_fhir(tmp_path / "none.json", default_mapping())
    assert outcome.fate is Fate.REJECTED and "cannot be read" in outcome.reason


EVENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no agent": (r4(agent=None), "agent", "missing"),
    "agent is an object": (r4(agent={}), "agent", "is an object where FHIR has an array"),
    "agent is a string": (r4(agent=["me"]), "agent[0]", "is a string where FHIR has an object"),
    "requestor is a string": (r4(agent=[{"requestor": "true"}]), "agent[0].requestor", "true or false"),
    "recorded is a number": (r4(recorded=20260228), "recorded", "is a number where FHIR has a string"),
    "recorded is null": (r4() | {"recorded": None}, "recorded", "is null"),
    "no time": (r4(recorded=None), "recorded", "missing"),
    "a date alone": (r4(recorded="2026-02-28"), "recorded", "is no instant"),
    "no zone": (r4(recorded="2026-02-28T10:03:00"), "recorded", "is no instant"),
    "no such day": (r4(recorded="2026-02-30T10:03:00Z"), "recorded", "that exists"),
    "leap second": (r4(recorded="2016-12-31T23:59:60Z"), "recorded", "leap"),
    "no such zone": (r4(recorded="2026-02-28T10:03:00+15:00"), "recorded", "that exists"),
    "before 1970": (r4(recorded="1969-12-31T23:59:59Z"), "recorded", "1970"),
    "before year 1": (r4(recorded="0001-01-01T00:00:00+10:00"), "recorded", "that exists"),
    "after year 9999": (r4(recorded="9999-12-31T23:00:00-10:00"), "recorded", "that exists"),
    "neither R4 nor R5": (r4(type=None), "$", "of no known release"),
    "DSTU2": ({"resourceType": "AuditEvent", "event": {}, "participant": []}, "$", "DSTU2"),
    "STU3 agent": (r4(agent=[{"userId": {"value": "95"}, "requestor": True}]), "$", "STU3"),
    "STU3 entity": (r4(entity=[{"identifier": {"value": "1"}}]), "$", "STU3"),
    "STU3 source": (r4(source={"identifier": {"value": "x"}}), "$", "STU3"),
    "R6 draft": (r4(type={"coding": [{"code": "rest"}]}), "type", "R6"),
    "patient without reference": (r5(patient={"display": "Mr X"}), "patient", "does not say who"),
    "entity without reference": (r4(entity=[{"role": {"code": "1"}}]), "entity[0]", "does not say who"),
    "another server's patient": (
        r4(entity=[{"what": {"reference": "https://other.example/fhir/Patient/1"}}]), "entity[0].what", "mapping",
    ),
    "identifier with a space": (
        r4(entity=[{"what": {"identifier": {"value": "1 2"}}, "role": {"code": "1"}}]), "entity[0].what", "subject",
    ),
    "one person known, one not": (
        r4(entity=[{"what": {"reference": "Patient/p1"}}, {"what": {"reference": "urn:x", "type": "Patient"}}]),
        "entity[1].what",
        "mapping",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EVENTS)
def test_bad_event_is_recorded_or_reported_without_its_place(case: str, tmp_path: Path) -> None:
    event, position, reason = EVENTS[case]
    outcome = one(tmp_path, event)
    assert outcome.fate is Fate.REJECTED
    assert (outcome.position, reason in outcome.reason) == (position, True), fates([outcome])


@pytest.mark.parametrize("pack", [bundle, ndjson])
def test_bad_event_takes_its_neighbours_with_it(pack: Any, tmp_path: Path) -> None:
    found = read(tmp_path, pack(r4(), r4(agent=None), {"resourceType": "Patient"}, 5, r5()))
    assert [outcome.fate.value for outcome in found] == [
        "recorded",
        "rejected",
        "rejected",
        "rejected",
        "recorded",
    ]
    place = (
        ["entry[1].resource.agent", "entry[2].resource"] if pack is bundle else ["line 2: agent", "line 3"]
    )
    assert [outcome.position for outcome in found[1:3]] == place


def test_half_a_line_takes_the_lines_around_it(tmp_path: Path) -> None:
    good = json.dumps(r4())
    data = f"{good[:40]}\n{good}\n\n{good[:-1]}\n{good}".encode()
    found = read(tmp_path, data)
    assert [(o.position, o.fate.value) for o in found] == [
        ("line 1", "rejected"), ("line 2", "recorded"), ("line 4", "rejected"), ("line 5", "recorded"),
    ]  # fmt: skip


def test_entries_before_a_cut_of_the_gzip_are_lost(tmp_path: Path) -> None:
    found = read(tmp_path, gzip.compress(bundle(r4(), r5(), r4()))[:-12])
    assert [outcome.fate.value for outcome in found[:2]] == ["recorded", "recorded"]
    assert found[-1].fate is Fate.REJECTED and "gzip: ends early" in found[-1].reason


def test_entries_before_a_cut_are_lost(tmp_path: Path) -> None:
    data = bundle(r4(), r5(), r4())
    found = read(tmp_path, data[: data.rindex(b"resourceType")])
    assert [(o.position, o.fate.value) for o in found] == [
        ("entry[0].resource", "recorded"), ("entry[1].resource", "recorded"), ("entry[2]", "rejected"),
    ]  # fmt: skip


def test_entry_with_a_member_twice_takes_its_neighbours(tmp_path: Path) -> None:
    good = json.dumps({"resource": r4()})
    data = '{"resourceType":"Bundle","entry":[%s,{"resource":1,"resource":2},%s]}' % (good, good)  # noqa: UP031
    assert [o.fate.value for o in read(tmp_path, data.encode())] == ["recorded", "rejected", "recorded"]


@pytest.mark.parametrize("size", [3, 7, 64])
def test_chunk_border_changes_what_is_read(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "CHUNK", size)
    odd = r4(id='a"{[\\', text={"div": '<p>\u20ac }]"</p>'})
    whole = read(tmp_path, bundle(odd, r5(), odd))
    assert [o.fate.value for o in whole] == ["recorded"] * 3
    packed = read(tmp_path, gzip.compress(bundle(odd, r5())) + gzip.compress(b" \n"), "log.json.gz")
    assert [o.fate.value for o in packed] == ["recorded"] * 2
    lines = read(tmp_path, ndjson(odd, r5()), "log.ndjson")
    assert [o.position for o in lines] == ["line 1", "line 2"]


def test_gzip_bomb_fills_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "GZIP_FREE", 1 << 20)
    bomb = gzip.compress(b'{"resourceType":"Bundle",' + b" " * (8 << 20) + b'"entry":[]}')
    (outcome,) = read(tmp_path, bomb)
    assert outcome.fate is Fate.REJECTED and "gzip" in outcome.reason and "times its size" in outcome.reason


def test_line_without_end_fills_memory(tmp_path: Path) -> None:
    good = json.dumps(r4()).encode()
    found = read(tmp_path, good + b"\n" + b"[" * (17 << 20) + b"\n" + good + b"\n")
    assert [(o.position, o.fate.value) for o in found] == [
        ("line 1", "recorded"), ("line 2", "rejected"), ("line 3", "recorded"),
    ]  # fmt: skip


def test_byte_order_mark_hides_a_good_file(tmp_path: Path) -> None:
    assert [o.fate.value for o in read(tmp_path, b"\xef\xbb\xbf" + bundle(r4()))] == ["recorded"]


def test_members_before_the_type_hide_a_bundle(tmp_path: Path) -> None:
    data = json.dumps({"entry": [{"resource": r4()}], "total": 1, "resourceType": "Bundle"}).encode()
    assert [o.fate.value for o in read(tmp_path, data)] == ["recorded"]


def test_empty_search_result_is_an_error(tmp_path: Path) -> None:
    assert read(tmp_path, b'{"resourceType":"Bundle","total":0}') == []
    assert read(tmp_path, b'{"resourceType":"Bundle","entry":[]}') == []


def test_list_of_entries_passes_for_a_bundle(tmp_path: Path) -> None:
    data = json.dumps({"entry": [{"resource": r4()}], "total": 1}).encode()
    assert fates(read(tmp_path, data))[-1][2] == "has entries, and does not say that it is a Bundle"
    (outcome,) = read(tmp_path, b'{"resourceType":"List","entry":[{"item":{}}]}')
    assert outcome.reason == "a List, not an AuditEvent"


def test_extensions_are_taken_for_errors(tmp_path: Path) -> None:
    event = r4(
        extension=[{"url": "https://example.org/x", "valueDecimal": 1.5}],
        modifierExtension=[{"url": "https://example.org/y", "valueBoolean": True}],
        _recorded={"extension": [{"url": "https://example.org/z", "valueString": "v"}]},
        somethingNew={"a": []},
    )
    assert one(tmp_path, event).fate is Fate.RECORDED


def test_event_about_two_persons_gives_one_record_or_names_one_to_the_other(tmp_path: Path) -> None:
    outcome = one(
        tmp_path, r4(entity=[{"what": {"reference": f"Patient/{name}"}} for name in ("anna", "ben", "anna")])
    )
    assert [access.subject for access in outcome.accesses] == ["id:anna", "id:ben"]
    for access, other in zip(outcome.accesses, ("ben", "anna"), strict=True):
        assert other not in json.dumps(access.claims)


def test_contained_patient_is_overlooked(tmp_path: Path) -> None:
    patient = {"resourceType": "Patient", "id": "p", "identifier": [{"value": "4711"}]}
    outcome = one(tmp_path, r4(contained=[patient], entity=[{"what": {"reference": "#p"}}]))
    assert [access.subject for access in outcome.accesses] == ["id:4711"]


@pytest.mark.parametrize(
    "entity",
    [
        {"what": {"reference": "Patient?identifier=urn:ssn|77"}},
        {"what": {"reference": "https://ehr.example/fhir/Patient/77/_history/3"}},
        {"what": {"reference": "urn:uuid:3f2c", "type": "Patient"}},
        {"what": {"identifier": {"value": "77"}, "type": "Patient"}},
        {
            "what": {"reference": "urn:uuid:3f2c"},
            "type": {"system": "http://hl7.org/fhir/resource-types", "code": "Patient"},
        },
        {"what": {"reference": "urn:uuid:3f2c"}, "role": {"code": "1"}},
        {"what": {"reference": "urn:uuid:3f2c"}, "type": {"code": "1"}},
    ],
)
def test_person_named_in_another_way_counts_as_nobody(entity: dict[str, Any], tmp_path: Path) -> None:
    assert one(tmp_path, r4(entity=[entity])).fate is not Fate.NOT_ABOUT_A_PERSON


def test_member_of_staff_is_taken_for_the_person_looked_up(tmp_path: Path) -> None:
    user = {"what": {"identifier": {"value": "clerk"}}, "type": {"code": "1"}, "role": {"code": "6"}}
    assert one(tmp_path, r4(entity=[user])).fate is Fate.NOT_ABOUT_A_PERSON


def test_r5_event_loses_what_r4_calls_otherwise(tmp_path: Path) -> None:
    outcome = one(
        tmp_path,
        r5(
            authorization=[
                {
                    "coding": [
                        {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}
                    ]
                }
            ],
            outcome={"code": {"code": "error"}, "detail": [{"text": "no consent"}]},
            agent=[{"who": {"display": "Dr Who"}, "requestor": True, "networkString": "10.0.0.1"}],
            entity=[{"what": {"reference": "Observation/9"}, "securityLabel": [{"coding": [{"code": "R"}]}]}],
        ),
    )
    claims = outcome.accesses[0].claims
    assert claims["purpose"]["purpose"] == ["https://w3id.org/dpv/sector/health#ServiceProvision"]
    assert claims["event"] == {
        "at": "2026-02-28T10:03:00Z", "action": "https://w3id.org/dpv#Consult", "outcome": "serious failure",
        "detail": "no consent", "system": "ward system",
    }  # fmt: skip
    assert claims["actor"] == {"id": "Dr Who", "automated": False, "network": "10.0.0.1"}
    assert claims["data"]["fields"] == ["Observation/9"]


def test_day_is_taken_from_the_local_date(tmp_path: Path) -> None:
    late = one(tmp_path, r4(recorded="2026-12-31T20:30:00-05:00")).accesses[0]
    early = one(tmp_path, r4(recorded="2027-01-01T01:30:00Z")).accesses[0]
    assert late.day == early.day


def test_same_event_read_again_is_another_or_two_alike_are_one(tmp_path: Path) -> None:
    first = [o.identity for o in read(tmp_path, ndjson(r4(), r4(), r5()))]
    again = [o.identity for o in read(tmp_path, bundle(r4(), r4(), r5()))]
    assert first == again and len(set(first)) == 3


def test_rejection_repeats_what_the_event_says(tmp_path: Path) -> None:
    event = r4(entity=[{"what": {"reference": "https://x.example/Patient/secret-person"}}])
    assert "secret" not in repr(one(tmp_path, event))


def test_mapping_by_code_system_or_action_is_ignored(tmp_path: Path) -> None:
    mapping = parse_mapping(
        b"""
        [activity]
        default = 1
        [[activity.rule]]
        activity = 2
        subtype = ["http://hl7.org/fhir/restful-interaction|read"]
        action = ["R"]
        [[activity.rule]]
        activity = 3
        purpose = ["ETREAT"]
        """,
        "map.toml",
    )
    path = tmp_path / "log.ndjson"
    emergency = [{"coding": [{"code": "ETREAT"}]}]
    path.write_bytes(ndjson(r4(), r4(action="U"), r4(action="U", purposeOfEvent=emergency)))
    assert [o.accesses[0].activity for o in read_fhir(path, mapping)] == [2, 1, 3]


def test_disclosure_to_herself_or_a_relative_names_either_outside_subject(tmp_path: Path) -> None:
    event = r4(
        type={"code": "110106"},
        agent=[
            {"who": {"reference": "Practitioner/7"}, "requestor": True},
            {
                "who": {"reference": "Patient/anna"},
                "type": {"coding": [{"code": "110152"}]},
                "requestor": False,
            },
        ],
        entity=[
            {"what": {"reference": "Patient/anna"}, "role": {"code": "1"}},
            {"what": {"identifier": {"system": "urn:ssn", "value": "ben-77"}}, "role": {"code": "1"}},
            {"what": {"reference": "DocumentReference/of-ben-77"}, "name": "chart of Anna"},
            {"what": {"reference": "Observation/annabel"}},
        ],
    )
    first, second = one(tmp_path, event).accesses
    assert (first.subject, second.subject) == ("id:anna", "id:urn:ssn|ben-77")
    assert first.claims["recipient"]["name"] == "the person whose data it is"
    for access in (first, second):
        assert access.claims["data"]["fields"] == ["DocumentReference", "Observation/annabel"]
