"""Accesses, entries and registrations in sentences that need no knowledge of the formats.

Every text that comes from a log or an envelope passes `plain`: a record must not be able to move the
cursor, change colours or reverse the direction of what stands on the reader's terminal.
"""

import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from verifier_cli.vocabulary import plain_label

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September",
           "October", "November", "December")  # fmt: skip
_VERBS = {
    "https://w3id.org/dpv#Consult": "looked at",
    "https://w3id.org/dpv#Query": "searched for",
    "https://w3id.org/dpv#Disclose": "passed on",
    "https://w3id.org/dpv#Collect": "collected",
    "https://w3id.org/dpv#Alter": "changed",
    "https://w3id.org/dpv#Combine": "combined with other data",
    "https://w3id.org/dpv#Erase": "deleted",
}
MAX_TEXT = 2_000  # characters of one text from a record


def plain(text: object) -> str:
    """One line of visible text: control, format and unassigned characters become U+FFFD, long text is cut."""
    shown = "".join(
        character if unicodedata.category(character)[0] != "C" else (" " if character in "\n\t" else "\ufffd")
        for character in str(text)[: MAX_TEXT + 1]
    )
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + "…"


def in_language(texts: Mapping[str, str], lang: str) -> str:
    """The text in `lang` (BCP 47), else in its primary language, else in English, else any."""
    lower = {tag.lower(): text for tag, text in texts.items()}
    wanted = lang.lower()
    for tag in (wanted, wanted.split("-")[0], "en"):
        if tag in lower:
            return plain(lower[tag])
        for found, text in lower.items():
            if found.split("-")[0] == tag:
                return plain(text)
    return plain(next(iter(texts.values()), ""))


def day_in_words(day: int) -> str:
    """`3 November 2025` of days since 1970-01-01."""
    found = date(1970, 1, 1) + timedelta(days=day)
    return f"{found.day} {_MONTHS[found.month - 1]} {found.year}"


def month_in_words(month: int) -> str:
    """`November 2025` of months since 1970-01."""
    return f"{_MONTHS[month % 12]} {1970 + month // 12}"


def time_in_words(unix_seconds: int) -> str:
    """`22 November 2026, 22:00 UTC`."""
    found = datetime.fromtimestamp(unix_seconds, UTC)
    return f"{found.day} {_MONTHS[found.month - 1]} {found.year}, {found:%H:%M} UTC"


def moment_in_words(at: object, day: int) -> str:
    """The day of an access, with the clock time its record states (RFC 3339) when it states one."""
    text = str(at)
    if len(text) < 20 or text[10] not in "Tt":
        return day_in_words(day)
    zone = "UTC" if text[-1] in "Zz" else "UTC" + text[-6:]
    return f"{day_in_words(day)}, {plain(text[11:16])} {plain(zone)}"


def who(actor: Mapping[str, Any]) -> str:
    """The official, or the machine, behind an access."""
    unit, role = actor.get("unit"), actor.get("role")
    details = [plain(part) for part in (role, unit) if part]
    name = plain(actor.get("id") or "an official who is not named")
    if actor.get("automated") is True:
        name = f"an automatic process, {name}," if actor.get("id") else "an automatic process"
    text = f"{name.rstrip(',')} ({', '.join(details)})" if details else name
    if actor.get("on_behalf_of"):
        text = f"{text.rstrip(',')}, on behalf of {plain(actor['on_behalf_of'])},"
    return text


def what(event: Mapping[str, Any], data: object) -> str:
    """What was done, and with which data."""
    action = event.get("action")
    if event.get("result") == "appeared":
        verb = "made your data appear in a search result"
        touched = ""
    else:
        verb = _VERBS.get(str(action), plain(plain_label(str(action))).lower() if action else "opened")
        if action == "https://w3id.org/dpv#Consult" and event.get("result") == "opened":
            verb = "opened"
        verb += " your data"
        touched = ""
    names = listed(data)
    if names:
        touched = f": {', '.join(names)}"
    system = f" in {plain(event['system'])}" if event.get("system") else ""
    failed = event.get("outcome")
    result = ""
    if failed and str(failed).lower() not in ("success", "0", "ok"):
        result = f" (outcome: {plain(failed)})"
    return f"{verb}{system}{touched}{result}"


def listed(data: object) -> list[str]:
    """Plain names of a list of IRIs, fields or documents, or of an object of such lists; no name twice."""
    if isinstance(data, Mapping):
        parts = [name for value in data.values() for name in listed(value)]
    elif isinstance(data, list | tuple):
        parts = [name for value in data for name in listed(value)]
    elif data is None:
        parts = []
    else:
        parts = [plain(plain_label(str(data)))]
    return list(dict.fromkeys(parts))


def access_in_words(claims: Mapping[str, Any], day: int) -> str:
    """One sentence: who did what with the data, when."""
    actor, event = claims.get("actor"), claims.get("event")
    actor = actor if isinstance(actor, Mapping) else {}
    event = event if isinstance(event, Mapping) else {}
    subject = who(actor) if actor else "someone who is not named here"
    sentence = f"{subject[0].upper()}{subject[1:]} {what(event, claims.get('data'))}"
    return sentence if sentence.endswith(".") else sentence + "."


def purpose_in_words(claims: Mapping[str, Any], activity_text: str) -> list[tuple[str, str]]:
    """(heading, text) pairs: why, on what legal ground, the reason as written, to whom it was passed on."""
    purpose = claims.get("purpose")
    purpose = purpose if isinstance(purpose, Mapping) else {}
    pairs = []
    why = "; ".join(listed(purpose.get("purpose")))
    if activity_text or why:
        pairs.append(("why", f"{activity_text} ({why})" if activity_text and why else activity_text or why))
    ground = "; ".join(listed(purpose.get("legal_basis")))
    if ground:
        pairs.append(("legal ground", ground))
    reason = "; ".join(listed(claims.get("reason")))
    if reason:
        pairs.append(("reason as written", reason))
    recipient = ", ".join(listed(claims.get("recipient")))
    if recipient:
        pairs.append(("passed on to", recipient))
    return pairs
