"""The mapping file for logs of named values (csv, jsonl, ldv, pgaudit): read and checked, section by section.

    format = "csv"                what the file is for
    [time] [subject] [activity]   when, whose data, why
    [actor] [event] [data] [purpose] [reason] [recipient]
    [[nobody]]                    events that are not about a person
    [lookup.NAME] [action]        words of the log → words of the record
    [csv] [pgaudit]               how the file itself is read

docs/mapping.md explains every member.  For ldv and pgaudit the files in maps/ give the sections that the
department's own file does not have.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Final

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.streams import parse_subject
from ledger.core.texts import SCHEME_NAME
from ledger.department.importers.fields.conditions import Where, read_where
from ledger.department.importers.fields.times import Times, read_times
from ledger.department.importers.fields.values import Lookups, Value
from ledger.department.mapping import IRI, Pattern, default_mapping, read_exact, read_pattern
from ledger.department.strict_toml import Table

_EMPTY: Final = ("reject", "nobody", "next")


@dataclass(frozen=True, slots=True)
class Nobody:
    """Events that are not about a person, and why they are not."""

    where: Where
    reason: str


@dataclass(frozen=True, slots=True)
class SubjectRule:
    """Where the person stands in some events, and which kind of identifier that is.

    `remove` are characters left out of it, `pad` the digits it is filled up to with zeros in front;
    `empty` says what an event is in which nothing stands there: rejected, about nobody, or for the next rule.
    """

    where: Where
    value: Value
    scheme: str
    scheme_from: Value | None
    remove: str
    pad: int
    lower: bool
    empty: str


@dataclass(frozen=True, slots=True)
class ActivityRule:
    activity: int
    where: Where


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """A mapping file for named values, checked in itself.  `claims` are values by claim and member."""

    format: str
    file: str
    times: Times
    nobody: tuple[Nobody, ...]
    subjects: tuple[SubjectRule, ...]
    exact: MappingABC[str, str]
    patterns: tuple[Pattern, ...]
    otherwise: str
    default_activity: int | None
    activity_from: Value | None
    activities: tuple[ActivityRule, ...]
    claims: MappingABC[str, MappingABC[str, tuple[Value, ...]]]
    actions: MappingABC[str, str]
    columns: frozenset[str] = frozenset()
    """Every path that the mapping reads, as written."""

    def values(self, claim: str, member: str) -> tuple[Value, ...]:
        return self.claims.get(claim, {}).get(member, ())


CLAIM_MEMBERS: Final = {
    "actor": ("id", "program", "name", "role", "unit", "on_behalf_of", "network", "automated"),
    "event": ("action", "result", "outcome", "system", "detail", "trace_id", "request_id"),
    "data": ("fields", "categories"),
    "purpose": ("purpose", "legal_basis"),
    "reason": ("text", "case"),
    "recipient": ("name",),
}
_LISTS: Final = frozenset(
    {("data", "fields"), ("data", "categories"), ("purpose", "purpose"), ("purpose", "legal_basis")}
)
_IRI_LISTS: Final = frozenset({("data", "categories"), ("purpose", "purpose"), ("purpose", "legal_basis")})
_RESULTS: Final = frozenset({"opened", "appeared"})


def read_fieldmap(
    top: Table, format_: str, base: FieldMapping | None, flat: bool, whole: bool = True
) -> FieldMapping:
    """What a mapping file says, over what holds without it (`base`).

    `flat`: the log has columns, not objects inside objects.  The section named as the format has been taken by
    its reader.  `whole`: false for a base that leaves [subject] to the department.
    Raises Malformed naming the member that is unknown, missing, or of the wrong type or form.
    """
    where = top.where
    if "format" not in top:
        raise top.wrong(
            "format", f'missing; write format = "{format_}" (a file without it is a mapping for fhir)'
        )
    for_ = top.text("format")
    if for_ != format_:
        raise top.wrong(
            "format", f"is {for_}, and the import is of {format_}; name the right file with --map"
        )
    lookups = Lookups(top.table("lookup"), flat)
    if "time" in top:
        times = read_times(top.table("time"), lookups)
    elif base is not None:
        times = base.times
    else:
        raise top.wrong("time", "missing; it says where the moment of the access stands")
    if "subject" in top:
        subjects, exact, patterns, otherwise = _subjects(top.table("subject"), lookups)
    elif base is not None and base.subjects:
        subjects, exact, patterns, otherwise = base.subjects, base.exact, base.patterns, base.otherwise
    elif whole:
        raise top.wrong("subject", "missing; it says where the person stands")
    else:
        subjects, exact, patterns, otherwise = (), {}, (), "reject"
    default, from_, rules = _activity(top.table("activity"), lookups)
    claims = {
        claim: _claim(top.table(claim), claim, lookups)
        if base is None or claim in top
        else base.claims[claim]
        for claim in CLAIM_MEMBERS
    }
    if not (claims["actor"].get("id") or claims["actor"].get("program")):
        raise Malformed(
            f"{where}: actor", "needs `id`, or `program` where no person is named: say who it was"
        )
    nobody = tuple(_nobody(item, lookups) for item in top.tables("nobody")) or (base.nobody if base else ())
    actions = top.table("action")
    mapping = FieldMapping(
        format=format_,
        file=where,
        times=times,
        nobody=nobody,
        subjects=subjects,
        exact=exact,
        patterns=patterns,
        otherwise=otherwise,
        default_activity=default,
        activity_from=from_,
        activities=rules,
        claims=claims,
        columns=frozenset(lookups.used),
        actions={
            **(base.actions if base else default_mapping().actions),
            **{code: _action(actions, code) for code in actions.names()},
        },
    )
    top.finish()
    _check_actions(mapping, top)
    return mapping


def _subjects(
    table: Table, lookups: Lookups
) -> tuple[tuple[SubjectRule, ...], MappingABC[str, str], tuple[Pattern, ...], str]:
    exact = read_exact(table.table("exact"))
    patterns = tuple(read_pattern(item) for item in table.tables("pattern"))
    known = bool(exact or patterns)
    rules = [_subject_rule(item, lookups, known, True) for item in table.tables("rule")]
    otherwise = table.text("otherwise", "reject")
    if otherwise not in ("reject", "nobody"):
        raise table.wrong("otherwise", "must be reject or nobody: what an event is for which no rule holds")
    if "from" in table:
        rules.append(_subject_rule(table, lookups, known, False))
    if not rules:
        raise table.wrong("from", "missing; say where the person stands, or write a [[subject.rule]]")
    table.finish()
    return tuple(rules), exact, patterns, otherwise


def _subject_rule(table: Table, lookups: Lookups, known: bool, conditional: bool) -> SubjectRule:
    where = read_where(table, lookups, required=True) if conditional else ()
    value = lookups.value(table, "from")
    if value is None:
        raise table.wrong("from", "missing; say where the person stands")
    scheme, scheme_from = table.text("scheme", ""), lookups.value(table, "scheme_from")
    if scheme and scheme_from is not None:
        raise table.wrong("scheme_from", "stands beside `scheme`; give one of them")
    if scheme and not SCHEME_NAME.fullmatch(scheme):
        raise table.wrong("scheme", "is no scheme's name: 1 to 32 characters of a-z, 0-9 and -")
    if not scheme and scheme_from is None and not known:
        raise table.wrong(
            "scheme", "missing; say which scheme it is, or give [subject.exact] or [[subject.pattern]]"
        )
    for name in scheme_from.outcomes if scheme_from else ():
        if not SCHEME_NAME.fullmatch(name):
            raise table.wrong(
                "scheme_from", "leads to what is no scheme's name: 1 to 32 characters of a-z, 0-9, -"
            )
    empty = table.text("empty", "next" if conditional else "reject")
    if empty not in _EMPTY:
        raise table.wrong("empty", f"must be one of {', '.join(_EMPTY)}")
    rule = SubjectRule(
        where,
        value,
        scheme,
        scheme_from,
        table.text("remove", ""),
        table.integer("pad", 1, 64) or 0,
        table.flag("lower", False),
        empty,
    )
    if conditional:
        table.finish()
    return rule


def _activity(table: Table, lookups: Lookups) -> tuple[int | None, Value | None, tuple[ActivityRule, ...]]:
    default = table.integer("default", 1, 2**32 - 1)
    from_ = lookups.value(table, "from")
    for text in from_.outcomes if from_ else ():
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 2**32:
            raise table.wrong("from", "leads to what is no activity's number")
    rules = []
    for item in table.tables("rule"):
        activity = item.integer("activity", 1, 2**32 - 1)
        if activity is None:
            raise item.wrong("activity", "missing; it must be given")
        rules.append(ActivityRule(activity, read_where(item, lookups, required=True)))
        item.finish()
    table.finish()
    return default, from_, tuple(rules)


def _claim(table: Table, claim: str, lookups: Lookups) -> dict[str, tuple[Value, ...]]:
    found: dict[str, tuple[Value, ...]] = {}
    for member in CLAIM_MEMBERS[claim]:
        if member not in table:
            continue
        if claim == "actor" and member == "automated":
            values = _automated(table, lookups)
        elif (claim, member) in _LISTS:
            values = lookups.values(table, member)
        else:
            value = lookups.value(table, member)
            values = () if value is None else (value,)
        found[member] = values
        for text in (text for value in values for text in value.outcomes):
            if (claim, member) in _IRI_LISTS and not IRI.fullmatch(text):
                raise table.wrong(member, "leads to what is no absolute IRI")
            if (claim, member) == ("event", "result") and text not in _RESULTS:
                raise table.wrong(member, "must lead to opened or appeared")
    table.finish()
    return found


def _automated(table: Table, lookups: Lookups) -> tuple[Value, ...]:
    written = table.any("automated")
    if isinstance(written, bool):
        return (Value(constant="true" if written else "false"),)
    value = lookups.value(Table({"automated": written}, *table.place), "automated")
    if value is None or not set(value.outcomes) <= {"true", "false"}:
        raise table.wrong("automated", "must be true or false, or lead to them by `values`")
    return (value,)


def _nobody(table: Table, lookups: Lookups) -> Nobody:
    rule = Nobody(
        read_where(table, lookups, required=True),
        table.text("reason", "not about a person by a [[nobody]] rule of the mapping"),
    )
    table.finish()
    return rule


def _action(table: Table, code: str) -> str:
    text = table.text(code)
    if not IRI.fullmatch(text):
        raise table.wrong(f'"{code}"', "is no absolute IRI")
    return text


def _check_actions(mapping: FieldMapping, top: Table) -> None:
    for value in mapping.values("event", "action"):
        for text in value.outcomes:
            if text not in mapping.actions and not IRI.fullmatch(text):
                raise top.wrong("event.action", "leads to what is no IRI and no line of [action]")


def made_subject(text: str) -> str:
    """`scheme:value` as the mapping makes it, or Malformed when that is none (docs/formats.md §1)."""
    try:
        parse_subject(text)
    except GlassbookError as error:
        raise Malformed("", f"leads to no valid subject ({error.what}); correct the mapping") from None
    return text
