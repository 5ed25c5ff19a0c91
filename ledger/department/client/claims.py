"""The claims of an access as code states them (docs/formats.md §3): short forms filled out, slips refused by name.

    actor = "u77"               {"id": "u77", "automated": false}
    reason = "Appeal 2026-11"   {"text": "Appeal 2026-11"}
    data = ["address"]          {"fields": ["address"]}
    recipient = "Tax office"    {"name": "Tax office", "passed_on": <event.at>}

The identifiers of the person are taken out of every claim but `subject` and `reason`: claims are shown one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.core.encoding import SECONDS_PER_DAY
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.streams import parse_subject
from ledger.department.access import Access, Claims
from ledger.department.importers.hiding import folded, without

CONSULT: Final = "https://w3id.org/dpv#Consult"
NOT_STATED: Final = "not stated"

_MEMBERS: Final[dict[str, frozenset[str]]] = {
    "actor": frozenset({"id", "name", "role", "unit", "on_behalf_of", "automated", "network"}),
    "event": frozenset({"at", "action", "result", "system", "outcome", "trace_id", "detail", "request_id"}),
    "data": frozenset({"categories", "fields"}),
    "reason": frozenset({"text", "case"}),
    "recipient": frozenset({"name", "passed_on"}),
}
_LISTS: Final = frozenset({"categories", "fields"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Claim = str | Mapping[str, Any] | Iterable[str] | None


class NotRecorded(GlassbookError):
    """The access is not recorded: do not go on.  The message holds nothing of the access."""


class AccessRefused(NotRecorded):
    """It cannot be recorded as stated; `where` names the claim."""


def make_accesses(
    subject: str | Iterable[str], activity: int, stated: Mapping[str, Any], now: datetime
) -> tuple[Access, ...]:
    """One access for each person.  Raises AccessRefused for an unknown claim or member, or one of the wrong kind."""
    for name in stated:
        if name not in _MEMBERS:
            known = ", ".join(("subject", "activity", *_MEMBERS))
            raise AccessRefused(_shown(name), f"no such claim; there are {known}")
    if type(activity) is not int:
        raise AccessRefused("activity", "must be the number of a registered activity")
    subjects = [subject] if isinstance(subject, str) else list(dict.fromkeys(subject))
    if not subjects:
        raise AccessRefused("subject", "nobody is named")
    values = [_value_of(item) for item in subjects]
    words = folded(word for item, value in zip(subjects, values, strict=True) for word in (item, value))
    event, day = _event(stated.get("event"), now)
    claims: Claims = {
        "actor": _claim("actor", stated.get("actor"), "id") or {"id": NOT_STATED},
        "event": event,
        "data": {"categories": [], "fields": []} | _claim("data", stated.get("data"), "fields"),
        "purpose": {"activity": activity},
    }
    claims["actor"].setdefault("automated", False)
    recipient = _claim("recipient", stated.get("recipient"), "name")
    if recipient:
        claims["recipient"] = recipient | {"passed_on": recipient.get("passed_on", event["at"])}
    claims = {name: _hidden(claim, words) for name, claim in claims.items()}
    reason = _claim("reason", stated.get("reason"), "text")
    if reason:
        claims["reason"] = reason
    return tuple(Access(item, day, activity, {"subject": item, **claims}) for item in subjects)


def went(access: Access, outcome: str, fields: Iterable[str]) -> Access:
    """The same access with how it went, and with more fields touched."""
    claims = dict(access.claims)
    event = dict(claims["event"])
    if event["outcome"] == NOT_STATED:
        event["outcome"] = outcome
    if event["outcome"].endswith("failure"):
        event.pop("result", None)
    data = dict(claims["data"])
    value = access.subject.partition(":")[2]
    hidden = [without(field, folded((access.subject, value))) for field in fields]
    data["fields"] = list(dict.fromkeys([*data["fields"], *hidden]))
    return Access(
        access.subject, access.day, access.activity, claims | {"event": event, "data": data}, access.seal
    )


def _value_of(subject: str) -> str:
    if not isinstance(subject, str):
        raise AccessRefused("subject", "must be text, scheme:value")
    try:
        return parse_subject(subject)[1]
    except Malformed as error:
        raise AccessRefused("subject", error.what) from None


def _claim(name: str, stated: Claim, short: str) -> dict[str, Any]:
    """A claim's members; text or a list stands for the member `short`."""
    if stated is None:
        return {}
    if isinstance(stated, str):
        stated = {short: [stated] if short in _LISTS else stated}
    elif not isinstance(stated, Mapping):
        if short not in _LISTS or not isinstance(stated, Iterable):
            raise AccessRefused(name, f"must be text for its {short}, or a mapping")
        stated = {short: stated}
    made: dict[str, Any] = {}
    for member, value in stated.items():
        if member not in _MEMBERS[name]:
            known = ", ".join(sorted(_MEMBERS[name]))
            raise AccessRefused(f"{name}.{_shown(member)}", f"no such member; there are {known}")
        made[member] = _member(f"{name}.{member}", member, value)
    return {member: value for member, value in made.items() if value not in ("", None)}


def _member(where: str, member: str, value: Any) -> Any:
    if value is None:
        return None
    if member == "automated":
        if not isinstance(value, bool):
            raise AccessRefused(where, "must be True or False")
        return value
    if member in ("at", "passed_on") and isinstance(value, datetime):
        return _written(where, value)
    if member in _LISTS and not isinstance(value, str | Mapping) and isinstance(value, Iterable):
        items = list(value)
        if all(isinstance(item, str) for item in items):
            return items
    elif member not in _LISTS and isinstance(value, str):
        return value
    raise AccessRefused(where, "must be a list of texts" if member in _LISTS else "must be text")


def _event(stated: Claim, now: datetime) -> tuple[dict[str, Any], int]:
    """The claim, and the UTC day of its `at`, days since 1970-01-01."""
    event = _claim("event", stated, "detail")
    if event.get("result") not in (None, "appeared", "opened"):
        raise AccessRefused("event.result", "must be appeared or opened")
    text = event.pop("at", "") or _written("event.at", now)
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None or "T" not in text:
            raise ValueError
    except ValueError:
        raise AccessRefused(
            "event.at", "must be a datetime with a zone, or such a time as RFC 3339"
        ) from None
    made = {"at": text, "action": CONSULT, "outcome": NOT_STATED} | event
    return made, (at - _EPOCH) // timedelta(seconds=SECONDS_PER_DAY)


def _written(where: str, at: datetime) -> str:
    if at.tzinfo is None:
        raise AccessRefused(where, "has no time zone; use datetime.now(UTC)")
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _hidden(value: Any, words: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return without(value, words)
    if isinstance(value, dict):
        return {member: _hidden(part, words) for member, part in value.items()}
    return [_hidden(part, words) for part in value] if isinstance(value, list) else value


def _shown(name: object) -> str:
    """A name that a developer wrote; anything that is no name might be a value."""
    return name if isinstance(name, str) and name.isidentifier() and len(name) <= 40 else "a name"
