"""One look after another at a published log: is it still the log that was seen, and does what is new keep the rules?

    watch = Watch(log, policy, places, wishes, …)
    watch.round()           look once; returns the events, of which each was told already
    watch.verdict()         what is firing now, as an exit code

A round goes the way of a reader: newest checkpoint, quorum, consistency with the one remembered, audit of the entries
since the last one (watchaudit.py), and then what breaks no rule and still is not well (watchrules.py). Whatever it
finds becomes a condition of some kind (watchalerts.py); kinds that could not be judged this time stay as they were.

What is remembered lies in three files, each replaced in one step or one transaction, so that a watch can be killed at
any point: the checkpoint as `consistency` keeps it, the audit as `audit` keeps it, and the alerts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger.client.publiclog import PublicLog, Unreachable
from ledger.client.seen import load_seen, save_seen
from ledger.client.view import View
from ledger.core.errors import Fork, Malformed, ProofRefuted, Refuted, Rollback, RuleBroken
from ledger.core.policy import Opened, Policy
from ledger.core.replay import Replay, Violation
from verifier_cli.auditing import Advanced
from verifier_cli.consistency import follow, open_after, open_earlier
from verifier_cli.outcome import Verdict, write_refutation
from verifier_cli.violation import write_violation_evidence
from verifier_cli.watchalerts import Alert, Alerts, Condition, WatchState, load_state, save_state, state_path
from verifier_cli.watchaudit import Bar, WatchedAudit
from verifier_cli.watchhooks import Webhook
from verifier_cli.watchmetrics import Figures
from verifier_cli.watchrules import (
    in_words,
    latest_by_witness,
    silent_sources,
    stale,
    witnesses_gone,
    witnesses_of,
)
from verifier_cli.words import plain


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user decides. Seconds, but for `silent_days`; `stale` None takes the charter's merge delay."""

    stale: int | None = None
    silent_days: int = 1
    patience: int = 0
    unreachable: int = 600
    jobs: int = 1
    lang: str = "en"


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are kept: the last checkpoint seen, the audit."""

    seen: Path
    audit: Path


class _Skip(Exception):
    """This round found out what it could."""


class Watch:
    """The memory of a watch, and one round of it. One thread at a time; `stop` may be set by any."""

    def __init__(
        self,
        log: PublicLog,
        policy: Policy,
        places: Places,
        wishes: Wishes,
        *,
        clock: Callable[[], int],
        tell: Callable[[dict[str, Any]], None],
        say: Callable[[str], None],
        urls: Sequence[str] = (),
        about: dict[str, Any] | None = None,
        bar: Callable[[], Bar] = nullcontext,
        stop: threading.Event | None = None,
    ) -> None:
        """Read what is remembered. `about` goes into evidence files. Raises `Malformed`, OSError, sqlite3.Error."""
        self._log = log
        self._policy = policy
        self._places = places
        self._wishes = wishes
        self._clock = clock
        self._tell = tell
        self._about = about or {}
        self._bar = bar
        self.stop = stop or threading.Event()
        self.figures = Figures()
        self._state_path = state_path(places.seen)
        self._saved = load_state(self._state_path, policy.origin)
        self._state = load_state(self._state_path, policy.origin)
        self.alerts = Alerts(policy.origin, self._state.firing)
        self._events: list[dict[str, Any]] = []
        self._newest: int | None = None
        self._size = 0
        self._checked = False
        self._audited = WatchedAudit(log, policy.origin, places.audit, wishes.jobs)
        self._hooks: list[Webhook] = []
        try:
            for url in dict.fromkeys(urls):
                hook = Webhook(url, (), say)
                self._hooks.append(hook)
                for event in self._state.waiting.get(hook.key, ()):
                    hook.put(event)
        except BaseException:
            self.close()
            raise

    # -- one round ---------------------------------------------------------------------------------------

    def round(self) -> list[dict[str, Any]]:
        """Look at the log once. Returns what began and what ended, told and kept.

        Raises what concerns this computer alone: OSError, sqlite3.Error, a file that cannot be what it should;
        and `Stopped` once `stop` is set.
        """
        now = self._clock()
        self._events = []
        result = "checked"
        kept = self._remembered(now)
        if kept is not None:
            self._newest, self._size = kept.newest, kept.checkpoint.size
        try:
            self._look(kept, now)
            self._checked = True
            self._reached(now)
        except _Skip:
            result = "refuted"
            self._reached(now)
        except (Unreachable, Malformed) as error:
            result = "unreachable"
            self._unreachable(error, now)
        except BaseException:
            # What was found until here is told and kept all the same.
            self._finish("fault", now)
            raise
        self._judge("stale", self._stale(now), now)
        self._finish(result, now)
        return self._events

    def _remembered(self, now: int) -> Opened | None:
        note = load_seen(self._places.seen)
        return None if note is None else open_earlier(self._policy, note, str(self._places.seen), now)

    def _look(self, kept: Opened | None, now: int) -> None:
        try:
            view = open_after(self._log, self._policy, now, [] if kept is None else [kept])
            newest = view.opened if kept is None else follow(view, kept)
        except Fork as error:
            note = error.evidence.get("note", b"")
            raise self._refuted("fork", _key(note), error, now) from None
        except Rollback as error:
            raise self._refuted("rollback", "", error, now) from None
        except ProofRefuted as error:
            raise self._refuted("copy", "", error, now) from None
        except Refuted as error:
            raise self._refuted("checkpoint", "", error, now) from None
        self._judge("rollback", [], now)
        if kept is None or newest.note != kept.note:
            save_seen(self._places.seen, newest.note)
        self._newest, self._size = newest.newest, newest.checkpoint.size
        self._audit(view, now)
        self._witnesses(view, now)

    def _refuted(self, kind: str, key: str, error: Refuted, now: int) -> _Skip:
        """Raise the alert that `error` is; its evidence is written when it begins."""
        path = None
        if not self.alerts.has(kind, key) and not self.alerts.full(kind):
            path = write_refutation("watch", error, self._about)
        self._judge(kind, [Condition(kind, key, str(error), now, {}, path)], now)
        return _Skip()

    def _unreachable(self, error: Unreachable | Malformed, now: int) -> None:
        since = self._state.failing_since = self._state.failing_since or now
        if now - since >= self._wishes.unreachable:
            message = f"the log has given nothing that can be checked for {in_words(now - since)}: {error}"
            self._judge("unreachable", [Condition("unreachable", "", message, since)], now)

    def _reached(self, now: int) -> None:
        self._state.failing_since = 0
        self._judge("unreachable", [], now)

    # -- the audit ---------------------------------------------------------------------------------------

    def _audit(self, view: View, now: int) -> None:
        """Take the audit on to `view`, and raise what it finds."""
        newest = now if view.opened.newest is None else view.opened.newest
        try:
            found = self._audited.advance(view, newest, self._bar, self.stop)
        except Fork as error:
            raise self._refuted("fork", "audit", error, now) from None
        except ProofRefuted as error:
            raise self._refuted("copy", "", error, now) from None
        if found is None:
            return
        replay, advanced = found
        self._judge("copy", self._copy(view, replay, advanced, now), now)
        if advanced.summary is None:
            return
        self._judge("violation", self._violations(view, replay, now), now)
        self._judge("silent", silent_sources(replay, self._wishes.silent_days, self._wishes.lang), now)
        if replay.register.has_charter:
            self._state.promised = replay.register.charter.merge_delay_s
            try:
                view.check_charter_keys(replay.register.charter)
            except Refuted as error:
                raise self._refuted("checkpoint", "", error, now) from None
        self._judge("checkpoint", [], now)

    def _copy(self, view: View, replay: Replay, advanced: Advanced, now: int) -> list[Condition]:
        if not advanced.of_copy:
            return []
        first, count = advanced.of_copy[0], len(advanced.of_copy)
        message = f"{count} place{'s' * (count != 1)} in the files served are not of the tree signed: {_words(first)}"
        path = None
        if not self.alerts.has("copy", ""):
            path = self._evidence(view, replay, first, advanced.of_copy)
        return [Condition("copy", "", message, now, {"count": count, **asdict(first)}, path)]

    def _violations(self, view: View, replay: Replay, now: int) -> list[Condition]:
        """Of those not yet raised, one condition for each rule broken, at the first entry that breaks it."""
        told = self._state.told_below
        kinds: dict[str, list[Violation]] = {}
        for violation in replay.violations:
            if violation.index >= told:
                kinds.setdefault(violation.kind, []).append(violation)
        found = []
        for kind, violations in kinds.items():
            first, count = violations[0], len(violations)
            message = f"{count} violation{'s' * (count != 1)} of one kind: {_words(first)}"
            path = None
            if not self.alerts.full("violation"):
                path = self._evidence(view, replay, first, violations)
            details = {"violation": kind, "count": count, **asdict(first)}
            found.append(Condition("violation", f"{first.index} {kind}", message, now, details, path))
        self._state.told_below = max(told, replay.size)
        return found

    def _evidence(
        self, view: View, replay: Replay, first: Violation, violations: Sequence[Violation]
    ) -> str | None:
        """A file about the first of them; where an entry cannot be shown by itself, one that lists all."""
        try:
            path = write_violation_evidence(self._log, view.note, first, replay)
        except (Refuted, Malformed, Unreachable, LookupError):
            path = None
        if path is not None:
            return path
        listed = [asdict(violation) for violation in violations]
        error = RuleBroken(
            f"log {self._policy.origin}", _words(first), checkpoint=view.note, violations=listed
        )
        return write_refutation("watch", error, self._about)

    # -- what breaks no rule -----------------------------------------------------------------------------

    def _limit(self) -> int | None:
        """Seconds within which a witness is to date a checkpoint; None while the charter is not known."""
        return self._wishes.stale or self._state.promised or None

    def _stale(self, now: int) -> list[Condition]:
        limit = self._limit()
        if limit is None:
            # Not known this time: what was raised stays.
            return [_again(alert) for alert in self.alerts.of("stale")]
        return stale(self._newest, now, limit)

    def _witnesses(self, view: View, now: int) -> None:
        limit = self._limit()
        for vkey, timestamp in latest_by_witness(view.opened, self._policy).items():
            self._state.cosigned[vkey] = max(timestamp, self._state.cosigned.get(vkey, 0))
        known = self._state.cosigned
        patience = self._wishes.patience
        if limit is not None:
            gone = witnesses_gone(view.opened, self._policy, known, now, limit, patience)
            self._judge("witness", gone, now)

    # -- what comes of it --------------------------------------------------------------------------------

    def _judge(self, kind: str, conditions: Sequence[Condition], now: int) -> None:
        self._events += self.alerts.judge(kind, conditions, now, self._size)

    def _finish(self, result: str, now: int) -> None:
        for event in self._events:
            self._tell(event)
            for hook in self._hooks:
                hook.put(event)
        self.keep()
        self._show(result, now)

    def _show(self, result: str, now: int) -> None:
        one, replay = self.figures, self._audited.replay
        one.size, one.newest, one.last_round = self._size, self._newest, now
        if replay is not None:
            one.audited, one.violations = replay.size, len(replay.violations)
            one.silent = replay.counts.silent(replay.register, replay.newest)
        names = {witness.vkey.text: plain(witness.name) for witness in witnesses_of(self._policy)}
        one.cosigned = {names[vkey]: stated for vkey, stated in self._state.cosigned.items() if vkey in names}
        firing: dict[str, int] = {}
        for alert in self.alerts:
            firing[alert.kind] = firing.get(alert.kind, 0) + 1
        one.firing = firing
        one.rounds = one.rounds | {result: one.rounds.get(result, 0) + 1}
        one.webhooks = [(hook.host, hook.delivered, hook.failures, hook.lost) for hook in self._hooks]

    def keep(self) -> None:
        """Write down what is firing and what no webhook has taken yet, if that changed. Raises OSError."""
        state = WatchState(
            self._state.origin,
            list(self.alerts),
            dict(self._state.cosigned),
            self._state.told_below,
            self._state.failing_since,
            self._state.promised,
            {hook.key: hook.waiting() for hook in self._hooks if hook.waiting()},
        )
        if state != self._saved:
            save_state(self._state_path, state)
            self._saved = state

    def flush(self, seconds: float) -> None:
        """Give webhooks up to `seconds` in all to take what there is."""
        end = time.monotonic() + seconds
        for hook in self._hooks:
            hook.flush(max(0.0, end - time.monotonic()))

    def verdict(self) -> Verdict:
        """Of all that is firing: refuted before not checked before not complete."""
        if self.alerts.counting_as("refuted"):
            return Verdict.REFUTED
        if not self._checked or self.alerts.counting_as("not checked"):
            return Verdict.NOT_CHECKED
        return Verdict.NOT_COMPLETE if self.alerts.counting_as("missing") else Verdict.HOLDS

    def close(self, seconds: float = 2.0) -> None:
        """Stop telling, end the processes, let go of the files; what no webhook has taken is kept for next time."""
        for hook in self._hooks:
            hook.close(seconds)
        self._audited.close()


def _words(violation: Violation) -> str:
    return f"entry {violation.index}: {violation.detail} ({violation.kind}, {violation.rule})"


def _key(note: bytes) -> str:
    """Which tree a fork showed: the second and third line of its checkpoint."""
    return " ".join(note.decode("utf-8", "replace").split("\n")[1:3])


def _again(alert: Alert) -> Condition:
    return Condition(alert.kind, alert.key, alert.message, alert.since)
