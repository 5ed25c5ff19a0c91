"""A lookup told source by source, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.core.encoding import format_date
from ledger.core.statements import SourceVersion
from verifier_cli.logfacts import NO_AUDITOR, NO_AUDITOR_FOLDER, log_facts, log_line
from verifier_cli.lookup import Access, Lookup, claims_of
from verifier_cli.outcome import Line
from verifier_cli.saidwords import gap_in_words, key_destroyed_on, missing_in_words, notes_on_keys
from verifier_cli.sourcewords import STATUS, name_of, retired_on, source_in_words, suspect_from
from verifier_cli.words import (
    access_in_words,
    day_in_words,
    in_language,
    moment_in_words,
    month_in_words,
    purpose_in_words,
)

SCOPE = (
    "This is what the sources logged under your identifiers. It cannot show an access that was never logged, or that"
    " was logged under another identifier."
)
ASKED = (
    "Your questions reached the operator of this log, in shuffled order: it could tell that somebody at your network"
    " address asked, and for which records. A folder copy of the log answers without that."
)
DETAILS_NOT_FETCHED = (
    "Details were not fetched: they are not part of a folder. Read from the log's URL to see them."
)
OLD_S = 2 * 86_400
"""Seconds after which a checkpoint is so old that the list says so; a live log's is minutes old."""
_STATES = {
    "refuted": "What was given as the details does not fit this record; it is not shown.",
    "not fetched": "",
    "opened": "",
}


def mine_result(found: Lookup, lang: str) -> dict[str, Any]:
    """The `result` of the JSON; members are only ever added."""
    states = [access.state for access in found.accesses]
    return {
        "log": log_facts(found.view),
        "complete": not found.gaps and not found.faults,
        "open_up_to_month": f"{1970 + found.month // 12}-{found.month % 12 + 1:02}",
        "counts": {
            "accesses": len(states),
            "details_opened": states.count("opened"),
            "details_missing": states.count("missing"),
            "details_not_fetched": states.count("not fetched"),
            "details_refuted": states.count("refuted"),
            "streams_checked": len(found.streams),
        },
        "sources": [_source(found, versions, lang) for versions in found.whole.register.sources.values()],
        "missing_streams": [
            {
                "source": gap.source,
                "epoch": gap.epoch,
                "seal": gap.seal,
                "month": _month(gap.seal),
                "scheme": gap.scheme,
                "key_destroyed": _date(key_destroyed_on(gap, found.notices)),
            }
            for gap in found.gaps
        ],
        "faults": [
            {"kind": type(fault).__name__, "where": fault.where, "what": fault.what} for fault in found.faults
        ],
        "evidence_files": found.evidence_files,
        "notes": _notes(found),
    }


def _month(seal: int) -> str | None:
    return month_in_words(seal) if seal else None


def _date(day: int | None) -> str | None:
    return None if day is None else format_date(day)


def _source(found: Lookup, versions: Sequence[SourceVersion], lang: str) -> dict[str, Any]:
    version = versions[-1]
    retired, suspect = retired_on(versions), suspect_from(versions)
    return {
        "source": version.source,
        "department": in_language(version.department, lang),
        "system": in_language(version.system, lang),
        "status": version.status,
        "retired": None if retired is None else format_date(retired),
        "suspect_from": None if suspect is None else format_date(suspect),
        "notes": source_in_words(versions, lang),
        "contact": version.contact,
        "complaint": version.complaint,
        "key_service": version.key_service,
        "asked": version.source in found.asked,
        "schemes": sorted(version.schemes),
        "accesses": [_access(access, lang) for access in _of(found, version.source)],
    }


def _of(found: Lookup, source: int) -> list[Access]:
    return [access for access in found.accesses if access.stream.source == source]


def _access(access: Access, lang: str) -> dict[str, Any]:
    record, claims = access.record, claims_of(access)
    return {
        "index": access.index,
        "number": access.n,
        "date": format_date(record.day),
        "epoch": record.epoch,
        "seal": record.seal,
        "activity": record.activity,
        "activity_text": _activity(access, lang),
        "suspect": access.suspect,
        "details": access.state,
        "erased_on": _date(access.erased_on),
        "sentence": access_in_words(claims, record.day) if claims else None,
        "claims": dict(claims),
    }


