"""The mapping file: what a department says about its own logs.

A log names a person by a reference of its own (`Patient/4711`, `https://…|9434765919`); the mapping leads it
to the `scheme:value` of the register, and says which registered activity an event belongs to.
`maps/default.toml`, shipped beside this file, shows every section; docs/mapping.md explains them.

A reference that the mapping does not lead anywhere is never guessed at: the event is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.streams import parse_subject
from ledger.department.strict_toml import Table, parse_toml

PLACES: Final = ("patient", "entity", "encounter", "agent")
"""Elements of an event that may name the person it is about."""

ACTOR_IDS: Final = ("identifier", "altId", "reference", "name", "display", "policy")

LONGEST_REFERENCE: Final = 1024
"""Characters of a reference that patterns are tried on: longer ones match nothing."""

_PLACEHOLDER = re.compile(r"\{([0-9]{1,2})\}")
IRI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^\s<>\"{}|\\^`]+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression for the whole reference, and the subject it makes of its groups."""

    match: re.Pattern[str]
    subject: str
    lower: bool

    def apply(self, reference: str) -> str | None:
        found = self.match.fullmatch(reference)
        if found is None:
            return None
        made = _PLACEHOLDER.sub(lambda slot: found.group(int(slot.group(1))) or "", self.subject)
        return made.lower() if self.lower else made


