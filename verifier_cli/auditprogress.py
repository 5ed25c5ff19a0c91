"""How far an audit is: a bar with rate and time left on a terminal, else a line now and then for a large log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from verifier_cli.report import console

LARGE = 100_000
"""Entries to audit from which on lines are printed where there is no terminal."""
EVERY_S = 5.0


class AuditProgress:
    """Call it with the entries audited and all there are. `quiet` (with --json): only the bar on a terminal."""

    def __init__(
        self,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        out: TextIO | None = None,
    ) -> None:
        self._out = sys.stderr if out is None else out
        self._clock = clock
        self._lines = not quiet and not self._out.isatty()
        self._bar = Progress(
            TextColumn("auditing"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            console=console(error=True),
            transient=True,
            disable=not self._out.isatty(),
        )
        self._task: TaskID | None = None
        self._start: tuple[float, int] | None = None
        self._told_at = 0.0

    def __enter__(self) -> AuditProgress:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        now = self._clock()
        if self._start is None:
            # The rate is of this run alone: what an earlier one did took no time now.
            self._start = (now, done)
            self._told_at = now
        told = self._words(now, done, total)
        if self._task is None:
            self._task = self._bar.add_task("auditing", total=total, told=told)
        self._bar.update(self._task, completed=done, total=total, told=told)
        large = total - self._start[1] >= LARGE
        if self._lines and large and (now - self._told_at >= EVERY_S):
            self._told_at = now
            percent = 100 * done // max(1, total)
            print(f"auditing: {percent} % done, {told}", file=self._out, flush=True)

    def _words(self, now: float, done: int, total: int) -> str:
        assert self._start is not None
        seconds, entries = now - self._start[0], done - self._start[1]
        count = f"{done:,} of {total:,} entries"
        if seconds <= 0 or entries <= 0:
            return count
        rate = entries / seconds
        return f"{count}, {rate:,.0f} a second, {_span((total - done) / rate)} left"


def _span(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
