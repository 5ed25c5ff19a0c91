"""What came of an import, event by event while it runs and as a whole at its end: in words, or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import typer

from ledger.department.access import Fate, Outcome, Summary
from ledger.department.registration import Registration
from ledger.department.sentence import printable, sentence
from ledger.department.settings import CannotGoOn

Say = Callable[[str], None]

LISTED: Final = 10_000
"""Events of each kind that the JSON lists: a log may have millions, and all are counted."""

_FILES: Final = 10
"""Files told one by one at the end; the JSON has them all."""

_REASONS: Final = 10
"""Reasons told at the end with their counts."""


@dataclass(slots=True)
class Result:
    """What came of an import; `unfinished` is why it stopped before the end of the files, `unread` counts those
    that could not be read."""

    format: str
    dry_run: bool
    as_json: bool
    say: Say
    registration: Registration | None = None
    summary: Summary = field(default_factory=Summary)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    nobody: list[dict[str, Any]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    left_off: int = 0
    reasons: Counter[tuple[Fate, str]] = field(default_factory=Counter)
    unfinished: CannotGoOn | None = None
    unread: int = 0

    def take(self, outcome: Outcome, before: bool) -> None:
        """Count one event, and show it where it is to be shown; `before`: it had been recorded by an earlier import."""
        self.summary.count(outcome, before)
        self.unread += outcome.unread
        if outcome.reason and (len(self.reasons) < LISTED or (outcome.fate, outcome.reason) in self.reasons):
            self.reasons[outcome.fate, outcome.reason] += 1
        if outcome.fate is Fate.REJECTED:
            self._list(self.rejected, _placed(outcome))
            if not self.as_json:
                self.say(f"rejected: {outcome.file}: {outcome.position}: {outcome.reason}")
        elif outcome.fate is Fate.NOT_ABOUT_A_PERSON:
            self._list(self.nobody, _placed(outcome))
            if self.dry_run and not self.as_json:
                line = f"not about a person: {outcome.file}: {outcome.position}: {outcome.reason}"
                typer.echo(printable(line))
        elif self.dry_run:
            self._show(outcome)

    def _show(self, outcome: Outcome) -> None:
        """The sentence that each person would read."""
        for access in outcome.accesses:
            activities = self.registration.newest.activities if self.registration else {}
            text = sentence(access, activities.get(access.activity))
            if not self.as_json:
                typer.echo(printable(f"{access.subject}  {text}"))
                continue
            shown = {"subject": access.subject, "activity": access.activity, "sentence": text}
            self._list(self.shown, {"file": outcome.file, "position": outcome.position, **shown})

    def _list(self, events: list[dict[str, Any]], event: dict[str, Any]) -> None:
        if not self.as_json:
            return
        if len(events) < LISTED:
            events.append(event)
        else:
            self.left_off += 1

    def as_document(self) -> dict[str, Any]:
        """The result as JSON; `left_off` counts the events that are counted above and not listed below."""
        result: dict[str, Any] = {
            "summary": self.summary.as_json(),
            "format": self.format,
            "dry_run": self.dry_run,
            "complete": self.unfinished is None and not self.unread,
            "files": [{"file": file, **counts} for file, counts in self.summary.by_file.items()],
            "rejected": self.rejected,
            "not_about_a_person": self.nobody,
            "left_off": self.left_off,
        }
        if self.dry_run:
            result["accesses"] = self.shown
        return result

    def in_words(self) -> str:
        """The counts, and what to do next."""
        summary = self.summary
        verb = "would be recorded" if self.dry_run else "recorded"
        events = "1 event" if summary.events == 1 else f"{summary.events} events"
        nobody = f"{summary.not_about_a_person} not about a person"
        lines = [f"{events}: {summary.recorded} {verb}, {nobody}, {summary.rejected} rejected."]
        if not summary.events:
            lines = [f"No event of the format {self.format} is in these files."]
        if summary.records != summary.recorded - summary.recorded_before:
            lines.append(
                f"They make {summary.records} records: an event about two persons makes one for each."
            )
        if summary.recorded_before:
            lines.append(
                f"{summary.recorded_before} of them had been recorded before and are not recorded again."
            )
        if 1 < len(summary.by_file) <= _FILES:
            lines += [_of_file(file, counts) for file, counts in summary.by_file.items()]
        if summary.events > 1:
            lines += [
                f"  {count} {fate.value}: {reason}"
                for (fate, reason), count in self.reasons.most_common(_REASONS)
            ]
        if not self.dry_run and summary.records:
            lines.append("Next: glassbook department send --wait")
        return "\n".join(lines)


def _placed(outcome: Outcome) -> dict[str, Any]:
    return {"file": outcome.file, "position": outcome.position, "reason": outcome.reason}


def _of_file(file: str, counts: dict[str, int]) -> str:
    return (
        f"  {printable(file)}: {counts['events']} = {counts['recorded']} recorded + "
        f"{counts['not_about_a_person']} not about a person + {counts['rejected']} rejected"
    )
