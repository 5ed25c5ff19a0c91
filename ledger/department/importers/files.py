"""One file from its path to its outcomes, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ledger.department.access import Fate, Outcome
from ledger.department.importers.source import Source

T = TypeVar("T")


def read_path(path: Path, read: Callable[[Source], Iterator[T]]) -> Iterator[T | Outcome]:
    """Every event that `read` finds in a file, in order; a file that cannot be read is one rejected event."""
    try:
        with Source(path) as source:
            yield from read(source)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or 'input/output error'}"
        yield Outcome(str(path), "$", Fate.REJECTED, reason, unread=True)
