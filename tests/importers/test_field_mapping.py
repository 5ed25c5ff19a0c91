"""Mapping files for named values: what is not exactly right is refused with its place; what is right leads there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import GlassbookError, Malformed
from ledger.department.access import Access, Fate, Outcome
from ledger.department.importers.csvfile import read_csv_mapping
from ledger.department.importers.fields.accesses import outcome_of
from ledger.department.importers.fields.paths import parse_path
from ledger.department.importers.identity import Identities
from ledger.department.importers.jsonlines import read_jsonl_mapping
from ledger.department.importers.ldv import read_ldv_mapping
from ledger.department.importers.pgaudit import read_pgaudit_mapping

TIME = '[time]\nfrom = "at"\n'
SUBJECT = '[subject]\nfrom = "who"\nscheme = "id"\n'
ACTOR = '[actor]\nid = "by"\n'
ACTIVITY = "[activity]\ndefault = 1\n"
WHOLE = 'format = "jsonl"\n' + TIME + SUBJECT + ACTOR + ACTIVITY

REFUSED: dict[str, tuple[str, str]] = {
    "no format": (TIME + SUBJECT + ACTOR, 'map.toml: format: missing; write format = "jsonl"'),
    "other format": ('format = "csv"\n' + TIME + SUBJECT + ACTOR, "is csv, and the import is of jsonl"),
    "no time": ('format = "jsonl"\n' + SUBJECT + ACTOR, "map.toml: time: missing"),
    "no subject": ('format = "jsonl"\n' + TIME + ACTOR, "map.toml: subject: missing"),
    "no actor": ('format = "jsonl"\n' + TIME + SUBJECT, "map.toml: actor: needs `id`, or `program`"),
    "unknown section": (WHOLE + "[colour]\n", "colour: unknown"),
    "unknown member": (WHOLE + "[reason]\nwhy = 'x'\n", "reason.why: unknown"),
    "section of another format": (WHOLE + "[csv]\ndelimiter = ';'\n", "csv: unknown"),
    "time is a table": ('format = "jsonl"\n[time]\nfrom = { a = 1 }\n', "time.from: must be given"),
    "subject without from": ('format = "jsonl"\n' + TIME + "[subject]\nscheme = 'id'\n", "subject.from: missing"),
    "no scheme": ('format = "jsonl"\n' + TIME + "[subject]\nfrom = 'a'\n", "subject.scheme: missing"),
    "no scheme's name": (
        'format = "jsonl"\n' + TIME + "[subject]\nfrom = 'a'\nscheme = 'N H S'\n", "is no scheme's name",
    ),
    "two schemes": (
        'format = "jsonl"\n' + TIME + "[subject]\nfrom = 'a'\nscheme = 'id'\nscheme_from = 'b'\n", "stands beside",
    ),
    "scheme_from leads astray": (
        'format = "jsonl"\n' + TIME + "[subject]\nfrom = 'a'\nscheme_from = { field = 'b', values = { x = 'N S' } }\n",
        "leads to what is no scheme's name",
    ),
    "empty is a wish": (
        'format = "jsonl"\n' + TIME + "[subject]\nfrom = 'a'\nscheme = 'id'\nempty = 'skip'\n", "must be one of reject",
    ),
    "pad too wide": (
        'format = "jsonl"\n' + TIME + "[subject]\nfrom = 'a'\nscheme = 'id'\npad = 1000\n", "from 1 to 64",
    ),
    "rule without where": (
        'format = "jsonl"\n' + TIME + "[[subject.rule]]\nfrom = 'a'\nscheme = 'id'\n", "subject.rule[0].where: missing",
    ),
    "where of nothing": (
        WHOLE + "[[nobody]]\nwhere = {}\n", "nobody[0].where: missing or empty",
    ),
    "where with an unquoted path": (WHOLE + "[[nobody]]\nwhere = { user.type = 'x' }\n", "stands in quotation marks"),
    "where with an empty list": (WHOLE + "[[nobody]]\nwhere = { a = [] }\n", "is an empty list"),
    "where with both": (WHOLE + "[[nobody]]\nwhere = { a = { find = 'x', filled = true } }\n", "`find` or `filled`"),
    "no path": (WHOLE + "[reason]\ntext = 'a..b'\n", "reason.text: no path"),
    "path begins with a list": (WHOLE + "[reason]\ntext = '[0].a'\n", "begins with a name"),
    "path with a name as position": (WHOLE + "[reason]\ntext = 'a[x]'\n", "not understood from character 2 on"),
    "value is a number": (WHOLE + "[reason]\ntext = 5\n", "reason.text: is an integer, must be a path or a table"),
    "const and field": (WHOLE + "[reason]\ntext = { const = 'a', field = 'b' }\n", "needs either `field` or `const`"),
    "neither": (WHOLE + "[reason]\ntext = { default = 'a' }\n", "needs either `field` or `const`"),
    "const looked up": (WHOLE + "[reason]\ntext = { const = 'a', values = { a = 'b' } }\n", "always the same"),
    "becomes alone": (WHOLE + "[reason]\ntext = { field = 'a', becomes = '{1}' }\n", "needs `find`"),
    "no such group": (WHOLE + "[reason]\ntext = { field = 'a', find = '(x)', becomes = '{2}' }\n", "names group 2"),
    "no expression": (WHOLE + "[reason]\ntext = { field = 'a', find = '(' }\n", "not a regular expression"),
    "no such lookup": (WHOLE + "[reason]\ntext = { field = 'a', values = 'codes' }\n", "names [lookup.codes]"),
    "values are numbers": (WHOLE + "[reason]\ntext = { field = 'a', values = { a = 1 } }\n", "must be a string"),
    "unknown in a value": (WHOLE + "[reason]\ntext = { field = 'a', otherwise = 'x' }\n", "otherwise: unknown"),
    "action leads nowhere": (WHOLE + "[event]\naction = { const = 'peek' }\n", "event.action: leads to what is no IRI"),
    "result": (WHOLE + "[event]\nresult = { const = 'seen' }\n", "must lead to opened or appeared"),
    "category is no IRI": (WHOLE + "[data]\ncategories = { const = 'name' }\n", "no absolute IRI"),
    "automated is a word": (WHOLE.replace(ACTOR, ACTOR + "automated = { const = 'yes' }\n"), "must be true or false"),
    "activity is a name": (
        WHOLE.replace(ACTIVITY, "[activity]\nfrom = { field = 'a', values = { x = 'one' } }\n"),
        "activity.from: leads to what is no activity's number",
    ),
    "activity rule without number": (
        WHOLE + "[[activity.rule]]\nwhere = { a = 'b' }\n", "activity.rule[0].activity: missing",
    ),
    "exact leads nowhere": (WHOLE + "[subject.exact]\nanna = 'nobody'\n", "member 1 leads to no subject"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_mapping_that_is_not_right_is_read(case: str) -> None:
    text, fault = REFUSED[case]
    with pytest.raises(Malformed) as caught:
        read_jsonl_mapping(text.encode(), "map.toml")
    assert fault in str(caught.value) and str(caught.value).startswith("map.toml: ")
    assert "anna" not in str(caught.value)


CSV_REFUSED: dict[str, tuple[str, str]] = {
    "delimiter": ("delimiter = ';;'", "csv.delimiter: must be one character"),
    "line end as delimiter": ('delimiter = "\\n"', "must be one character"),
    "quote is the delimiter": ("quote = ','", "is the same as the delimiter"),
    "encoding": ("encoding = 'klingon'", "no encoding known"),
    "an encoding of bytes": ("encoding = 'base64'", "no encoding known"),
    "column twice": ("columns = ['at', 'at']", "names a column twice"),
    "column missing": ("columns = ['at', 'who']", "csv.columns: lacks by, which the mapping reads"),
    "skip": ("skip = -1", "must be from 1"),
}


@pytest.mark.parametrize("case", CSV_REFUSED)
def test_dialect_that_is_not_right_is_read(case: str) -> None:
    text, fault = CSV_REFUSED[case]
    with pytest.raises(Malformed) as caught:
        read_csv_mapping(f"{WHOLE.replace('jsonl', 'csv')}[csv]\n{text}\n".encode(), "map.toml")
    assert fault in str(caught.value)


PGAUDIT_REFUSED: dict[str, tuple[str, str]] = {
    "log": ("log = 'syslog'", "pgaudit.log: must be one of stderr, csv, json"),
    "prefix of csv": ("log = 'csv'\nprefix = '%m '", "belongs to a log written to stderr"),
    "prefix is a number": ("prefix = 5", "must be a string"),
    "encoding": ("encoding = 'klingon'", "pgaudit.encoding: is no encoding known"),
    "encoding of json": ("log = 'json'\nencoding = 'utf-8'", "cannot be chosen for JSON"),
    "no such escape": ("prefix = '%m %z '", "%z is no escape"),
}


@pytest.mark.parametrize("case", PGAUDIT_REFUSED)
def test_log_that_is_not_written_so_is_read(case: str) -> None:
    text, fault = PGAUDIT_REFUSED[case]
    with pytest.raises(Malformed) as caught:
        read_pgaudit_mapping(f'format = "pgaudit"\n{SUBJECT}[pgaudit]\n{text}\n'.encode(), "map.toml")
    assert fault in str(caught.value)


def test_pgaudit_guesses_whom_a_statement_is_about() -> None:
    with pytest.raises(Malformed, match="subject: missing"):
        read_pgaudit_mapping(b'format = "pgaudit"\n[activity]\ndefault = 1\n', "map.toml")


@given(st.text(max_size=80))
def test_some_text_as_mapping_raises_otherwise(text: str) -> None:
    for read in (read_jsonl_mapping, read_csv_mapping, read_ldv_mapping, read_pgaudit_mapping):
        try:
            read(text.encode("utf-8", "surrogatepass"), "map.toml")
        except GlassbookError as error:
            assert error.where.startswith("map.toml")


@given(
    st.sampled_from(
        ["time", "subject", "actor", "event", "data", "reason", "activity", "lookup", "nobody", "action"]
    ),
    st.sampled_from(
        ["from", "id", "text", "where", "rule", "values", "default", "format", "exact", "pattern"]
    ),
    st.sampled_from(
        ["1", "true", "''", "'x'", "[]", "['x', 1]", "{}", "{a = 1}", "{field = 'a'}", "[{}]", "2026-01-01"]
    ),
)
def test_member_of_some_type_raises_otherwise(section: str, member: str, value: str) -> None:
    text = WHOLE.replace(f"[{section}]\n", f"[{section}]\n{member} = {value}\n")
    if f"[{section}]" not in text:
        text += f"[{section}]\n{member} = {value}\n"
    try:
        read_jsonl_mapping(text.encode(), "map.toml")
    except GlassbookError as error:
        assert error.where.startswith("map.toml")


PATHS: list[tuple[str, tuple[str, ...]]] = [
    ("a.b", ("1",)),
    ('"x.y"', ("2",)),
    ('a."c d"[0]', ("3",)),
    ("list[1].id", ("b",)),
    ("list[*].id", ("a", "b")),
    ("list[7].id", ()),
    ("texts", ("p", "q")),
    ("none.deeper", ()),
    ("flag", ("true",)),
    ("missing[*].id", ()),
]


@pytest.mark.parametrize(("path", "texts"), PATHS)
def test_path_leads_elsewhere(path: str, texts: tuple[str, ...]) -> None:
    record = {
        "a": {"b": 1, "c d": ["3"]}, "x.y": " 2 ", "list": [{"id": "a"}, {"id": "b"}, {}],
        "texts": ["p", "", None, "q"], "none": None, "flag": True,
    }  # fmt: skip
    assert parse_path(path, flat=False).find(record) == texts


@pytest.mark.parametrize("path", ["a", "a.b.c", "list.id", "a[0]", "list"])
def test_value_of_another_shape_passes(path: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_path(path, flat=False).find({"a": {"b": 1}, "list": [{"id": 1}]})
    assert caught.value.where == path


def read(record: dict[str, Any], more: str = "", subject: str = SUBJECT) -> Outcome:
    mapping = read_jsonl_mapping(
        ('format = "jsonl"\n' + TIME + subject + ACTOR + ACTIVITY + more).encode(), "map.toml"
    )
    with Identities() as identities:
        return outcome_of(
            {"at": "2026-02-28T10:03:00Z", "by": "clerk"} | record, mapping, "f", "line 1", identities
        )


def access(record: dict[str, Any], more: str = "", subject: str = SUBJECT) -> Access:
    outcome = read(record, more, subject)
    assert outcome.fate is Fate.RECORDED, outcome.reason
    return outcome.accesses[0]


SUBJECTS: list[tuple[str, Any, str]] = [
    ("scheme = 'id'", "p1", "id:p1"),
    ("scheme = 'id'", 17, "id:17"),
    ("scheme = 'bsn'\npad = 9", 12345678, "bsn:012345678"),
    ("scheme = 'nhs'\nremove = ' -'", "943-476 5919", "nhs:9434765919"),
    ("scheme = 'id'\nlower = true", "P1", "id:p1"),
    ("scheme = 'id'", "o\u0308l", "id:\u00f6l"),
    ("scheme_from = { field = 'kind', values = { B = 'bsn' } }", "1", "bsn:1"),
    ("[subject.exact]\n'Mr X' = 'id:x'", "Mr X", "id:x"),
    ("[[subject.pattern]]\nmatch = 'P(.*)'\nsubject = 'id:{1}'", "P7", "id:7"),
]


@pytest.mark.parametrize(("lines", "value", "subject"), SUBJECTS)
def test_person_is_led_to_another_subject(lines: str, value: Any, subject: str) -> None:
    assert (
        access({"who": value, "kind": "B"}, subject=f"[subject]\nfrom = 'who'\n{lines}\n").subject == subject
    )


def test_person_that_nothing_leads_anywhere_is_guessed_at() -> None:
    lines = "[subject]\nfrom = 'who'\n[subject.exact]\n'Mr X' = 'id:x'\n"
    outcome = read({"who": "Mr Y"}, subject=lines)
    assert outcome.fate is Fate.REJECTED and outcome.position == "line 1: who"
    assert "Mr" not in outcome.reason


def test_kind_of_identifier_puts_words_into_the_identifier() -> None:
    lines = "[subject]\nfrom = 'who'\nscheme_from = 'kind'\n"
    assert access({"who": "1", "kind": "bsn"}, subject=lines).subject == "bsn:1"
    for kind in ("id:x", "B S N", "é"):
        assert read({"who": "1", "kind": kind}, subject=lines).fate is Fate.REJECTED


def test_rules_are_tried_in_another_order_than_written() -> None:
    subject = """
    [[nobody]]
    where = { kind = "ping" }
    [[subject.rule]]
    where = { kind = "a" }
    from = "first"
    scheme = "id"
    [[subject.rule]]
    where = { kind = ["a", "b"] }
    from = "second"
    scheme = "nr"
    [subject]
    otherwise = "nobody"
    """
    assert access({"kind": "a", "first": "1", "second": "2"}, subject=subject).subject == "id:1"
    assert access({"kind": "a", "second": "2"}, subject=subject).subject == "nr:2"
    assert read({"kind": "c", "second": "2"}, subject=subject).fate is Fate.NOT_ABOUT_A_PERSON
    assert read({"kind": "ping", "first": "1"}, subject=subject).fate is Fate.NOT_ABOUT_A_PERSON
    assert read({"kind": "a"}, subject=subject.replace('nobody"', 'reject"')).fate is Fate.REJECTED


def test_several_persons_share_a_record_or_learn_of_each_other() -> None:
    outcome = read({"who": ["p1", "p2", "p1"]}, "[data]\nfields = 'who'\n[event]\ndetail = 'note'\n")
    assert [a.subject for a in outcome.accesses] == ["id:p1", "id:p2"]
    for one in outcome.accesses:
        assert one.claims["data"]["fields"] == ["…"]


def test_own_identifier_stands_in_another_claim() -> None:
    more = "unit = 'unit'\n[event]\nsystem = 'sys'\n[recipient]\nname = 'to'\n[data]\nfields = 'url'\n"
    record = {
        "who": "P1", "by": "p1", "unit": "Unit P1", "sys": "s-p1", "to": "p1, p12", "url": "/persons/P1/letters",
        "why": "P1 asked for it",
    }  # fmt: skip
    text = WHOLE.replace(SUBJECT, SUBJECT + "lower = true\n").replace(ACTOR, ACTOR + more)
    text += "[reason]\ntext = 'why'\n"
    with Identities() as identities:
        outcome = outcome_of(
            {"at": "2026-02-28T10:03:00Z", **record},
            read_jsonl_mapping(text.encode(), "m"),
            "f",
            "l",
            identities,
        )
    claims = outcome.accesses[0].claims
    assert claims["actor"] == {"id": "the person whose data it is", "automated": False, "unit": "Unit …"}
    assert claims["event"]["system"] == "s-…" and claims["recipient"]["name"] == "…, p12"
    assert claims["data"]["fields"] == ["/persons/…/letters"]
    assert claims["reason"] == {"text": "P1 asked for it"}


def test_program_is_put_down_as_a_person() -> None:
    actor = "[actor]\nid = 'user'\nprogram = 'job'\n"
    text = ('format = "jsonl"\n' + TIME + SUBJECT + ACTIVITY + actor).encode()
    mapping = read_jsonl_mapping(text, "map.toml")
    with Identities() as identities:
        for record, expected in (
            ({"user": "anna", "job": "x"}, {"id": "anna", "automated": False}),
            ({"job": "nightly"}, {"id": "nightly", "automated": True}),
            ({}, {"id": "not stated", "automated": False}),
        ):
            event = {"at": "2026-02-28T10:03:00Z", "who": "p", **record}
            found = outcome_of(event, mapping, "f", "l", identities)
            assert found.accesses[0].claims["actor"] == expected


def test_failed_access_is_written_as_one_that_opened_something() -> None:
    more = "[event]\naction = { const = 'R' }\n"
    more += "outcome = { field = 'ok', values = { true = 'success', false = 'failure' } }\n"
    assert access({"who": "p", "ok": True}, more).claims["event"]["result"] == "opened"
    assert "result" not in access({"who": "p", "ok": False}, more).claims["event"]
