"""What an audit found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ledger.core.encoding import b64encode
from verifier_cli.logfacts import log_facts, log_line
from verifier_cli.outcome import Line
from verifier_cli.words import in_language

if TYPE_CHECKING:
    from verifier_cli.audit import Audit

LISTED = 100
"""Violations printed; the JSON and the evidence file have all of them."""
LIMITS = (
    "An audit reads no secret: it cannot tell whether a record is about the right person, or whether an access was"
    " never recorded. Only the person herself, with her keys, and the department's own log can."
)


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
        }
    return {
        "log": log_facts(found.view),
        "audited": {"from": found.since, "to": found.replay.size},
        "warnings": found.warnings,
        "violations": [asdict(violation) for violation in found.violations],
        "counts": counts,
        "sources": [_source(found, source) for source in found.replay.register.sources],
    }


def _source(found: Audit, source: int) -> dict[str, Any]:
    replay = found.replay
    newest = replay.register.sources[source][-1]
    return {
        "source": source,
        "department": in_language(newest.department, "en"),
        "status": newest.status,
        "records": sum(count for place, count in replay.records.items() if place[0] == source),
        "silent_days": len(replay.silent_days_of(source)),
    }


def audit_lines(found: Audit) -> list[Line]:
    """For people: what was read, what is wrong, what it does not show."""
    lines = [log_line(found.view)]
    summary = found.summary
    if summary is not None:
        lines.append(Line(f"{summary.records} records by {len(found.replay.register.sources)} sources"))
        lines.append(Line(f"{summary.labels} labels in the index, recomputed entry by entry"))
        for one in (_source(found, source) for source in found.replay.register.sources):
            silent = f", {one['silent_days']} days without coverage" if one["silent_days"] else ""
            lines.append(Line(f"{one['department']}: {one['records']} records{silent}", indent=2))
        lines.append(
            Line(f"{summary.late} late, {summary.suspect} suspect (counted, and no violations)", "quiet")
        )
    lines += [Line(f"Warning: {warning}", "warn") for warning in found.warnings]
    if found.by_clock:
        lines.append(Line("No witness states a time, so this computer's clock was taken for it.", "warn"))
    if found.since:
        lines.append(Line(f"Signatures of entries below {found.since} were not checked again.", "quiet"))
    for violation in found.violations[:LISTED]:
        lines.append(
            Line(f"entry {violation.index}: {violation.detail} ({violation.kind}, {violation.rule})", "bad")
        )
    if len(found.violations) > LISTED:
        lines.append(Line(f"and {len(found.violations) - LISTED} more, in the evidence file", "bad"))
    return [*lines, Line(LIMITS, "quiet"), Line()]
