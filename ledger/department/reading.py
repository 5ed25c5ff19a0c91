"""Log files one after the other, with progress on a terminal: what `import` and `reconcile` read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from ledger.department.access import Outcome
from ledger.department.importers.files import read_path
from ledger.department.importers.formats import Format
from ledger.department.importers.source import Source

T = TypeVar("T")


def inspect_files(files: Sequence[Path], format_: Format, mapping: Any) -> None:
    """Malformed when the mapping is not for these files.  One that cannot be read is told when its turn comes.

    A pipe can be read once only: whether it fits is found while it is read.
    """
    for path in files:
        try:
            if path.is_file():
                with Source(path) as source:
                    format_.inspect(source, mapping)
        except OSError:
            pass


def read_files(
    files: Sequence[Path], read: Callable[[Source], Iterator[T]], stack: ExitStack
) -> Iterator[T | Outcome]:
    """All that `read` finds in all files; one that cannot be read is one rejected event."""
    sizes = [_size(path) for path in files]
    show = _progress(sum(sizes), stack) if sys.stderr.isatty() else None
    events, before = 0, 0
    for path, size in zip(files, sizes, strict=True):
        opened: list[Source] = []

        def read_one(source: Source, opened: list[Source] = opened) -> Iterator[T]:
            opened.append(source)
            return read(source)

        for found in read_path(path, read_one):
            events += 1
            yield found
            if show is not None and events % 100 == 0:
                show(before + (opened[0].taken if opened else 0), events)
        before += size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _progress(size: int, stack: ExitStack) -> Callable[[int, int], None]:
    """A bar on standard error; what it returns moves it to so many bytes and events."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("Reading"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[events]} events"),
        TimeRemainingColumn(),
    )
    progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = progress.add_task("Reading", total=size, events=0)
    return lambda done, events: progress.update(task, completed=done, events=events)