def _activity(access: Access, lang: str) -> str:
    """What the register says the activity is for; of a sealed record, what its opened purpose names."""
    number = access.record.activity
    purpose = claims_of(access).get("purpose")
    if not number and isinstance(purpose, dict) and isinstance(purpose.get("activity"), int):
        number = purpose["activity"]
    activity = access.version.activities.get(number)
    return in_language(activity.text, lang) if activity else ""


def _notes(found: Lookup) -> list[str]:
    month = month_in_words(found.month)
    sealed = (
        f"Up to and including records sealed until {month}; what is sealed for longer is outside this list."
    )
    notes = [sealed, *notes_on_keys(found.streams, found.month, found.notices), SCOPE]
    newest = found.view.opened.newest
    if newest is not None and found.view.now - newest > OLD_S:
        days = (found.view.now - newest) // 86_400
        notes.append(
            f"This state of the log is {days} days old: what was published later is not in the list."
        )
    if not found.details_fetched:
        notes.append(DETAILS_NOT_FETCHED)
    else:
        notes.append(ASKED)
    if not found.view.policy.auditor_in_quorum:
        notes.append(NO_AUDITOR if found.details_fetched else NO_AUDITOR_FOLDER)
    return notes


def mine_lines(found: Lookup, lang: str) -> list[Line]:
    """The list for people: sentences first, proof and limits last."""
    lines = [Line("Who looked at your data", "heading"), log_line(found.view)]
    without, unasked = [], []
    for source, versions in found.whole.register.sources.items():
        accesses, version = _of(found, source), versions[-1]
        status = STATUS[version.status]
        name = name_of(version, lang) + (f" ({status})" if status else "")
        if not accesses:
            if source in found.asked:
                without.append(name)
            else:
                unasked.append(f"{name} (it knows people by: {', '.join(sorted(version.schemes))})")
            continue
        count = f"{len(accesses)} access{'es' * (len(accesses) != 1)}"
        lines += [Line(), Line(f"{name}: {count}", "source")]
        lines += [Line(said, "warn", 2) for said in source_in_words(versions, lang)]
        for access in accesses:
            lines += _access_lines(access, lang)
        lines += [
            Line(),
            Line("What you can do", "heading", 2),
            Line(f"ask the department: {version.contact}", indent=4),
            Line(f"complain: {version.complaint}", indent=4),
        ]
    if without:
        lines += [Line(), Line(f"No access: {'; '.join(without)}.")]
    if unasked:
        told = "; ".join(unasked)
        lines += [Line(), Line(f"Not asked, for want of an identifier that is used there: {told}.", "warn")]
    if found.gaps:
        lines += [Line(), Line("Not complete: there is no key for", "warn")]
        for gap in found.gaps:
            lines.append(Line(gap_in_words(gap, found.notices), "warn", 2))
    for fault in found.faults:
        lines += [Line(), Line(str(fault), "bad")]
    lines.append(Line())
    lines += [Line(note, "quiet") for note in _notes(found)]
    lines += [Line(f"Evidence written: {path}") for path in found.evidence_files]
    if found.evidence_files:
        lines.append(
            Line(f"It opens {', '.join(found.opened) or 'no claim'}; --open chooses what it opens.", "quiet")
        )
    return [*lines, Line()]


def _access_lines(access: Access, lang: str) -> list[Line]:
    record, claims = access.record, claims_of(access)
    event = claims.get("event")
    at = event.get("at") if isinstance(event, dict) else None
    when = moment_in_words(at, record.day) if at else day_in_words(record.day)
    lines = [Line(), Line(when, "heading", 2)]
    activity = _activity(access, lang)
    if claims:
        lines.append(Line(access_in_words(claims, record.day), indent=4))
        lines += [
            Line(f"{heading}: {text}", indent=4) for heading, text in purpose_in_words(claims, activity)
        ]
    else:
        lines.append(Line(f"why: {activity}" if activity else "a sealed record, now open to you", indent=4))
        said = missing_in_words(access) if access.state == "missing" else _STATES[access.state]
        if said:
            lines.append(Line(said, "warn", 4))
    if access.suspect:
        lines.append(
            Line(
                "Suspect: dated on or after the day from which others may have had the key of this system.",
                "warn",
                4,
            )
        )
    sealed = f", sealed until {month_in_words(record.seal)}" if record.seal else ""
    lines.append(Line(f"entry {access.index}{sealed}", "quiet", 4))
    return lines
