"""Every sample file and the fate of each event in it, with the default mapping and with one for encounters."""

import json
from collections import Counter
from pathlib import Path

import pytest

from ledger.department.access import Fate, Outcome, Summary
from ledger.department.importers.fhir import read_fhir
from ledger.department.mapping import Mapping, default_mapping, parse_mapping

SAMPLES = Path(__file__).parents[2] / "samples" / "data"
FHIR = ("hl7-fhir", "ihe-balp", "fhir-server-bundles")

RECORDED, NOBODY, REJECTED = Fate.RECORDED, Fate.NOT_ABOUT_A_PERSON, Fate.REJECTED

ONE_EVENT: dict[str, tuple[Fate, str]] = {
    **{
        f"hl7-fhir/DSTU2/AuditEvent-example{name}.json": (REJECTED, "DSTU2")
        for name in ("-disclosure", "-login", "-logout", "-media", "-pixQuery", "-rest", "-search", "")
    },
    "hl7-fhir/R4/AuditEvent-example-disclosure.json": (RECORDED, "id:example"),
    "hl7-fhir/R4/AuditEvent-example-error.json": (NOBODY, ""),
    "hl7-fhir/R4/AuditEvent-example-login.json": (NOBODY, ""),
    "hl7-fhir/R4/AuditEvent-example-logout.json": (NOBODY, ""),
    "hl7-fhir/R4/AuditEvent-example-media.json": (RECORDED, "id:e3cdfc81a0d24bd^^^&2.16.840.1.113883.4.2&ISO"),
    "hl7-fhir/R4/AuditEvent-example-pixQuery.json": (RECORDED, "id:e3cdfc81a0d24bd^^^&2.16.840.1.113883.4.2&ISO"),
    "hl7-fhir/R4/AuditEvent-example-rest.json": (RECORDED, "id:example"),
    "hl7-fhir/R4/AuditEvent-example-search.json": (NOBODY, ""),
    "hl7-fhir/R4/AuditEvent-example.json": (NOBODY, ""),
    "hl7-fhir/R4B/auditevent-example.json": (NOBODY, ""),
    "hl7-fhir/R5/auditevent-example.json": (NOBODY, ""),
    **{
        f"ihe-balp/AuditEvent-ex-audit{name}.json": (RECORDED, "id:ex-patient")
        for name in (
            "AuthZconsent-deny", "AuthZconsent", "BasicCreate2", "BasicCreateClient", "BasicCreateNoUser",
            "BasicCreateNoUserJob", "BasicCreateServer", "BasicDelete2", "BasicDeleteInformant",
            "BasicDeleteNoUserJob", "BasicDeleteNoUserReport", "BasicPatch", "BasicQueryGetClient",
            "BasicQueryGetServer", "BasicQueryPost", "BasicReadNoUser", "BasicReadOServer",
            "BasicReadOServerMin", "BasicUpdate1", "BasicUpdate2", "BasicUpdateNoUser", "BasicUpdateNoUserJob",
            "PrivacyDisclosure-recipient-minCodes", "PrivacyDisclosure-recipient", "PrivacyDisclosure-source2",
        )
    },
    **{
        f"ihe-balp/AuditEvent-ex-audit{name}.json": (NOBODY, "")
        for name in (
            "BasicDeleteNoPatient", "BasicReadNoPatient", "Poke-SAML-Comp", "Poke-SAML-Min",
            "Poke-SAML-QDI-Comp", "Poke-SAML-QDI-Min",
        )
    },
    "fhir-server-bundles/auditEvents2.json": (NOBODY, ""),
}  # fmt: skip

ENCOUNTERS = rb"""
[subject]
from = ["patient", "entity"]
otherwise = ["encounter"]

[[subject.pattern]]
match = 'Encounter/([0-9]+)'
subject = "id:encounter-{1}"
"""


def outcomes(name: str, mapping: Mapping) -> list[Outcome]:
    return list(read_fhir(SAMPLES / name, mapping))


def only_access(name: str) -> dict[str, dict[str, object]]:
    (outcome,) = outcomes(name, default_mapping())
    return outcome.accesses[0].claims


def test_table_lacks_no_sample_file() -> None:
    files = {str(p.relative_to(SAMPLES)) for folder in FHIR for p in (SAMPLES / folder).rglob("*.json")}
    assert files == set(ONE_EVENT)


