"""Whether a mapping file fits what the register says, asked before the first event is read.

A mapping that leads to an activity or a scheme that is not registered, or that can never fill a claim which the
charter demands, would have every one of its events rejected, or recorded with nothing in it: it is refused whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.schemes import check_canonical
from ledger.core.streams import parse_subject
from ledger.department.importers.csvfile import CsvMapping
from ledger.department.importers.fields.fieldmap import ActivityRule, FieldMapping
from ledger.department.importers.pgaudit import PgauditMapping
from ledger.department.mapping import Mapping, Pattern, Rule, default_mapping
from ledger.department.registration import Registration

_SCHEME = re.compile(r"([a-z0-9-]{1,32}):")

# Filled for every record from the register (data, purpose) or by the importers themselves.
_ALWAYS = frozenset({"subject", "actor", "event", "data", "purpose"})


@dataclass(frozen=True, slots=True)
class Stated:
    """What a mapping leads to, each with the member that says so."""

    activities: list[tuple[str, int]]
    schemes: list[tuple[str, str]]
    subjects: list[tuple[str, str]]
    claims: frozenset[str] | None
    """Claims that it can fill; None: whatever the log holds."""
    by_default: bool = False
    """Whether [subject] is that of the defaults, not of the file."""


def check_mapping(mapping: Any, registration: Registration) -> None:
    """Raises Malformed, with file and member, when a mapping does not fit the source's registration."""
    newest, charter = registration.newest, registration.charter
    stated = _stated(mapping)
    registered = ", ".join(str(number) for number in sorted(newest.activities))
    for where, activity in stated.activities:
        if activity not in newest.activities:
            raise Malformed(
                where,
                f"activity {activity} is not registered for this source (it has {registered}); correct it here",
            )
    for where, scheme in stated.schemes:
        if scheme not in newest.schemes:
            has = ", ".join(sorted(newest.schemes))
            what = f"the scheme {scheme} is not registered for this source (it has {has})"
            raise Malformed(where, f"missing; by the default {what}" if stated.by_default else what)
    for where, subject in stated.subjects:
        try:
            check_canonical(charter.schemes, *parse_subject(subject))
        except GlassbookError as error:
            raise Malformed(where, f"leads to no subject of this log: {error.what}") from None
    missing = [] if stated.claims is None else sorted(set(charter.claims) - stated.claims - _ALWAYS)
    for claim in missing:
        raise Malformed(
            f"{mapping_file(mapping)}: {claim}",
            f"missing; the charter demands this claim of every record: say in [{claim}] what fills it",
        )


def mapping_file(mapping: Any) -> str:
    """The name of the file a mapping was read from."""
    return str(_fields(mapping).file)


def _fields(mapping: Any) -> Mapping | FieldMapping:
    found: Mapping | FieldMapping = (
        mapping.fields if isinstance(mapping, CsvMapping | PgauditMapping) else mapping
    )
    return found


def _stated(mapping: Any) -> Stated:
    held = _fields(mapping)
    by_default = held.patterns is default_mapping().patterns
    schemes = list(_of_patterns(held.file, held.patterns))
    if by_default:
        schemes = [(f"{held.file}: subject", scheme) for _, scheme in schemes]
    subjects = [
        (f"{held.file}: subject.exact: member {place}", subject)
        for place, subject in enumerate(held.exact.values(), 1)
    ]
    schemes += [(where, subject.partition(":")[0]) for where, subject in subjects]
    activities = (
        [] if held.default_activity is None else [(f"{held.file}: activity.default", held.default_activity)]
    )
    rules: tuple[Rule | ActivityRule, ...] = held.rules if isinstance(held, Mapping) else held.activities
    activities += [
        (f"{held.file}: activity.rule[{i}].activity", rule.activity) for i, rule in enumerate(rules)
    ]
    if isinstance(held, Mapping):
        return Stated(activities, schemes, subjects, None, by_default)
    if held.activity_from is not None:
        activities += [(f"{held.file}: activity.from", int(text)) for text in held.activity_from.outcomes]
    for rule in held.subjects:
        names = [rule.scheme] if rule.scheme else rule.scheme_from.outcomes if rule.scheme_from else ()
        schemes += [(f"{held.file}: subject", name) for name in names]
    return Stated(
        activities, schemes, subjects, frozenset(name for name, found in held.claims.items() if found)
    )


def _of_patterns(file: str, patterns: tuple[Pattern, ...]) -> Iterator[tuple[str, str]]:
    """The scheme a pattern leads to, where it says that itself and not the log."""
    for i, pattern in enumerate(patterns):
        found = _SCHEME.match(pattern.subject)
        if found:
            yield f"{file}: subject.pattern[{i}].subject", found.group(1)
