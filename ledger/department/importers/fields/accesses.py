"""One event of named values, and what the mapping makes of it: accesses, nobody, or a reason against both.

Identifiers of the persons an event is about are taken out of every claim but `subject`, as `…`; what
somebody wrote freely (`reason`) stays as written.
"""

from __future__ import annotations

import re
from typing import Any, Final
from unicodedata import normalize

from ledger.core.errors import Malformed
from ledger.core.texts import SCHEME_NAME
from ledger.department.access import Access, Claims, Fate, Outcome
from ledger.department.importers.fields.conditions import holds
from ledger.department.importers.fields.fieldmap import FieldMapping, SubjectRule, made_subject
from ledger.department.importers.fields.paths import Record
from ledger.department.importers.fields.values import Value
from ledger.department.importers.hiding import folded, without
from ledger.department.importers.identity import Identities
from ledger.department.mapping import IRI, LONGEST_REFERENCE

CONSULT: Final = "https://w3id.org/dpv#Consult"
QUERY: Final = "https://w3id.org/dpv#Query"
USE: Final = "https://w3id.org/dpv#Use"
DISCLOSE: Final = "https://w3id.org/dpv#Disclose"
HERSELF: Final = "the person whose data it is"

_TRACE: Final = re.compile(r"(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")
_EMPTY: Final = "names no person where the mapping looks for one"
_NO_RULE: Final = "no [[subject.rule]] of the mapping is for it"


class _Nobody(Exception):
    """The event is not about a person; the argument says why."""


def outcome_of(
    record: Record, mapping: FieldMapping, file: str, position: str, identities: Identities
) -> Outcome:
    """The fate of one event; nothing raises for what it holds, and no reason repeats any of it."""
    try:
        accesses = accesses_of(record, mapping)
    except _Nobody as nobody:
        return Outcome(file, position, Fate.NOT_ABOUT_A_PERSON, str(nobody))
    except Malformed as error:
        place = f"{position}: {error.where}" if error.where else position
        return Outcome(file, place, Fate.REJECTED, error.what)
    return Outcome(file, position, Fate.RECORDED, "", accesses, identities.of(record))


def accesses_of(record: Record, mapping: FieldMapping) -> tuple[Access, ...]:
    """One access for each person.  Malformed or _Nobody where there is none."""
    for rule in mapping.nobody:
        if holds(rule.where, record):
            raise _Nobody(rule.reason)
    persons = _persons(record, mapping)
    at, day = mapping.times.moment(record)
    activity = _activity(record, mapping)
    words = folded(w for subject, text in persons.items() for w in (text, subject.partition(":")[2]))
    return tuple(
        Access(subject, day, activity, _claims(record, mapping, at, activity, subject, text, words))
        for subject, text in persons.items()
    )


def _persons(record: Record, mapping: FieldMapping) -> dict[str, str]:
    """Each subject once, with the text of the log that led to it."""
    looked = False
    for rule in mapping.subjects:
        if not holds(rule.where, record):
            continue
        looked = True
        texts = rule.value.texts(record)
        if texts:
            found: dict[str, str] = {}
            for text in texts:
                found.setdefault(_subject(text, rule, record, mapping), text)
            return found
        if rule.empty == "nobody":
            raise _Nobody(_EMPTY)
        if rule.empty == "reject":
            advice = "if such events are about nobody, say so in [subject] or [[nobody]]"
            raise Malformed(_first_path(rule.value), f"{_EMPTY}; {advice}")
    what = _EMPTY if looked else _NO_RULE
    if mapping.otherwise == "nobody":
        raise _Nobody(what)
    raise Malformed("", f'{what}; add a rule for it, a [[nobody]], or `otherwise` = "nobody" in [subject]')


def _subject(text: str, rule: SubjectRule, record: Record, mapping: FieldMapping) -> str:
    # The same letters may be written in more than one way; a subject has them in one (docs/formats.md §1).
    cleaned = normalize("NFC", "".join(c for c in text if c not in rule.remove))
    if rule.pad and cleaned.isascii() and cleaned.isdecimal():
        cleaned = cleaned.zfill(rule.pad)
    if rule.lower:
        cleaned = cleaned.lower()
    try:
        exact = mapping.exact.get(text) or mapping.exact.get(cleaned)
        if exact:
            return exact
        for pattern in mapping.patterns:
            made = pattern.apply(cleaned) if len(cleaned) <= LONGEST_REFERENCE else None
            if made is not None:
                return made_subject(made)
        scheme = rule.scheme or (rule.scheme_from.text(record) if rule.scheme_from else "")
        if not scheme:
            why = "the kind of identifier is not there" if rule.scheme_from else "add it to [subject.exact]"
            raise Malformed("", f"names a person whom the mapping leads to no subject; {why}")
        if not SCHEME_NAME.fullmatch(scheme):
            raise Malformed(
                "", "has a kind of identifier that is no scheme's name; lead it to one by `values`"
            )
        return made_subject(f"{scheme}:{cleaned}")
    except Malformed as error:
        raise Malformed(error.where or _first_path(rule.value), error.what) from None


