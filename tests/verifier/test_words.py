"""An access in a sentence that needs no knowledge of the formats."""

from typing import Any

import pytest

from verifier_cli.vocabulary import plain_label
from verifier_cli.words import (
    access_in_words,
    in_language,
    moment_in_words,
    month_in_words,
    plain,
    purpose_in_words,
)

DPV = "https://w3id.org/dpv"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({}, "Someone whose name is not stated did something with your data (not stated what)."),
        (
            {"actor": {"id": "7", "automated": True}, "event": {"action": f"{DPV}#Alter", "system": "hr"}},
            "The program 7 changed your data in hr.",
        ),
        (
            {
                "actor": {"id": "p/7", "name": "Dr Grey", "role": "surgeon", "on_behalf_of": "City hospital"},
                "event": {"action": f"{DPV}#Consult", "outcome": "success", "result": "opened"},
                "data": {
                    "categories": [f"{DPV}/pd#Name", f"{DPV}/pd#HealthRecord"],
                    "fields": ["Observation/9"],
                },
            },
            "Dr Grey (p/7), surgeon, on behalf of City hospital, looked at your data: Name, Health record; namely",
        ),
        (
            {
                "actor": {"id": "not stated"},
                "event": {"action": f"{DPV}#Query", "outcome": "serious failure"},
            },
            "Someone whose name is not stated tried to search for your data, without success.",
        ),
        (
            {
                "actor": {"id": "x"},
                "event": {"action": f"{DPV}#Query", "result": "appeared"},
                "data": {"fields": ["a"]},
            },
            "x searched, and your data was in the result: a.",
        ),
        (
            {"actor": "x", "event": 3, "data": 17},
            "Someone whose name is not stated did something with your data",
        ),
    ],
)
def test_an_access_is_one_sentence(claims: dict[str, Any], said: str) -> None:
    assert access_in_words(claims, 0).startswith(said)


def test_why_names_activity_purpose_ground_reason_and_recipient() -> None:
    claims = {
        "purpose": {"purpose": [f"{DPV}#ScientificResearch"], "legal_basis": [f"{DPV}#Consent"]},
        "reason": {"text": "case 17", "codes": ["x"]},
        "recipient": {"name": "the court", "network": "10.0.0.1"},
    }
    assert purpose_in_words(claims, "We study") == [
        ("why", "We study (Scientific research)"),
        ("legal ground", "You agreed"),
        ("reason as written", "case 17"),
        ("passed on to", "the court"),
    ]
    assert purpose_in_words({}, "") == []


@pytest.mark.parametrize(
    ("iri", "label"),
    [
        (f"{DPV}#LegalObligation", "The law requires it"),
        ("https://example.gov/terms#TaxAudit", "Tax audit"),
        ("https://example.gov/terms/GDPRRequest", "GDPR request"),
        ("https://example.gov/", "example gov"),
        ("tax return of 2025", "tax return of 2025"),
    ],
)
def test_an_iri_is_said_in_plain_words_known_or_not(iri: str, label: str) -> None:
    assert plain_label(iri) == label


@pytest.mark.parametrize(
    ("lang", "text"),
    [("cy", "un"), ("cy-GB", "un"), ("CY", "un"), ("fr", "two"), ("en-US", "two"), ("de", "two")],
)
def test_a_language_falls_back_to_its_primary_one_and_then_to_english(lang: str, text: str) -> None:
    assert in_language({"cy": "un", "en-GB": "two"}, lang) == text
    assert in_language({"nl": "een"}, lang) == "een"


def test_text_of_others_is_visible_and_bounded() -> None:
    assert plain("a\x1b[31mb\u202ec\nd\u0000") == "a\ufffd[31mb\ufffdc d\ufffd"
    assert len(plain("x" * 5000)) == 2001


def test_times_and_months_are_said_as_people_do() -> None:
    assert moment_in_words("2026-02-28T10:03:00Z", 20512) == "28 February 2026, 10:03 UTC"
    assert moment_in_words("2026-03-01T00:30:00+02:00", 20512) == "28 February 2026, 22:30 UTC"
    assert month_in_words(678) == "July 2026"
