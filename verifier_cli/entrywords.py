"""An entry as facts for programs and as a sentence for people."""

from typing import Any

from ledger.core.encoding import LAST_DAY, b64encode, format_date
from ledger.core.entries import Coverage, Entry, IndexRoot, Record, Registry
from ledger.core.errors import GlassbookError
from ledger.core.jose import split_jws
from verifier_cli.words import day_in_words, in_language, month_in_words, plain


def entry_facts(entry: Entry) -> dict[str, Any]:
    """The fields of an entry; hashes and signatures in base64."""
    if isinstance(entry, Registry):
        return {
            "kind": "registry", "source": entry.source, "version": entry.version, "statement": _payload(entry)
        }  # fmt: skip
    kind = {Record: "record", IndexRoot: "index root", Coverage: "coverage"}[type(entry)]
    fields = entry._asdict()
    facts = {name: b64encode(value) if isinstance(value, bytes) else value for name, value in fields.items()}
    if "day" in facts and entry_day(entry) <= LAST_DAY:
        facts["date"] = format_date(entry_day(entry))
    return {"kind": kind, **facts}


def entry_day(entry: Entry) -> int:
    """Days since 1970-01-01 of a record or coverage; 0 for others."""
    return entry.day if isinstance(entry, Record | Coverage) else 0


def entry_in_words(entry: Entry, index: int | None, lang: str) -> str:
    """One sentence about an entry, from the entry alone; `index` is its place in the log, where that is known."""
    where = "This entry" if index is None else f"Entry {index}"
    if isinstance(entry, Record):
        sealed = (
            f", sealed until {month_in_words(entry.seal)}" if entry.seal else f", activity {entry.activity}"
        )
        return f"{where} records an access by source {entry.source} on {_day(entry.day)}{sealed}."
    if isinstance(entry, Coverage):
        count = "no record" if entry.records == 0 else f"{entry.records} record{'s' * (entry.records != 1)}"
        return f"{where} is source {entry.source}'s word that it logged {count} for {_day(entry.day)}."
    if isinstance(entry, IndexRoot):
        return f"{where} states the index over the {entry.covers} entries before it: {entry.labels} labels."
    payload = _payload(entry)
    if entry.source == 0:
        origin = plain(payload.get("origin", "")) if payload else "unreadable"
        return f"{where} is the charter of the log {origin}."
    name = ""
    if payload and isinstance(payload.get("department"), dict):
        texts = {str(tag): str(text) for tag, text in payload["department"].items()}
        name = f" ({in_language(texts, lang)}, {plain(payload.get('status', ''))})"
    return f"{where} registers source {entry.source}{name} in version {entry.version}."


def _day(day: int) -> str:
    return day_in_words(day) if day <= LAST_DAY else f"day {day}, after the year 9999"


def _payload(entry: Registry) -> dict[str, Any] | None:
    """What the registrar stated, unverified; None when it cannot be read."""
    try:
        payload = split_jws(entry.jws.decode("ascii"), "registry").payload
    except (GlassbookError, UnicodeDecodeError):
        return None
    return payload if isinstance(payload, dict) else None