def _activity(record: Record, mapping: FieldMapping) -> int:
    for rule in mapping.activities:
        if holds(rule.where, record):
            return rule.activity
    text = mapping.activity_from.text(record) if mapping.activity_from else ""
    if text:
        if not re.fullmatch(r"[1-9][0-9]{0,9}", text):
            raise Malformed(
                _first_path(mapping.activity_from), "is no activity's number; lead it to one by `values`"
            )
        return int(text)
    if mapping.default_activity is None:
        raise Malformed("", "belongs to no activity by the mapping; add a rule or a default to [activity]")
    return mapping.default_activity


def _first_path(value: Value | None) -> str:
    return value.paths[0].text if value and value.paths else ""


def _claims(
    record: Record,
    mapping: FieldMapping,
    at: str,
    activity: int,
    subject: str,
    own: str,
    words: tuple[str, ...],
) -> Claims:
    def text(claim: str, member: str) -> str:
        return next((found for v in mapping.values(claim, member) if (found := v.text(record))), "")

    def hidden(claim: str, member: str) -> str:
        return without(text(claim, member), words)

    action = _action(text("event", "action"), mapping)
    claims: Claims = {
        "subject": subject,
        "actor": _actor(text, words, {own.casefold(), subject.partition(":")[2].casefold()}),
        "event": _event(text, hidden, at, action),
        "data": _data(record, mapping, words),
        "purpose": {"activity": activity, **_iris(record, mapping)},
    }
    reason = {member: found for member in ("text", "case") if (found := text("reason", member))}
    if reason:
        claims["reason"] = reason
    recipient = hidden("recipient", "name")
    if recipient:
        claims["recipient"] = {"name": recipient, "passed_on": at}
    return claims


def _action(text: str, mapping: FieldMapping) -> str:
    if not text:
        return USE
    found = mapping.actions.get(text)
    if found is None and not IRI.fullmatch(text):
        raise Malformed("event.action", "is no line of [action], and no IRI; add it there")
    return found or text


def _actor(text: Any, words: tuple[str, ...], herself: set[str]) -> dict[str, Any]:
    identifier, program = text("actor", "id"), text("actor", "program")
    automated = text("actor", "automated")
    is_program = automated == "true" if automated else bool(program and not identifier)
    own = identifier.casefold() in herself
    shown = HERSELF if own else without(identifier or program, words) or "not stated"
    actor: dict[str, Any] = {"id": shown, "automated": is_program}
    for member in ("name", "role", "unit", "on_behalf_of", "network"):
        found = "" if own and member == "name" else without(text("actor", member), words)
        if found and found != shown:
            actor[member] = found
    return actor


def _event(text: Any, hidden: Any, at: str, action: str) -> dict[str, Any]:
    outcome = text("event", "outcome") or "not stated"
    claim: dict[str, Any] = {"at": at, "action": action, "outcome": outcome}
    result = text("event", "result") or {QUERY: "appeared", CONSULT: "opened"}.get(action, "")
    if result not in ("", "opened", "appeared"):
        raise Malformed("event.result", "must come out as opened or appeared; lead it there by `values`")
    if result and not outcome.endswith("failure"):
        claim["result"] = result
    for member in ("system", "detail", "request_id"):
        if found := hidden("event", member):
            claim[member] = found
    trace = _TRACE.fullmatch(text("event", "trace_id").lower())
    if trace and trace.group(1).strip("0"):
        claim["trace_id"] = trace.group(1)
    return claim


def _data(record: Record, mapping: FieldMapping, words: tuple[str, ...]) -> dict[str, Any]:
    fields = (without(t, words) for v in mapping.values("data", "fields") for t in v.texts(record))
    return {
        "categories": _iri_list(record, mapping, "data", "categories"),
        "fields": list(dict.fromkeys(fields)),
    }


def _iris(record: Record, mapping: FieldMapping) -> dict[str, list[str]]:
    members = ("purpose", "legal_basis")
    return {m: iris for m in members if (iris := _iri_list(record, mapping, "purpose", m))}


def _iri_list(record: Record, mapping: FieldMapping, claim: str, member: str) -> list[str]:
    iris = dict.fromkeys(t for v in mapping.values(claim, member) for t in v.texts(record))
    for iri in iris:
        if not IRI.fullmatch(iri):
            raise Malformed(f"{claim}.{member}", "is no IRI; lead it to one by `values`")
    return list(iris)
