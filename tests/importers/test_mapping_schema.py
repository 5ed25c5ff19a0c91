"""The published schema of mapping files says what the program takes: its members, and no others."""

import json
import re
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


DOCS = Path(__file__).parents[2] / "docs"


def names_in(schema: Any) -> set[str]:
    """Every member that the schema lets one write, with those of the tables inside."""
    if isinstance(schema, list):
        return set().union(*map(names_in, schema))
    if not isinstance(schema, dict):
        return set()
    inner = {name for name, item in schema.items() if name != "properties" for name in names_in(item)}
    members = schema.get("properties")
    if not isinstance(members, dict):
        return inner
    return inner | set(members) | {name for item in members.values() for name in names_in(item)}


def test_manual_lacks_a_member_or_a_format() -> None:
    manual = (DOCS / "mapping.md").read_text(encoding="utf-8")
    told = set(re.findall(r"[a-z_A-Z]+", " ".join(re.findall(r"`[^`]*`|^    .*$", manual, re.MULTILINE))))
    assert names_in(SCHEMA) - told == set()
    formats = (DOCS / "importers.md").read_text(encoding="utf-8")
    assert [name for name in FORMATS if f"| `{name}` |" not in formats] == []
