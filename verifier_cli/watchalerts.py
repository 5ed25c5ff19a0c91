"""What a watch has raised and not yet ended, kept across restarts.

A *condition* is something that does not hold now. It is raised once, when it begins, and told once more when it has
ended; in between it is *firing*. A fork and a violation last: nothing that a log does later makes them unsaid.

    kind         means                                                       counts as
    fork         two checkpoints signed that cannot both be true             refuted
    violation    audited entries break a rule of docs/formats.md             refuted
    copy         files served that are not of the tree signed                refuted
    checkpoint   the newest checkpoint is not one that the policy accepts    refuted
    rollback     an older or smaller checkpoint than the one seen before     refuted
    stale        no witness dates a checkpoint within the promised delay     missing
    silent       a source owes coverage and gives none                       missing
    witness      a witness of the policy no longer cosigns                   missing
    unreachable  the log cannot be read                                      not checked
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger.core.encoding import sha256
from ledger.core.errors import Malformed
from ledger.core.jose import parse_json
from ledger.files import read_limited, write_atomic
from verifier_cli.words import plain

EVENT_SCHEMA = "glassbook-watch/1"
STATE_SCHEMA = "glassbook-watch-state/1"
MAX_STATE = 256 << 20  # bytes
MOST = 100
"""Alerts of one lasting kind that are raised; a log that goes on breaking rules fills no disk."""
WAITING = 1_000
"""Events kept for a webhook that does not take them; older ones are lost."""

COUNTS_AS: Final = {
    "fork": "refuted",
    "violation": "refuted",
    "copy": "refuted",
    "checkpoint": "refuted",
    "rollback": "refuted",
    "stale": "missing",
    "silent": "missing",
    "witness": "missing",
    "unreachable": "not checked",
}
LASTING: Final = ("fork", "violation")


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that does not hold. `kind` and `key` say which; two of the same are one.

    `since` (Unix seconds) is when it began, as far as that can be told. `details` are for programs.
    """

    kind: str
    key: str
    message: str
    since: int
    details: dict[str, Any] = field(default_factory=dict)
    evidence_file: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that was raised at `raised` (Unix seconds), the log then having `size` entries."""

    kind: str
    key: str
    message: str
    since: int
    raised: int
    size: int
    details: dict[str, Any]
    evidence_file: str | None


class Alerts:
    """All that is firing, in the order in which it was raised."""

    def __init__(self, origin: str, firing: Iterable[Alert] = ()) -> None:
        self._origin = origin
        self._firing = {(alert.kind, alert.key): alert for alert in firing}

    def __iter__(self) -> Iterator[Alert]:
        return iter(list(self._firing.values()))

    def of(self, kind: str) -> list[Alert]:
        """The firing ones of a kind."""
        return [alert for alert in self if alert.kind == kind]

    def full(self, kind: str) -> bool:
        """Whether no more of a lasting kind are raised: those that are say enough."""
        return kind in LASTING and len(self.of(kind)) >= MOST

    def has(self, kind: str, key: str) -> bool:
        """Whether this one is firing."""
        return (kind, key) in self._firing

    def counting_as(self, what: str) -> list[Alert]:
        """The firing ones that count as `refuted`, `missing` or `not checked`."""
        return [alert for alert in self if COUNTS_AS[alert.kind] == what]

    def judge(self, kind: str, conditions: Iterable[Condition], now: int, size: int) -> list[dict[str, Any]]:
        """Take in all conditions of one kind that there are now; returns the events to tell, in order.

        Those firing before and not among them have ended, unless the kind lasts.
        """
        events = []
        found = {(condition.kind, condition.key): condition for condition in conditions}
        for place, condition in found.items():
            if place not in self._firing and not self.full(kind):
                details = {
                    name: plain(value) if isinstance(value, str) else value
                    for name, value in condition.details.items()
                }
                alert = Alert(
                    kind, condition.key, plain(condition.message), condition.since, now, size, details,
                    condition.evidence_file,
                )  # fmt: skip
                self._firing[place] = alert
                events.append(self._event(alert, "began", now, size))
        if kind not in LASTING:
            for alert in self.of(kind):
                if (alert.kind, alert.key) not in found:
                    del self._firing[alert.kind, alert.key]
                    events.append(self._event(alert, "ended", now, size))
        return events

    def _event(self, alert: Alert, event: str, now: int, size: int) -> dict[str, Any]:
        """What is told, in text, in JSON and to webhooks (docs/monitoring.md); members are only ever added."""
        text = alert.message if event == "began" else f"has ended: {alert.message}"
        identity = f"{self._origin}\n{alert.kind}\n{alert.key}\n{alert.raised}"
        name = None if alert.evidence_file is None else Path(alert.evidence_file).name
        return {
            "schema": EVENT_SCHEMA,
            "event": event,
            "alert": sha256(identity.encode()).hex()[:16],
            "origin": self._origin,
            "kind": alert.kind,
            "key": alert.key,
            "counts_as": COUNTS_AS[alert.kind],
            "message": alert.message,
            "since": alert.since,
            "raised": alert.raised,
            "ended": now if event == "ended" else None,
            "size": size,
            "details": alert.details,
            "evidence_file": name,
            "text": f"{self._origin}: {alert.kind}: {text}",
        }


@dataclass(slots=True)
class WatchState:
    """What a watch remembers besides the checkpoint and the audit.

    `cosigned` is the newest timestamp seen of each witness by its vkey, `told_below` the size up to which violations
    were raised, `failing_since` when the log was last reached no more (0: it answers), `waiting` the events that each
    webhook, by the hash of its address, has not taken yet, `promised` the charter's merge delay in seconds (0: not
    known yet).
    """

    origin: str
    firing: list[Alert] = field(default_factory=list)
    cosigned: dict[str, int] = field(default_factory=dict)
    told_below: int = 0
    failing_since: int = 0
    promised: int = 0
    waiting: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def state_path(seen: Path) -> Path:
    """Where the state of a watch lies: beside the checkpoint it remembers."""
    return seen.with_name(seen.name + ".watch.json")


def load_state(path: Path, origin: str) -> WatchState:
    """The state kept at `path`, a fresh one when there is none. Raises `Malformed`, OSError, FileRefused."""
    try:
        data = read_limited(path, MAX_STATE)
    except FileNotFoundError:
        return WatchState(origin)
    found = parse_json(data, str(path))
    try:
        if found.pop("schema") != STATE_SCHEMA or found["origin"] != origin:
            raise ValueError
        found["firing"] = [Alert(**alert) for alert in found["firing"]]
        if any(alert.kind not in COUNTS_AS for alert in found["firing"]):
            raise ValueError
        return WatchState(**found)
    except (AttributeError, KeyError, TypeError, ValueError):
        what = f"is not what a watch of {origin} left; move it away to begin anew"
        raise Malformed(str(path), what) from None


def save_state(path: Path, state: WatchState) -> None:
    """Keep `state`, durably and in one step, for nobody else to read. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"schema": STATE_SCHEMA, **asdict(state)}
    write_atomic(path, json.dumps(content, ensure_ascii=False).encode(), mode=0o600)