@dataclass(frozen=True, slots=True)
class Rule:
    """Activity number of the events that fulfil every condition given; an empty condition is none."""

    activity: int
    type: frozenset[str]
    subtype: frozenset[str]
    action: frozenset[str]
    purpose: frozenset[str]

    def holds(
        self, type_: Iterable[str], subtype: Iterable[str], action: str, purpose: Iterable[str]
    ) -> bool:
        return (
            (not self.type or not self.type.isdisjoint(type_))
            and (not self.subtype or not self.subtype.isdisjoint(subtype))
            and (not self.action or action in self.action)
            and (not self.purpose or not self.purpose.isdisjoint(purpose))
        )


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping file, checked; `file` is its name."""

    places: tuple[str, ...]
    otherwise: tuple[str, ...]
    persons: frozenset[str]
    exact: dict[str, str]
    patterns: tuple[Pattern, ...]
    default_activity: int | None
    rules: tuple[Rule, ...]
    actor_ids: tuple[str, ...]
    actor_name: bool
    unit: str
    on_behalf_of: str
    actions: dict[str, str]
    purposes: dict[str, tuple[str, ...]]
    data: dict[str, tuple[str, ...]]
    file: str = field(default="the default mapping", compare=False)

    def subject(self, references: Iterable[str]) -> str | None:
        """`scheme:value` of the first of these spellings of one reference that leads to one, or None.

        Raises Malformed when what a pattern made is no subject at all (docs/formats.md §1).
        """
        for reference in references:
            found = self.exact.get(reference)
            if found is None and len(reference) <= LONGEST_REFERENCE:
                found = next((made for p in self.patterns if (made := p.apply(reference)) is not None), None)
            if found is not None:
                try:
                    parse_subject(found)
                except GlassbookError as error:
                    raise Malformed(
                        "mapping", f"a pattern makes no valid subject of it ({error.what})"
                    ) from None
                return found
        return None

    def activity(
        self, type_: Iterable[str], subtype: Iterable[str], action: str, purpose: Iterable[str]
    ) -> int | None:
        """The activity of an event with these codes, each as `code` and as `system|code`; None: no rule holds."""
        conditions = (tuple(type_), tuple(subtype), action, tuple(purpose))
        return next((rule.activity for rule in self.rules if rule.holds(*conditions)), self.default_activity)


def parse_mapping(data: bytes, where: str) -> Mapping:
    """A mapping file laid over the defaults.

    Raises Malformed naming the member that is unknown, missing or of the wrong type or form.
    """
    return _read(parse_toml(data, where), default_mapping())


@cache
def default_mapping() -> Mapping:
    """The mapping that holds without a file."""
    data = resources.files("ledger.department").joinpath("maps/default.toml").read_bytes()
    return _read(parse_toml(data, "default.toml"), None)


def _read(top: Table, base: Mapping | None) -> Mapping:
    """`base` gives the sections that `top` does not have; the defaults themselves have no base."""
    format_ = top.text("format", "fhir")
    if format_ != "fhir":
        raise top.wrong("format", f"is {format_}, and the import is of fhir; name the right file with --map")
    if base is None or "subject" in top:
        places, otherwise, persons, exact, patterns = _subject(top.table("subject"))
    else:
        places, otherwise, persons = base.places, base.otherwise, base.persons
        exact, patterns = base.exact, base.patterns
    if base is None or "activity" in top:
        default_activity, rules = _activity(top.table("activity"))
    else:
        default_activity, rules = base.default_activity, base.rules
    if base is None or "actor" in top:
        actor_ids, actor_name, unit, on_behalf_of = _actor(top.table("actor"))
    else:
        actor_ids, actor_name = base.actor_ids, base.actor_name
        unit, on_behalf_of = base.unit, base.on_behalf_of
    actions, purposes, data = top.table("action"), top.table("purpose"), top.table("data")
    mapping = Mapping(
        places,
        otherwise,
        persons,
        exact,
        patterns,
        default_activity,
        rules,
        actor_ids,
        actor_name,
        unit,
        on_behalf_of,
        (base.actions if base else {})
        | {code: _iri(actions, code, actions.text(code)) for code in actions.names()},
        (base.purposes if base else {}) | {code: _iris(purposes, code) for code in purposes.names()},
        (base.data if base else {}) | {name: _iris(data, name) for name in data.names()},
        top.where if base else "the default mapping",
    )
    top.finish()
    return mapping


def _subject(
    table: Table,
) -> tuple[tuple[str, ...], tuple[str, ...], frozenset[str], dict[str, str], tuple[Pattern, ...]]:
    places = _of(table, "from", PLACES, ("patient", "entity"))
    otherwise = _of(table, "otherwise", PLACES, ())
    persons = frozenset(table.texts("resources", ("Patient",)))
    exact = read_exact(table.table("exact"))
    patterns = tuple(read_pattern(item) for item in table.tables("pattern"))
    table.finish()
    return places, otherwise, persons, exact, patterns


def read_exact(table: Table) -> dict[str, str]:
    """`[subject.exact]`: what stands in the log → `scheme:value`."""
    exact: dict[str, str] = {}
    for reference in table.names():
        try:
            subject = table.text(reference)
            parse_subject(subject)
        except GlassbookError as error:
            # The key may be a person's identifier: say which member by its place only.
            raise Malformed(
                table.where, f"member {len(exact) + 1} leads to no subject: {error.what}"
            ) from None
        exact[reference] = subject
    return exact


def read_pattern(table: Table) -> Pattern:
    """One `[[subject.pattern]]`."""
    text, subject, lower = table.text("match"), table.text("subject"), table.flag("lower", False)
    try:
        match = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise table.wrong("match", f"not a regular expression: {error}") from None
    if "{" in _PLACEHOLDER.sub("", subject) or "}" in _PLACEHOLDER.sub("", subject):
        raise table.wrong("subject", "braces hold the number of a group, as in id:{1}, and nothing else")
    for slot in _PLACEHOLDER.finditer(subject):
        if int(slot.group(1)) > match.groups:
            raise table.wrong("subject", f"names group {slot.group(1)}, and `match` has {match.groups}")
    table.finish()
    return Pattern(match, subject, lower)


def _activity(table: Table) -> tuple[int | None, tuple[Rule, ...]]:
    default = table.integer("default", 1, 2**32 - 1)
    rules = []
    for item in table.tables("rule"):
        activity = item.integer("activity", 1, 2**32 - 1)
        if activity is None:
            raise item.wrong("activity", "missing; it must be given")
        conditions = [frozenset(item.texts(name, ())) for name in ("type", "subtype", "action", "purpose")]
        if not any(conditions):
            raise Malformed(
                item.where, "has no condition; give type, subtype, action or purpose, or use `default`"
            )
        rules.append(Rule(activity, *conditions))
        item.finish()
    table.finish()
    return default, tuple(rules)


def _actor(table: Table) -> tuple[tuple[str, ...], bool, str, str]:
    ids = _of(table, "id", ACTOR_IDS, ACTOR_IDS)
    name = table.flag("name", True)
    unit = table.text("unit", "")
    on_behalf_of = table.text("on_behalf_of", "")
    table.finish()
    return ids, name, unit, on_behalf_of


def _of(table: Table, name: str, known: tuple[str, ...], default: tuple[str, ...]) -> tuple[str, ...]:
    chosen = table.texts(name, default)
    for i, item in enumerate(chosen):
        if item not in known:
            raise table.wrong(f"{name}[{i}]", f"must be one of {', '.join(known)}")
    return chosen


def _iri(table: Table, name: str, text: str) -> str:
    if not IRI.fullmatch(text):
        raise table.wrong(f'"{name}"', "is no absolute IRI")
    return text


def _iris(table: Table, name: str) -> tuple[str, ...]:
    return tuple(_iri(table, name, text) for text in table.texts(name))
