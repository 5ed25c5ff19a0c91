"""The mapping file: what is not exactly right is refused with its place; what is right leads where it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import GlassbookError, Malformed
from ledger.department.mapping import LONGEST_REFERENCE, default_mapping, parse_mapping

REFUSED: dict[str, tuple[str, str]] = {
    "unknown section": ("[subjects]\n", "map.toml: subjects: unknown"),
    "unknown member": ("[subject]\nfroms = []\n", "map.toml: subject.froms: unknown"),
    "unknown member of a pattern": (
        "[[subject.pattern]]\nmatch='a'\nsubject='id:a'\nlowercase=true\n", "subject.pattern[0].lowercase: unknown",
    ),
    "unknown member of a rule": (
        "[[activity.rule]]\nactivity=1\ncode=['a']\ntype=['b']\n", "activity.rule[0].code: unknown",
    ),
    "section is a list": ("subject = []\n", "subject: is a list, must be a table"),
    "places is a string": ("[subject]\nfrom='patient'\n", "subject.from: is a string, must be a list"),
    "place is a number": ("[subject]\nfrom=[1]\n", "subject.from[0]: is an integer, must be a string"),
    "no such place": ("[subject]\nfrom=['patients']\n", "subject.from[0]: must be one of patient, entity"),
    "exact leads nowhere": ("[subject.exact]\n'Patient/1'='9434765919'\n", "member 1 leads to no subject"),
    "exact is a number": ("[subject.exact]\n'Patient/1'=1\n", "member 1 leads to no subject"),
    "pattern without match": ("[[subject.pattern]]\nsubject='id:1'\n", "subject.pattern[0].match: missing"),
    "broken expression": ("[[subject.pattern]]\nmatch='('\nsubject='id:1'\n", "not a regular expression"),
    "no such group": ("[[subject.pattern]]\nmatch='(a)'\nsubject='id:{2}'\n", "names group 2, and `match` has 1"),
    "open brace": ("[[subject.pattern]]\nmatch='(a)'\nsubject='id:{x}'\n", "braces hold the number of a group"),
    "lower is a string": ("[[subject.pattern]]\nmatch='a'\nsubject='i:a'\nlower='yes'\n", "must be true or false"),
    "activity 0": ("[activity]\ndefault=0\n", "activity.default: must be from 1 to"),
    "activity is a string": ("[activity]\ndefault='1'\n", "activity.default: is a string, must be an integer"),
    "activity is true": ("[activity]\ndefault=true\n", "is true or false, must be an integer"),
    "rule without activity": ("[[activity.rule]]\ntype=['a']\n", "activity.rule[0].activity: missing"),
    "rule without condition": ("[[activity.rule]]\nactivity=1\n", "has no condition"),
    "empty condition": ("[[activity.rule]]\nactivity=1\ntype=['']\n", "type[0]: is empty"),
    "no such actor id": ("[actor]\nid=['login']\n", "actor.id[0]: must be one of identifier"),
    "action is no IRI": ("[action]\nR='read'\n", 'action."R": is no absolute IRI'),
    "purpose is a string": ("[purpose]\nTREAT='https://a/b'\n", "purpose.TREAT: is a string, must be a list"),
    "data is no IRI": ("[data]\nPatient=['name']\n", 'data."Patient": is no absolute IRI'),
    "member twice": ("[activity]\ndefault=1\ndefault=2\n", "not TOML"),
    "half a line": ("[activity]\ndefault=", "not TOML"),
    "a date": ("[activity]\ndefault=2026-01-01\n", "is a date or time, must be an integer"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_mapping_that_is_not_right_is_read(case: str) -> None:
    text, fault = REFUSED[case]
    with pytest.raises(Malformed) as caught:
        parse_mapping(text.encode(), "map.toml")
    assert fault in str(caught.value)


def test_faulty_exact_reference_is_repeated_in_the_error() -> None:
    with pytest.raises(Malformed) as caught:
        parse_mapping(b'[subject.exact]\n"Patient/anna"="nobody"\n', "map.toml")
    assert "anna" not in str(caught.value)


def test_mapping_that_is_not_utf_8_or_too_long_is_read() -> None:
    with pytest.raises(Malformed, match="not UTF-8 at byte 2"):
        parse_mapping(b"# \xff", "map.toml")
    with pytest.raises(Malformed, match="longer than"):
        parse_mapping(b"#" * (5 << 20), "map.toml")


def test_empty_mapping_differs_from_the_defaults() -> None:
    assert parse_mapping(b"", "map.toml") == default_mapping()


def test_section_given_leaves_parts_of_the_default() -> None:
    mapping = parse_mapping(b"[subject]\nfrom=['patient']\n[action]\nR='https://a.example/b'\n", "map.toml")
    assert mapping.places == ("patient",) and mapping.patterns == () and mapping.exact == {}
    assert mapping.actions["R"] == "https://a.example/b"
    assert mapping.actions["U"] == default_mapping().actions["U"]
    assert mapping.default_activity == 1


MAPPING = parse_mapping(
    rb"""
[subject.exact]
"Patient/Anna" = "id:exact"
[[subject.pattern]]
match = 'Patient/([A-Za-z]+)'
subject = "name:{1}"
lower = true
[[subject.pattern]]
match = '(?:urn:nhs\|)?([0-9]{3}) ?([0-9]{3})()'
subject = "nhs:{1}{2}{3}"
""",
    "map.toml",
)


@pytest.mark.parametrize(
    ("references", "subject"),
    [
        (["Patient/Anna"], "id:exact"),
        (["Patient/BEN"], "name:ben"),
        (["Patient/Ben/x"], None),
        (["xPatient/Ben"], None),
        (["Patient/Ben\n"], None),
        (["urn:nhs|123 456"], "nhs:123456"),
        (["Device/1", "123456"], "nhs:123456"),
        (["Patient/Ben", "123456"], "name:ben"),
        ([], None),
        (["Patient/" + "a" * LONGEST_REFERENCE], None),
    ],
)
def test_reference_leads_to_another_subject(references: list[str], subject: str | None) -> None:
    assert MAPPING.subject(references) == subject


def test_pattern_that_makes_no_subject_passes() -> None:
    mapping = parse_mapping(b"[[subject.pattern]]\nmatch='(.*)'\nsubject='id:{1}'\n", "map.toml")
    for reference in ("a b", "x" * 300, ""):
        with pytest.raises(Malformed, match="no valid subject"):
            mapping.subject([reference])


@given(st.text(max_size=60))
def test_some_text_as_mapping_raises_otherwise(text: str) -> None:
    try:
        parse_mapping(text.encode("utf-8", "surrogatepass"), "map.toml")
    except GlassbookError as error:
        assert error.where.startswith("map.toml")
