"""A mapping file from the disk, for one format: read, checked, and every fault with its line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ledger.core.errors import Malformed
from ledger.department.importers.formats import Format
from ledger.department.mapcheck import check_mapping
from ledger.department.registration import Registration
from ledger.department.settings import CannotGoOn
from ledger.department.strict_toml import LIMIT
from ledger.department.tomllines import line_of
from ledger.files import FileRefused, read_limited


class MapFile:
    """The mapping for an import.  Raises CannotGoOn when there has to be a file and is none, Malformed for faults."""

    def __init__(self, format_: Format, path: Path | None) -> None:
        self._data, self._name = b"", ""
        if path is None:
            if format_.default is None:
                raise CannotGoOn(
                    format_.name,
                    "needs a mapping file, which says what its values mean: write one (docs/mapping.md) and name it "
                    "with --map",
                )
            self.mapping: Any = format_.default()
            return
        self._data, self._name = _read(path), str(path)
        self.mapping = self._with_line(lambda: format_.read_mapping(self._data, self._name))

    def check(self, registration: Registration) -> None:
        """Malformed when the mapping does not fit what is registered."""
        self._with_line(lambda: check_mapping(self.mapping, registration))

    def _with_line(self, act: Callable[[], Any]) -> Any:
        with _lines(self._data, self._name):
            return act()


@contextmanager
def _lines(data: bytes, name: str) -> Iterator[None]:
    """Put the line into the errors about a file's members."""
    try:
        yield
    except Malformed as error:
        prefix = f"{name}: "
        path = error.where.removeprefix(prefix)
        line = line_of(data, path) if name and path != error.where else None
        if line is None:
            raise
        raise Malformed(f"{name}: line {line}: {path}", error.what) from None


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise CannotGoOn(str(path), "not there; name the mapping file with --map")
    try:
        return read_limited(path, LIMIT)
    except FileRefused as error:
        raise Malformed(str(path), str(error)) from None
    except OSError as error:
        raise CannotGoOn(os.fspath(path), f"cannot be read: {error.strerror}") from None
