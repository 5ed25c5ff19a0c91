"""What an audit found, for people and for programs."""

from dataclasses import asdict
from typing import Any

from ledger.core.encoding import b64encode
from ledger.core.replay import Violation
from verifier_cli.auditfound import Audit
from verifier_cli.logfacts import log_facts, log_line
from verifier_cli.outcome import Line
from verifier_cli.words import in_language

LISTED = 100
"""Violations printed; the JSON and the evidence file have all of them."""
LIMITS = (
    "An audit reads no secret: it cannot tell whether a record is about the right person, or whether an access was"
    " never recorded. Only the person herself, with her keys, and the department's own log can."
)


def rule_of(violation: Violation) -> str:
    """The rule it breaks, as `formats.md §2`: the section of docs/formats.md."""
    return f"formats.md {violation.rule}"


def audit_result(found: Audit) -> dict[str, Any]:
    """The `result` of the JSON; members are only ever added."""
    summary = found.summary
    counts: dict[str, Any] = {}
    if summary is not None:
        counts = {
            "root": b64encode(summary.root),
            "index_root": b64encode(summary.index_root),
            "labels": summary.labels,
            "records": summary.records,
            "late": summary.late,
            "suspect": summary.suspect,
            "silent_days": summary.silent_days,
            "seals_past_month": sum(summary.seals_due.values()),
            "sources_retired": len(summary.retired),
            "sources_revoked": len(summary.revoked),
        }
    copies = set(found.of_copy)
    return {
        "log": log_facts(found.view),
        "audited": {
            "from": found.since,
            "to": found.replay.size,
            "resumed_at": found.resumed,
            "kept_in": str(found.kept) if found.kept is not None and not _done(found) else None,
        },
        "warnings": found.warnings,
        "violations": [
            asdict(violation)
            | {
                "rule": rule_of(violation),
                "of": "copy" if violation in copies else "log",
                "evidence": found.evidence.get(violation),
            }
            for violation in found.violations
        ],
        "violations_left_out": found.left_out,
        "counts": counts,
        "sources": [_source(found, source) for source in found.replay.register.sources],
    }


def _done(found: Audit) -> bool:
    """Whether nothing is kept of this audit, since it went through."""
    return found.passing and found.finished


def _source(found: Audit, source: int) -> dict[str, Any]:
    replay = found.replay
    newest = replay.register.sources[source][-1]
    due = {} if found.summary is None else found.summary.seals_due
    return {
        "source": source,
        "department": in_language(newest.department, "en"),
        "status": newest.status,
        "records": sum(count for place, count in replay.records.items() if place[0] == source),
        "silent_days": len(replay.silent_days_of(source)),
        "seals_past_month": sum(count for place, count in due.items() if place[0] == source),
    }


def audit_lines(found: Audit) -> list[Line]:
    """For people: what was read, what is wrong, what it does not show."""
    lines = [log_line(found.view)]
    if found.resumed:
        when = f"Entries below {found.resumed} were audited by an earlier run; --fresh reads them again."
        lines.append(Line(when, "quiet"))
    summary = found.summary
    if summary is not None:
        sources = len(found.replay.register.sources)
        lines.append(Line(f"{summary.records} records by {sources} source{'s' * (sources != 1)}"))
        lines.append(Line(f"{summary.labels} labels in the index, recomputed entry by entry"))
        lines += [
            _source_line(_source(found, source), source in summary.revoked)
            for source in found.replay.register.sources
        ]
        lines.append(
            Line(f"{summary.late} late, {summary.suspect} suspect (counted, and no violations)", "quiet")
        )
        due = sum(summary.seals_due.values())
        lines.append(Line(f"{due} sealed records whose month has come: open to their subjects", "quiet"))
    lines += [Line(f"Warning: {warning}", "warn") for warning in found.warnings]
    if found.by_clock:
        lines.append(Line("No witness states a time, so this computer's clock was taken for it.", "warn"))
    if found.since:
        lines.append(Line(f"Signatures of entries below {found.since} were not checked again.", "quiet"))
    if found.upto < found.view.size:
        lines.append(Line(f"Entries from {found.upto} on were not looked at.", "quiet"))
    for violation in found.violations[:LISTED]:
        what = f"entry {violation.index}: {violation.detail} ({violation.kind}, {rule_of(violation)})"
        lines.append(Line(what, "bad"))
        if violation in found.evidence:
            lines.append(Line(f"evidence: {found.evidence[violation]}", "quiet", 2))
    if len(found.violations) > LISTED:
        lines.append(Line(f"and {len(found.violations) - LISTED} more, in the evidence file", "bad"))
    if found.left_out:
        lines.append(Line(f"and {found.left_out} more, which were only counted, being too many", "bad"))
    if found.kept is not None and not found.passing:
        lines.append(Line(f"Kept in {found.kept}: the next audit goes on from here.", "quiet"))
    return [*lines, Line(LIMITS, "quiet"), Line()]


def _source_line(one: dict[str, Any], revoked: bool) -> Line:
    silent = f", {one['silent_days']} days without coverage" if one["silent_days"] else ""
    status = "" if one["status"] == "active" else f" ({one['status']})"
    text = f"{one['department']}{status}: {one['records']} records{silent}"
    return Line(text, "warn" if revoked else "", 2)
