"""Every sample log but FHIR's, with the mapping that lies beside it: the fate of each event, and what is recorded."""

from collections import Counter
from typing import Any

import pytest
from imported import SAMPLES, counted, fates, read_file

from ledger.department.sentence import sentence

MADE = {
    "csv": ("made/counter.csv", "counter.toml"),
    "jsonl": ("made/portal.jsonl", "portal.toml"),
    "ldv": ("made/spans.json", "permits.toml"),
    "pgaudit": ("made/database.log", "database.toml"),
}

UNKNOWN = "holds a value that `values` does not have; add it there, or give a `default`"

FATES: dict[str, list[tuple[str, str, str]]] = {
    "csv": [
        ("line 3", "recorded", "bsn:123456782"),
        ("line 4", "recorded", "bsn:123456782"),
        ("line 6", "not about a person", "a nightly run that opens nobody's file"),
        ("line 7", "recorded", "bsn:111222333"),
        ("line 8", "rejected", "has 5 columns where there are 7"),
        ("line 9", "rejected", "a quotation mark is not closed, or something follows a closed one"),
        ("line 10: Zeitpunkt", "rejected", "holds no time that exists, written as %d.%m.%Y %H:%M:%S"),
        ("line 11: Vorgang", "rejected", UNKNOWN),
        ("line 12", "recorded", "bsn:999990019"),
    ],
    "jsonl": [
        ("line 1", "recorded", "nhs:9990000018"),
        ("line 2", "recorded", "nhs:9990000018 nhs:9990000026"),
        ("line 3", "recorded", "nhs:9990000026"),
        ("line 4", "not about a person", "signing in opens nobody's file"),
        ("line 5: user.group", "rejected", UNKNOWN),
        ("line 6", "rejected", "not JSON at character 49"),
        ("line 7", "recorded", "nhs:9990000018"),
    ],
    "ldv": [
        ("resourceSpans[0].scopeSpans[0].spans[0]", "recorded", "bsn:123456782"),
        ("resourceSpans[0].scopeSpans[0].spans[1]", "recorded", "bsn:123456782"),
        (
            "resourceSpans[0].scopeSpans[0].spans[2]",
            "not about a person",
            "names no person where the mapping looks for one",
        ),
        (
            'resourceSpans[0].scopeSpans[0].spans[3]: attributes."dpl.core.data_subject_id_type"',
            "rejected",
            UNKNOWN,
        ),
    ],
    "pgaudit": [
        ("line 2", "recorded", "nhs:9990000018"),
        ("line 5", "recorded", "nhs:9990000018"),
        ("line 6", "recorded", "nhs:9990000026"),
        ("line 7", "not about a person", "reads and writes nobody's data"),
        ("line 8", "not about a person", "counts persons, and shows none"),
        (
            "line 9",
            "rejected",
            "its statement was logged with an earlier record, and this file does not have it; join the two files",
        ),
        (
            "line 10",
            "rejected",
            "a record of pgaudit is cut short: the next line of the log begins before its end",
        ),
        ("line 11", "recorded", "nhs:9990000018"),
    ],
}

SENTENCES = {
    "csv": "On 2026-02-28 Weiß, M. (Einwohneramt) searched for you: list of persons found. "
    'Reason given: Anfrage "Schule".',
    "jsonl": "On 2026-02-28 the program nightly-export gave your data to someone else. To: Pensions Agency.",
    "ldv": "On 2026-02-28 the program permits for https://permits.example/api tried in vain to use your data.",
    "pgaudit": "On 2026-02-28 import changed your data: public.person.",
}


def made(format_: str) -> Any:
    log, map_ = MADE[format_]
    return read_file(SAMPLES / "data" / log, format_, (SAMPLES / "maps" / map_).read_bytes())


@pytest.mark.parametrize("format_", MADE)
def test_event_of_a_sample_ends_otherwise_than_it_should(format_: str) -> None:
    found = made(format_)
    counted(found)
    assert fates(found) == FATES[format_]


@pytest.mark.parametrize("format_", MADE)
def test_sentence_of_a_sample_reads_otherwise(format_: str) -> None:
    read = [sentence(access) for outcome in made(format_) for access in outcome.accesses]
    assert SENTENCES[format_] in read


@pytest.mark.parametrize("format_", MADE)
def test_claim_other_than_subject_names_the_person(format_: str) -> None:
    for outcome in made(format_):
        for access in outcome.accesses:
            rest = {name: claim for name, claim in access.claims.items() if name not in ("subject", "reason")}
            assert access.subject.partition(":")[2] not in str(rest)


def test_span_loses_its_trace_its_system_or_its_program() -> None:
    first, second = (outcome.accesses[0].claims for outcome in made("ldv")[:2])
    assert first["event"] == {
        "at": "2026-02-28T09:03:25.123456789Z", "action": "https://w3id.org/dpv#Use", "outcome": "success",
        "system": "permits", "detail": "assess the request", "trace_id": "0ac8d1c5251f6cd04c2fe5acd871f69c",
    }  # fmt: skip
    assert first["actor"] == {"id": "j.koehler", "automated": False}
    assert first["purpose"] == {"activity": 1} and second["purpose"] == {"activity": 2}
    assert second["actor"] == {
        "id": "permits", "automated": True, "on_behalf_of": "https://permits.example/api",
    }  # fmt: skip
    assert second["event"]["detail"] == "read person …"


def test_local_time_loses_its_zone() -> None:
    events = [access.claims["event"]["at"] for outcome in made("csv") for access in outcome.accesses]
    assert events[0] == "2026-02-28T09:14:05+01:00"


def test_pgaudit_sample_loses_a_record() -> None:
    """415 records, many of them over several lines; without `prefix` they say no time."""
    map_ = """
    format = "pgaudit"
    [pgaudit]
    prefix = ""
    [[nobody]]
    where = { class = ["DDL", "ROLE", "MISC", "FUNCTION"] }
    [[nobody]]
    where = { object = { filled = false } }
    [subject]
    from = { field = "statement", find = '(?i)where\\s+(?:account\\.)?id\\s*=\\s*([0-9]+)' }
    scheme = "id"
    [activity]
    default = 1
    """
    found = read_file(SAMPLES / "data/pgaudit/pgaudit-audit-records.log", "pgaudit", map_)
    summary = counted(found)
    assert summary.events == 415
    assert Counter(o.fate.value for o in found) == {"rejected": 141, "not about a person": 274}
    assert {o.reason for o in found if o.position.endswith(": time")} == {
        "holds no time; the event does not say when it happened"
    }


def test_otlp_examples_are_about_somebody_without_a_mapping() -> None:
    for name in ("events", "logs", "trace"):
        (outcome,) = read_file(SAMPLES / "data/otlp" / f"{name}.json", "ldv", None)
        assert outcome.fate.value == "not about a person"
