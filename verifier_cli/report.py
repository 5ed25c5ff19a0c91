"""Text on the terminal: results on stdout, progress and errors on stderr, colour only on a terminal."""

import os
import sys
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from verifier_cli.outcome import Line, Outcome, Table, Verdict

STYLES = {
    "": "",
    "heading": "bold",
    "source": "bold cyan",
    "quiet": "dim",
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
}
_OF_VERDICT = {
    Verdict.HOLDS: ("good", "HOLDS"),
    Verdict.REFUTED: ("bad", "REFUTED"),
    Verdict.NOT_COMPLETE: ("warn", "NOT COMPLETE"),
    Verdict.UNDECIDED: ("warn", "UNDECIDED"),
    Verdict.NOT_CHECKED: ("warn", "COULD NOT CHECK"),
}


class _Console(Console):
    """Leaves a reader that hung up to the caller: rich would end the program with 1, which means refuted here."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console(error: bool = False) -> Console:
    """A console that neither interprets markup in what it prints nor guesses at colours in a pipe."""
    stream = sys.stderr if error else sys.stdout
    # NO_COLOR (no-color.org) is honoured by rich itself; FORCE_COLOR is not: colour only on a terminal.
    terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    return _Console(
        file=stream,
        markup=False,
        highlight=False,
        emoji=False,
        force_terminal=terminal,
        no_color=not terminal or None,
    )


def print_lines(out: Console, lines: Iterable[Line]) -> None:
    """Lines with their style and indentation; wrapped on a terminal, one line each in a pipe or file."""
    for line in lines:
        text = Text(line.text, style=STYLES[line.style])
        if out.is_terminal:
            out.print(Padding(text, (0, 0, 0, line.indent)))
        else:
            out.print(Text(" " * line.indent) + text, soft_wrap=True)


def print_table(out: Console, table: Table) -> None:
    """A table drawn on a terminal; columns apart by two spaces in a pipe or file."""
    if table.title:
        print_lines(out, [Line(), Line(table.title, "heading")])
    if out.is_terminal:
        drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False)
        for place, heading in enumerate(table.columns):
            drawn.add_column(Text(heading), justify="right" if place in table.numbers else "left")
        for row in table.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        out.print(drawn)
        return
    grid = [table.columns, *table.rows]
    widths = [max(cell_len(row[place]) for row in grid) for place in range(len(table.columns))]
    for row in grid:
        cells = []
        for place, cell in enumerate(row):
            gap = " " * (widths[place] - cell_len(cell))
            cells.append(gap + cell if place in table.numbers else cell + gap)
        print_lines(out, [Line("  ".join(cells).rstrip())])


def show(outcome: Outcome, as_json: bool) -> None:
    """Print what a command found: JSON, or CSV and all else on stderr, or text that ends in the verdict."""
    if as_json:
        sys.stdout.write(outcome.as_json() + "\n")
        sys.stdout.flush()
        return
    if outcome.csv is not None:
        sys.stdout.write(outcome.csv)
        sys.stdout.flush()
    out = console(error=outcome.csv is not None)
    print_lines(out, outcome.lines)
    if outcome.csv is None:
        for table in outcome.tables:
            print_table(out, table)
    print_lines(out, outcome.closing_lines)
    style, word = _OF_VERDICT[outcome.verdict]
    if outcome.command == "show" and outcome.verdict is Verdict.HOLDS:
        word = "SHOWN"  # what an entry says was not held against any rule
    lines = [Line(f"{word}: {outcome.told}", style)]
    # A verdict that is not the good one also shows where output is redirected.
    good = outcome.verdict is Verdict.HOLDS
    print_lines(out if good else console(error=True), lines)


def warn(text: str) -> None:
    """Say at once, on stderr, what is not good and does not end the command."""
    print_lines(console(error=True), [Line(text, "warn")])


class Progress:
    """A bar on stderr while something long runs; nothing when stderr is no terminal or JSON is asked for."""

    def __init__(self, quiet: bool = False) -> None:
        self._bar = ProgressBar(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console(error=True),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def step(self, description: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        if self._task is None:
            self._task = self._bar.add_task(description, total=total)
        self._bar.update(self._task, description=description, completed=done, total=total)

    def reading(self, done: int, total: int) -> None:
        """The `progress` of `open_log`: entries of a folder read into the index."""
        self.step("reading entries", done, total)
