"""What an importer makes of one event of a log: accesses to persons' data, or the reason why there are none.

Every event ends as exactly one `Outcome`, so that
`events = recorded + not about a person + rejected` always holds.  An event about two persons is one
outcome with two accesses: each of them gets a record of her own, and neither learns of the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Claims = dict[str, Any]


class Fate(Enum):
    """How an event ended."""

    RECORDED = "recorded"
    NOT_ABOUT_A_PERSON = "not about a person"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Access:
    """One person's data accessed once, as it will be recorded.

    `subject` is `scheme:value`; `day` counts UTC days since 1970-01-01; `claims` are those of
    docs/formats.md §3 as far as the log tells them: what the register says about the activity is added
    when the record is made.
    """

    subject: str
    day: int
    activity: int
    claims: Claims
    seal: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one event.

    `position` is the place in the file: `entry[12].resource.recorded`, `line 5`, `$` for the whole.
    `reason` says why nothing was recorded; it never holds anything read from the event.
    `identity` is 32 bytes that are the same for the same event in the same file, read again.
    `unread`: it stands for a file that could not be read, and nobody knows what is in it.
    """

    file: str
    position: str
    fate: Fate
    reason: str = ""
    accesses: tuple[Access, ...] = ()
    identity: bytes = b""
    unread: bool = False


@dataclass(slots=True)
class Summary:
    """The count of an import; `events` is always the sum of the three below it.

    `records` may exceed `recorded`: an event about two persons makes two.  `recorded_before` counts those
    of the recorded events that an earlier import of the same events had already put in the outbox.
    """

    events: int = 0
    recorded: int = 0
    not_about_a_person: int = 0
    rejected: int = 0
    records: int = 0
    recorded_before: int = 0
    by_file: dict[str, dict[str, int]] = field(default_factory=dict)

    def count(self, outcome: Outcome, before: bool = False) -> None:
        """Add one event; `before`: it was recorded by an earlier import."""
        file = self.by_file.setdefault(
            outcome.file, {"events": 0, "recorded": 0, "not_about_a_person": 0, "rejected": 0}
        )
        name = {
            Fate.RECORDED: "recorded",
            Fate.NOT_ABOUT_A_PERSON: "not_about_a_person",
            Fate.REJECTED: "rejected",
        }[outcome.fate]
        self.events += 1
        file["events"] += 1
        file[name] += 1
        setattr(self, name, getattr(self, name) + 1)
        if before:
            self.recorded_before += 1
        elif outcome.fate is Fate.RECORDED:
            self.records += len(outcome.accesses)

    def as_json(self) -> dict[str, int]:
        return {
            "events": self.events,
            "recorded": self.recorded,
            "not_about_a_person": self.not_about_a_person,
            "rejected": self.rejected,
            "records": self.records,
            "recorded_before": self.recorded_before,
        }
