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
    # action → done, tried
    "Consult": ("looked at your data", "look at your data"),
    "Query": ("searched, and your data was in the result", "search for your data"),
    "Disclose": ("gave your data to someone else", "give your data to someone else"),
    "Collect": ("wrote down new data about you", "write down new data about you"),
    "Alter": ("changed your data", "change your data"),
    "Combine": ("combined your data with other data", "combine your data with other data"),
    "Erase": ("deleted data about you", "delete data about you"),
    "Use": ("used your data", "use your data"),
}
_DPV = "https://w3id.org/dpv#"
_OUR_WORDS = ("someone", "the program", "a program")
NOT_STATED = ("", "not stated", "not known")
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
    """The day of an access, with the time its record states (RFC 3339), in UTC, when it states one."""
    moment = moment_of(at)
    if moment is None or (moment.date() - date(1970, 1, 1)).days != day:
        return day_in_words(day)
    return f"{day_in_words(day)}, {moment:%H:%M} UTC"


def moment_of(at: object) -> datetime | None:
    """The time in UTC that an RFC 3339 text states; None when it states none."""
    try:
        moment = datetime.fromisoformat(str(at))
        # Without a zone it would be taken for the reader's local time.
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def who(actor: Mapping[str, Any]) -> str:
    """The official, or the machine, behind an access."""
    id_, name = _stated(actor.get("id")), _stated(actor.get("name"))
    text = f"{name} ({id_})" if name and id_ else name or id_
    if actor.get("automated") is True:
        text = f"the program {text}" if text else "a program"
    text = text or "someone whose name is not stated"
    details = [part for part in (_stated(actor.get("role")), _stated(actor.get("unit"))) if part]
    if details:
        text += f", {', '.join(details)},"
    behalf = _stated(actor.get("on_behalf_of"))
    if behalf:
        text = f"{text.rstrip(',')}, on behalf of {behalf},"
    return text


def what(event: Mapping[str, Any], data: object) -> str:
    """What was done, and with which data."""
    action = str(event.get("action") or "")
    term = action.removeprefix(_DPV)
    label = plain(plain_label(action)).lower() if action else "not stated what"
    done, tried = _VERBS.get(
        term, (f"did something with your data ({label})", f"do something with it ({label})")
    )
    if event.get("result") == "appeared" and term != "Query":
        done += ", which was in the result of a search"
    failed = str(event.get("outcome", "")).endswith("failure")
    text = f"tried to {tried}, without success," if failed else done
    if _stated(event.get("system")):
        text += f" in {plain(event['system'])}"
    names, things = _touched(data)
    text = text.rstrip(",")
    if names:
        text += f": {', '.join(names)}"
    if things:
        text += f"{'; namely' if names else ':'} {', '.join(things)}"
    return text


def _touched(data: object) -> tuple[list[str], list[str]]:
    """Kinds of data, and the fields or documents, by the names that people have for them."""
    if isinstance(data, Mapping) and not data.keys().isdisjoint(("categories", "fields")):
        return listed(data.get("categories")), listed(data.get("fields"))
    return listed(data), []


def _stated(value: object) -> str:
    text = "" if value is None else plain(value)
    return "" if text in NOT_STATED else text


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
    subject = who(actor if isinstance(actor, Mapping) else {})
    sentence = f"{subject} {what(event if isinstance(event, Mapping) else {}, claims.get('data'))}"
    if subject.startswith(_OUR_WORDS):
        # A name or number of an official stays as it was written.
        sentence = sentence[0].upper() + sentence[1:]
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
    reason = "; ".join(listed(_text(claims.get("reason"))))
    if reason:
        pairs.append(("reason as written", reason))
    recipient = ", ".join(listed(_text(claims.get("recipient"))))
    if recipient:
        pairs.append(("passed on to", recipient))
    return pairs


def _text(claim: object) -> object:
    """Of a claim with a text or a name among its members, that; otherwise all of it."""
    if isinstance(claim, Mapping):
        return claim.get("text") or claim.get("name") or claim
    return claim