@pytest.mark.parametrize("name", ONE_EVENT)
def test_sample_ends_otherwise_than_it_should(name: str) -> None:
    fate, detail = ONE_EVENT[name]
    (outcome,) = outcomes(name, default_mapping())
    assert outcome.fate is fate
    assert fate is RECORDED or detail in outcome.reason
    assert [access.subject for access in outcome.accesses] == ([detail] if fate is RECORDED else [])


def test_pre_final_r5_bundle_is_about_nobody_without_a_mapping() -> None:
    found = outcomes("fhir-server-bundles/auditEvents.json.gz", default_mapping())
    assert Counter(outcome.fate for outcome in found) == {NOBODY: 828}


def test_pre_final_r5_bundle_is_recorded_by_its_encounters() -> None:
    mapping = parse_mapping(ENCOUNTERS, "map.toml")
    found = outcomes("fhir-server-bundles/auditEvents.json.gz", mapping)
    subjects = {access.subject for outcome in found for access in outcome.accesses}
    assert Counter(outcome.fate for outcome in found) == {RECORDED: 828}
    assert len(subjects) == 100 and "id:encounter-3" in subjects
    first = found[0].accesses[0]
    assert found[0].position == "entry[0].resource"
    assert first.claims["event"]["at"] == "2032-12-27T14:47:42+01:00"
    assert first.claims["actor"] == {"id": "Practitioner/4", "automated": False}


def test_occurred_period_gives_the_moment_of_a_pre_final_r5_event() -> None:
    (outcome,) = outcomes("fhir-server-bundles/auditEvents2.json", parse_mapping(ENCOUNTERS, "map.toml"))
    assert outcome.accesses[0].claims["event"]["at"] == "2022-08-17T12:47:43.240+00:00"
    assert outcome.accesses[0].subject == "id:encounter-3"


def test_summary_of_all_samples_does_not_add_up() -> None:
    summary = Summary()
    for path in sorted(path for folder in FHIR for path in (SAMPLES / folder).rglob("*.json*")):
        for outcome in read_fhir(path, default_mapping()):
            summary.count(outcome)
    assert summary.as_json() == {
        "events": 879, "recorded": 29, "not_about_a_person": 842, "rejected": 8, "records": 29, "recorded_before": 0,
    }  # fmt: skip
    assert summary.events == sum(counts["events"] for counts in summary.by_file.values())


def test_disclosure_loses_who_got_the_data_or_why() -> None:
    claims = only_access("hl7-fhir/R4/AuditEvent-example-disclosure.json")
    assert claims["event"]["action"] == "https://w3id.org/dpv#Disclose"
    assert claims["recipient"] == {
        "name": "Where", "network": "marketing.land", "passed_on": "2013-09-22T00:08:00Z",
    }  # fmt: skip
    assert claims["reason"] == {
        "text": "healthcare marketing",
        "codes": ["http://terminology.hl7.org/CodeSystem/v3-ActReason|HMARKT"],
    }
    assert claims["actor"]["id"] == "SomeIdiot@nowhere"


def test_search_tells_the_values_of_its_parameters() -> None:
    for name in ("GetClient", "GetServer", "Post"):
        claims = only_access(f"ihe-balp/AuditEvent-ex-auditBasicQuery{name}.json")
        assert claims["data"]["fields"] == [
            "a search for Observation by patient, _lastUpdated, _sort, _count"
        ]
        assert claims["event"]["result"] == "appeared"


@pytest.mark.parametrize("name", [name for name, (fate, _) in ONE_EVENT.items() if fate is RECORDED])
def test_claim_other_than_subject_names_the_person(name: str) -> None:
    claims = only_access(name)
    subject = str(claims.pop("subject"))
    value = subject.partition(":")[2]
    assert value not in json.dumps(claims).replace("example.org", "").replace("example.com", "")


def test_denied_access_is_written_as_one_that_opened_something() -> None:
    claims = only_access("ihe-balp/AuditEvent-ex-auditAuthZconsent-deny.json")
    assert claims["event"]["outcome"] == "serious failure"
    assert claims["event"]["detail"] == "Consent denied access to this user"
    assert "result" not in claims["event"]
    assert claims["actor"]["on_behalf_of"] == "Organization/ex-organization"
    assert claims["actor"]["id"] == "Practitioner/ex-practitioner"


def test_access_by_a_machine_alone_is_put_down_to_a_person() -> None:
    assert only_access("ihe-balp/AuditEvent-ex-auditBasicReadNoUser.json")["actor"]["automated"] is True
    assert only_access("ihe-balp/AuditEvent-ex-auditBasicUpdate1.json")["actor"]["automated"] is False
