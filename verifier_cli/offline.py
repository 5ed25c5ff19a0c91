"""`glassbook-verify receipt` and `evidence`: one file checked without a network."""

from typing import Any

from ledger.core.encoding import format_date
from ledger.core.evidence import CheckedEvidence, check_evidence, parse_evidence
from ledger.core.policy import Policy
from ledger.core.receipt import check_receipt, parse_receipt
from verifier_cli.entrywords import entry_facts, entry_in_words
from verifier_cli.logfacts import checkpoint_facts
from verifier_cli.outcome import Line, Outcome, Verdict, numbered
from verifier_cli.words import (
    access_in_words,
    day_in_words,
    in_language,
    listed,
    moment_in_words,
    plain,
    purpose_in_words,
)

RECEIPT_LIMITS = (
    "It does not prove that what was written is true, that there is no other entry, or that this is the newest state"
    " of the log."
)


def check_receipt_file(name: str, data: bytes, policy: Policy, now: int, lang: str) -> Outcome:
    """Check the receipt in the file of that name; raises what `check_receipt` and `parse_receipt` raise."""
    checked = check_receipt(parse_receipt(data, name), policy, now)
    lines = [Line(entry_in_words(checked.entry, checked.index, lang)), Line(), *numbered(checked.steps)]
    lines += [Line(), Line("What this does not prove", "heading"), Line(RECEIPT_LIMITS, indent=3), Line()]
    return Outcome(
        "receipt",
        Verdict.HOLDS,
        f"entry {checked.index} is in the log of {checked.opened.checkpoint.size} entries",
        {
            "log": checkpoint_facts(checked.opened, policy),
            "index": checked.index,
            "entry": entry_facts(checked.entry),
            "steps": [{"title": step.title, "detail": step.detail} for step in checked.steps],
            "does_not_prove": RECEIPT_LIMITS,
        },
        lines,
    )


def check_evidence_file(name: str, data: bytes, policy: Policy, now: int, lang: str) -> Outcome:
    """Check the evidence in the file of that name; raises what `check_evidence` and `parse_evidence` raise."""
    checked = check_evidence(parse_evidence(data, name), policy, now)
    limits = in_language(checked.evidence.statement, lang)
    lines = [*_shown(checked, lang), Line(), *numbered(checked.steps)]
    lines += [Line(), Line("What this does not prove", "heading"), Line(limits, indent=3)]
    notes = _notes(checked)
    lines += [Line(note, "warn", 3) for note in notes] + [Line()]
    return Outcome(
        "evidence",
        Verdict.HOLDS,
        f"entry {checked.index} is a record by source {checked.record.source}, and what is opened is what it signed",
        {
            "log": checkpoint_facts(checked.opened, policy),
            "index": checked.index,
            "entry": entry_facts(checked.record),
            "source": _source(checked, lang),
            "claims": checked.sd_jwt.claims,
            "registration_changed_at": checked.next_version,
            "steps": [{"title": step.title, "detail": step.detail} for step in checked.steps],
            "notes": notes,
            "does_not_prove": limits,
        },
        lines,
    )


def _notes(checked: CheckedEvidence) -> list[str]:
    if checked.next_version is None:
        return []
    changed = checked.next_version
    note = (
        f"The source's registration changed after this record, at entry {changed}, and this file does not tell how."
        " Look up there, and in versions after it, whether it was revoked, by which the record may be suspect:"
        f" glassbook-verify show {changed} --policy FILE --log URL|DIR"
    )
    return [note]


def _source(checked: CheckedEvidence, lang: str) -> dict[str, Any]:
    source = checked.source
    return {
        "source": source.source,
        "version": source.version,
        "department": in_language(source.department, lang),
        "system": in_language(source.system, lang),
        "contact": source.contact,
        "complaint": source.complaint,
    }


def _shown(checked: CheckedEvidence, lang: str) -> list[Line]:
    """What the file tells of the access, in words."""
    record, source, claims = checked.record, checked.source, checked.sd_jwt.claims
    lines = [Line(f"{in_language(source.department, lang)} · {in_language(source.system, lang)}", "source")]
    event = claims.get("event")
    at = event.get("at") if isinstance(event, dict) else None
    lines.append(Line(moment_in_words(at, record.day) if at else day_in_words(record.day), "heading", 2))
    activity = source.activities.get(record.activity)
    text = in_language(activity.text, lang) if activity else ""
    if {"actor", "event"} & claims.keys():
        lines.append(Line(access_in_words(claims, record.day), indent=4))
    else:
        lines.append(Line(f"A record of {format_date(record.day)}; who it was is not opened here.", indent=4))
    lines += [Line(f"{heading}: {said}", indent=4) for heading, said in purpose_in_words(claims, text)]
    if "subject" in claims:
        lines.append(Line(f"about: {', '.join(listed(claims['subject']))}", indent=4))
    withheld = [name for name in checked.charter.claims if name not in claims]
    if withheld:
        lines.append(Line(f"not opened: {plain(', '.join(withheld))}", "quiet", 4))
    return lines
