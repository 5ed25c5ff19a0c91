"""The published schema of mapping files says what the program takes: its members, and no others."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from imported import SAMPLES
from jsonschema import Draft202012Validator
from test_field_mapping import CSV_REFUSED, PGAUDIT_REFUSED, REFUSED, SUBJECT, WHOLE

from ledger.department.importers.fields import fieldmap
from ledger.department.importers.formats import FORMATS

MAPS = Path(__file__).parents[2] / "ledger" / "department" / "maps"
SCHEMA: dict[str, Any] = json.loads((MAPS / "mapping.schema.json").read_bytes())
VALIDATOR = Draft202012Validator(SCHEMA)

BEYOND = {
    "no path", "path begins with a list", "path with a name as position", "no such group", "no expression",
    "no such lookup", "no scheme", "scheme_from leads astray", "action leads nowhere", "result",
    "category is no IRI", "automated is a word", "activity is a name", "other format", "no actor",
}  # fmt: skip
"""What no schema can see: what paths, expressions and tables lead to."""


def test_schema_is_none() -> None:
    Draft202012Validator.check_schema(SCHEMA)


GOOD = sorted([*SAMPLES.glob("maps/*.toml"), MAPS / "default.toml", MAPS / "ldv.toml"])


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_mapping_of_ours_breaks_the_schema(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(tomllib.loads(path.read_text("utf-8")))] == []


def accepted(text: str) -> bool:
    try:
        return bool(VALIDATOR.is_valid(json.loads(json.dumps(tomllib.loads(text)))))
    except tomllib.TOMLDecodeError:
        return False


@pytest.mark.parametrize("case", sorted(set(REFUSED) - BEYOND - {"no format"}))
def test_mapping_that_is_refused_fits_the_schema(case: str) -> None:
    assert not accepted(REFUSED[case][0])


@pytest.mark.parametrize("case", ["delimiter", "column twice", "skip"])
def test_dialect_that_is_refused_fits_the_schema(case: str) -> None:
    assert not accepted(f"{WHOLE.replace('jsonl', 'csv')}[csv]\n{CSV_REFUSED[case][0]}\n")


@pytest.mark.parametrize("case", ["log", "prefix is a number"])
def test_log_that_is_refused_fits_the_schema(case: str) -> None:
    assert not accepted(f'format = "pgaudit"\n{SUBJECT}[pgaudit]\n{PGAUDIT_REFUSED[case][0]}\n')


def test_schema_lacks_a_member_of_a_claim() -> None:
    properties = SCHEMA["$defs"]["fields"]["properties"]
    assert set(properties["format"]["enum"]) == set(FORMATS) - {"fhir"}
    for claim, members in fieldmap.CLAIM_MEMBERS.items():
        assert set(properties[claim]["properties"]) == set(members)
