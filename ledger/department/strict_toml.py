"""Configuration and mapping files in TOML, read so that a slip of the pen is an error and not a silence.

Every member is taken by name and type; what nobody took is unknown, and refused.  Every refusal is a
`Malformed` whose `where` is the file and the member (`map.toml: activity.rule[2].action`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from ledger.core.errors import Malformed

LIMIT = 4 << 20
"""Bytes a TOML file may have: 4 MiB hold some fifty thousand exact references."""

_KINDS: dict[type, str] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    float: "a number with a fraction",
    list: "a list",
    dict: "a table",
}


def kind_of(value: object) -> str:
    """What a TOML value is, in words: `a string`, `a table`, `a date or time`."""
    return _KINDS.get(type(value), "a date or time")


def parse_toml(data: bytes, where: str) -> Table:
    """The top table of a TOML 1.0 document of at most 4 MiB.

    Raises Malformed when it is too long, not UTF-8 or not TOML (a key given twice included).
    """
    if len(data) > LIMIT:
        raise Malformed(where, f"longer than {LIMIT} bytes; this is not the file meant")
    try:
        members = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(where, f"not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise Malformed(where, f"not TOML: {error}") from None
    except RecursionError:
        raise Malformed(where, "nested too deep") from None
    return Table(members, where, "")


class Table:
    """One TOML table whose members are taken one by one; `finish` refuses those left over."""

    def __init__(self, members: dict[str, Any], file: str, path: str) -> None:
        self._members = dict(members)
        self._file = file
        self._path = path

    @property
    def where(self) -> str:
        return f"{self._file}: {self._path}" if self._path else self._file

    def _at(self, name: str) -> str:
        return f"{self._file}: {self._path}.{name}" if self._path else f"{self._file}: {name}"

    def wrong(self, name: str, what: str) -> Malformed:
        """The error to raise about one member."""
        return Malformed(self._at(name), what)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def _take(self, name: str, kind: type, required: bool) -> Any:
        if name not in self._members:
            if required:
                raise self.wrong(name, "missing; it must be given")
            return None
        value = self._members.pop(name)
        if type(value) is not kind:
            raise self.wrong(name, f"is {kind_of(value)}, must be {_KINDS[kind]}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A string that is not empty; without a default the member is required."""
        value = self._take(name, str, default is None)
        if value is None:
            return default or ""
        if not value:
            raise self.wrong(name, "is empty")
        return str(value)

    def texts(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of strings, none of them empty."""
        value = self._take(name, list, default is None)
        if value is None:
            return default or ()
        for i, item in enumerate(value):
            if type(item) is not str:
                raise self.wrong(f"{name}[{i}]", f"is {kind_of(item)}, must be a string")
            if not item:
                raise self.wrong(f"{name}[{i}]", "is empty")
        return tuple(value)

    def integer(self, name: str, lowest: int, highest: int, default: int | None = None) -> int | None:
        """An integer between the bounds, both included; None when it is absent and has no default."""
        value = self._take(name, int, False)
        if value is None:
            return default
        if not lowest <= value <= highest:
            raise self.wrong(name, f"must be from {lowest} to {highest}")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self._take(name, bool, False)
        return default if value is None else bool(value)

    def any(self, name: str) -> Any:
        """A member of any type, for the caller to check; None when it is absent."""
        return self._members.pop(name, None)

    def below(self, name: str, members: dict[str, Any]) -> Table:
        """A table that the caller found as the value of a member."""
        return Table(members, self._file, f"{self._path}.{name}" if self._path else name)

    @property
    def place(self) -> tuple[str, str]:
        """The file and the path in it, to make another table at the same place."""
        return self._file, self._path

    def table(self, name: str) -> Table:
        """A table below; an empty one when it is absent."""
        value = self._take(name, dict, False)
        return Table(value or {}, self._file, f"{self._path}.{name}" if self._path else name)

    def tables(self, name: str) -> list[Table]:
        """The tables of an array of tables, none when it is absent."""
        value = self._take(name, list, False) or []
        below = f"{self._path}.{name}" if self._path else name
        for i, item in enumerate(value):
            if type(item) is not dict:
                raise self.wrong(f"{name}[{i}]", f"is {kind_of(item)}, must be a table")
        return [Table(item, self._file, f"{below}[{i}]") for i, item in enumerate(value)]

    def names(self) -> Iterator[str]:
        """The members not yet taken: for tables whose names the writer chooses."""
        return iter(tuple(self._members))

    def finish(self) -> None:
        """Refuse every member that nobody took."""
        for name in self._members:
            raise self.wrong(name, "unknown; remove it or correct its name")
