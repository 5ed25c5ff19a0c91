"""`glassbook-verify stats`: what a log counts, from entries that were proven under a checkpoint and audited.

The audit that is kept is taken on to the newest checkpoint first, unless `--audited` says to count what is audited
already. Either way the result names the size that the numbers are of and the checkpoint that they stand under.
"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ledger.client.publiclog import PublicLog
from ledger.client.view import View
from ledger.core.encoding import b64encode, format_date
from ledger.core.errors import Refuted, RuleBroken
from ledger.core.policy import Policy
from ledger.core.replay import Replay
from ledger.files import FileRefused
from verifier_cli.auditfile import AuditFile
from verifier_cli.auditing import Advanced, advance
from verifier_cli.auditprogress import AuditProgress
from verifier_cli.consistency import check_audited
from verifier_cli.logfacts import log_facts, log_line
from verifier_cli.outcome import Line, Outcome, Table, Verdict, write_refutation
from verifier_cli.statsrows import COLUMNS, Row, Wish, rows

CSV_COLUMNS = ("origin", "size", "root", "by", *COLUMNS)
"""Of every CSV file, whatever its rows stand for; what a row cannot say is empty."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_HEADINGS = {
    "period": "when", "department": "department", "system": "system", "source": "source", "activity": "activity",
    "activity_text": "what for", "opens": "opens in", "records": "records", "open": "open", "sealed": "sealed",
    "late": "late", "suspect": "suspect", "silent_days": "silent days",
}  # fmt: skip
_NUMBERS = ("source", "activity", "records", "open", "sealed", "late", "suspect", "silent_days")
_SHOWN = {
    "source": (
        "source",
        "department",
        "system",
        "records",
        "open",
        "sealed",
        "late",
        "suspect",
        "silent_days",
    ),
    "day": ("period", "source", "department", "records", "open", "sealed", "late", "suspect", "silent_days"),
    "month": (
        "period",
        "source",
        "department",
        "records",
        "open",
        "sealed",
        "late",
        "suspect",
        "silent_days",
    ),
    "activity": ("source", "department", "activity", "activity_text", "records"),
    "seal": ("opens", "source", "department", "records"),
}
LIMITS = (
    "Counted is what departments recorded. Whether an access was never recorded, no log can show; a silent day is one"
    " for which a department has not said how many records it has."
)


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts of the first `replay.size` entries, read under `view`."""

    view: View
    replay: Replay
    wish: Wish
    by_clock: bool

    @property
    def whole(self) -> bool:
        """Whether all entries of the view are audited: silence can be told of nothing less."""
        return self.replay.size == self.view.size

    def rows(self, by: str | None = None) -> list[Row]:
        """The table asked for, or the same of another kind."""
        wish = self.wish
        if by is not None:
            wish = Wish(by, wish.sources, wish.first, wish.last, wish.lang)
        return rows(self.replay.counts, self.replay.register, self.replay.newest, wish, silence=self.whole)


def stats_command(
    log: PublicLog,
    policy: Policy,
    now: int,
    audit: Path,
    wish: Wish,
    *,
    jobs: int,
    audited_only: bool,
    as_csv: bool,
    progress: AuditProgress,
) -> Outcome:
    """Count. Raises `Unreachable`, `QuorumNotMet`, and `Fork` when the log does not begin with what was audited."""
    view = View.open(log, policy, now)
    newest = view.opened.newest
    with told_by_name(audit), closing(AuditFile.open(audit)) as file:
        replay = file.load(policy.origin, now if newest is None else newest, view.size)
        replay.newest = now if newest is None else newest
        if replay.size > view.size:
            what = (
                f"{audit} holds an audit up to size {replay.size}, and the log shows only {view.size} entries:"
                " an older copy, or a log that went back (`glassbook-verify consistency` tells); nothing was counted"
            )
            return Outcome("stats", Verdict.NOT_CHECKED, what)
        check_audited(view, replay)
        if not audited_only:
            advanced = advance(
                log, replay, view.opened.checkpoint, jobs=jobs, save=file.save,
                progress=progress,
            )  # fmt: skip
            if advanced.summary is None or advanced.of_copy:
                return _false_copy(view, advanced)
            if replay.register.has_charter:
                view.check_charter_keys(replay.register.charter)
        counted = Counted(view, replay, wish, newest is None)
        return _outcome(counted, as_csv)


@contextmanager
def told_by_name(audit: Path) -> Iterator[None]:
    """What SQLite says of the audit file, as `FileRefused`: a full disk, or another program at work with it."""
    try:
        yield
    except sqlite3.Error as error:
        raise FileRefused(f"{audit}: {error}; look at its disk, or name another file with --audit") from None


def _false_copy(view: View, advanced: Advanced) -> Outcome:
    first = advanced.of_copy[0] if advanced.of_copy else None
    what = "the files read are not those of the log that was signed, so nothing was counted"
    if first is not None:
        what += f"; the first at entry {first.index}: {first.detail}"
    violations = [asdict(violation) for violation in advanced.of_copy]
    error = RuleBroken(f"log {view.log.where}", what, checkpoint=view.note, violations=violations)
    return Outcome("stats", Verdict.REFUTED, what, evidence_file=write_refutation("stats", error))


def _outcome(counted: Counted, as_csv: bool) -> Outcome:
    found = counted.rows()
    replay, view = counted.replay, counted.view
    size = f"{replay.size} entries" if counted.whole else f"the first {replay.size} of {view.size} entries"
    if not replay.size:
        return Outcome(
            "stats",
            Verdict.NOT_CHECKED,
            "nothing of this log is audited yet; leave --audited out, or run audit",
        )
    message = f"counted from {size}, all of them audited under the checkpoint of size {view.size}"
    verdict, evidence = Verdict.HOLDS, None
    if replay.violations:
        count = len(replay.violations)
        first = replay.violations[0]
        verdict = Verdict.REFUTED
        message = (
            f"{message}; {count} violation{'s' * (count != 1)} among them, the first at entry {first.index}:"
            f" {first.detail}"
        )
        evidence = _evidence(counted, message)
    lines = [log_line(view)]
    if not counted.whole:
        lines.append(Line("Silent days are not shown: what is not audited yet may cover them.", "warn"))
    if counted.by_clock:
        lines.append(Line("No witness states a time, so this computer's clock was taken for it.", "warn"))
    return Outcome(
        "stats", verdict, message, _result(counted, found), lines, evidence,
        tables=_tables(counted, found), closing_lines=[Line(LIMITS, "quiet"), Line()],
        csv=csv_text(counted, found) if as_csv else None,
    )  # fmt: skip


def _evidence(counted: Counted, message: str) -> str | None:
    violations = [asdict(violation) for violation in counted.replay.violations]
    error: Refuted = RuleBroken(
        f"log {counted.view.opened.checkpoint.origin}", message, checkpoint=counted.view.note,
        violations=violations,
    )  # fmt: skip
    return write_refutation("stats", error)


def _result(counted: Counted, found: list[Row]) -> dict[str, Any]:
    """The `result` of the JSON; members are only ever added."""
    wish = counted.wish
    return {
        "log": log_facts(counted.view),
        "audited": {"size": counted.replay.size, "root": b64encode(counted.replay.frontier.root())},
        "by": wish.by,
        "from": None if wish.first is None else format_date(wish.first),
        "to": None if wish.last is None else format_date(wish.last),
        "rows": [asdict(row) for row in found],
        "totals": _totals(counted),
        "sealed": [
            {"source": row.source, "opens": row.opens, "records": row.records} for row in counted.rows("seal")
        ],
        "violations": len(counted.replay.violations),
    }


def _totals(counted: Counted) -> dict[str, int | None]:
    totals: dict[str, int | None] = {}
    by_source = counted.rows("source")
    for column in ("records", "open", "sealed", "late", "suspect", "silent_days"):
        values = [getattr(row, column) for row in by_source]
        totals[column] = None if column == "silent_days" and not counted.whole else sum(values)
    return totals


def _tables(counted: Counted, found: list[Row]) -> list[Table]:
    tables = [_table("", counted.wish.by, found)]
    if counted.wish.by != "seal":
        sealed = counted.rows("seal")
        if sealed:
            tables.append(_table("Sealed records, by the month in which they open", "seal", sealed))
    return tables


def _table(title: str, by: str, found: list[Row]) -> Table:
    columns = _SHOWN[by]
    return Table(
        title,
        tuple(_HEADINGS[column] for column in columns),
        [tuple(_cell(row, column) for column in columns) for row in found],
        frozenset(place for place, column in enumerate(columns) if column in _NUMBERS),
    )


def _cell(row: Row, column: str) -> str:
    if column == "activity_text" and row.activity == 0:
        return "(sealed: not shown)"
    value = getattr(row, column)
    return "" if value is None else str(value)


def csv_text(counted: Counted, found: list[Row]) -> str:
    """One CSV file (RFC 4180, but for lines that end in LF) with a header; see `CSV_COLUMNS`.

    Names are registrar's text: one that a spreadsheet would run as a formula begins with an apostrophe here.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    replay = counted.replay
    head = (replay.origin, replay.size, b64encode(replay.frontier.root()), counted.wish.by)
    for row in found:
        values = (*head, *(getattr(row, column) for column in COLUMNS))
        writer.writerow(["" if value is None else _harmless(value) for value in values])
    return out.getvalue()


def _harmless(value: object) -> object:
    if isinstance(value, str) and value.lstrip().startswith(_FORMULA):
        return f"'{value}"
    return value
