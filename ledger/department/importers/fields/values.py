"""What the mapping makes of a value: taken from a place, cut out, looked up, or always the same.

id = "user.login"                                        the value there
id = { field = ["user.login", "user.id"] }               the first of these that is filled
unit = { const = "Ward 7" }                              the same for every event
role = { field = "grp", values = { "10" = "doctor" } }   looked up; without `default` others are refused
case = { field = "text", find = 'case ([0-9]+)' }        cut out of it: the first group, or `becomes`
ids = { field = "clients", split = ";" }                 several in one text
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger.core.errors import Malformed
from ledger.department.importers.fields.paths import Path, Record, parse_path
from ledger.department.strict_toml import Table, kind_of

LONGEST: Final = 1 << 16
"""Characters of a text that expressions are tried on; longer ones are refused."""

PLACEHOLDER: Final = re.compile(r"\{([0-9]{1,2})\}")


@dataclass(frozen=True, slots=True)
class Value:
    """How one member of a record comes out of an event."""

    paths: tuple[Path, ...] = ()
    constant: str = ""
    split: str = ""
    find: re.Pattern[str] | None = None
    becomes: str = ""
    values: Mapping[str, str] | None = None
    default: str = ""

    def texts(self, record: Record) -> tuple[str, ...]:
        """What comes out, empty texts left out; Malformed for a value that `values` does not have."""
        if self.constant:
            return (self.constant,)
        for path in self.paths:
            found = self._made(path, path.find(record))
            if found:
                return found
        return (self.default,) if self.default else ()

    def text(self, record: Record) -> str:
        """The first of them, empty when there is none."""
        return next(iter(self.texts(record)), "")

    def _made(self, path: Path, texts: tuple[str, ...]) -> tuple[str, ...]:
        if self.split:
            texts = tuple(part.strip() for text in texts for part in text.split(self.split))
        if self.find is not None:
            texts = tuple(cut(self.find, self.becomes, text, path.text) for text in texts)
        texts = tuple(filter(None, texts))
        if self.values is None:
            return texts
        return tuple(self._looked_up(path, text) for text in texts)

    def _looked_up(self, path: Path, text: str) -> str:
        assert self.values is not None
        found = self.values.get(text, self.default)
        if not found:
            raise Malformed(
                path.text, "holds a value that `values` does not have; add it there, or give a `default`"
            )
        return found

    @property
    def outcomes(self) -> tuple[str, ...]:
        """All that can come out, when that is known before any event is read; empty when it is not."""
        if self.constant:
            return (self.constant,)
        if self.values is None:
            return ()
        return tuple({*self.values.values(), *([self.default] if self.default else [])})


def cut(pattern: re.Pattern[str], becomes: str, text: str, where: str) -> str:
    """What `becomes` makes of the first place where the pattern holds; empty when it holds nowhere."""
    if len(text) > LONGEST:
        raise Malformed(where, f"is longer than {LONGEST} characters; no expression is tried on it")
    found = pattern.search(text)
    if found is None:
        return ""
    return PLACEHOLDER.sub(lambda slot: found.group(int(slot.group(1))) or "", becomes)


class Lookups:
    """The tables under `[lookup]`, which `values` may name, and whether paths are columns."""

    def __init__(self, table: Table | None = None, flat: bool = False) -> None:
        self.flat = flat
        self.used: set[str] = set()
        self._tables: dict[str, dict[str, str]] = {}
        for name in table.names() if table else ():
            assert table is not None
            lines = table.table(name)
            self._tables[name] = {key: lines.text(key) for key in lines.names()}

    def value(self, table: Table, name: str) -> Value | None:
        """The value expression under a member; None when it is absent."""
        written = table.any(name)
        if written is None:
            return None
        if isinstance(written, str):
            return Value(paths=(self.path(table, name, written),))
        if not isinstance(written, dict):
            raise table.wrong(name, f"is {kind_of(written)}, must be a path or a table")
        return self.expression(table.below(name, written))

    def values(self, table: Table, name: str) -> tuple[Value, ...]:
        """One value expression, or a list of them."""
        written = table.any(name)
        if not isinstance(written, list):
            again = Table({name: written} if written is not None else {}, *table.place)
            found = self.value(again, name)
            return () if found is None else (found,)
        parts = []
        for i, item in enumerate(written):
            part = self.value(Table({f"{name}[{i}]": item}, *table.place), f"{name}[{i}]")
            assert part is not None
            parts.append(part)
        return tuple(parts)

    def path(self, table: Table, name: str, text: str) -> Path:
        if not text:
            raise table.wrong(name, "is empty")
        try:
            self.used.add(text)
            return parse_path(text, self.flat)
        except ValueError as error:
            raise table.wrong(name, str(error)) from None

    def expression(self, table: Table) -> Value:
        constant, default = table.text("const", ""), table.text("default", "")
        paths = self._paths(table)
        split, becomes, find = table.text("split", ""), table.text("becomes", ""), expression(table, "find")
        values = self._values(table)
        table.finish()
        if bool(constant) == bool(paths):
            raise Malformed(table.where, "needs either `field` or `const`")
        if constant and (split or find or becomes or values is not None or default):
            raise Malformed(table.where, "is always the same by `const`; nothing else can be done to it")
        if becomes and find is None:
            raise table.wrong("becomes", "needs `find`: it says what becomes of what was found")
        if find is not None:
            becomes = becomes or ("{1}" if find.groups else "{0}")
            check_becomes(table, "becomes", becomes, find)
        return Value(paths, constant, split, find, becomes, values, default)

    def _paths(self, table: Table) -> tuple[Path, ...]:
        written = table.any("field")
        if written is None:
            return ()
        names = [written] if isinstance(written, str) else written
        if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
            raise table.wrong("field", "must be a path, or a list of paths of which the first filled counts")
        return tuple(self.path(table, "field", name) for name in names)

    def _values(self, table: Table) -> Mapping[str, str] | None:
        written = table.any("values")
        if written is None:
            return None
        if isinstance(written, str):
            if written not in self._tables:
                raise table.wrong("values", f"names [lookup.{written}], which is not there; write that table")
            return self._tables[written]
        if not isinstance(written, dict):
            raise table.wrong(
                "values", f"is {kind_of(written)}, must be a table or the name of a [lookup] table"
            )
        lines = table.below("values", written)
        return {key: lines.text(key) for key in lines.names()}


def expression(table: Table, name: str) -> re.Pattern[str] | None:
    """A regular expression; None when it is absent."""
    if name not in table:
        return None
    try:
        return re.compile(table.text(name))
    except (re.error, OverflowError, RecursionError) as error:
        raise table.wrong(name, f"not a regular expression: {error}") from None


def check_becomes(table: Table, name: str, becomes: str, pattern: re.Pattern[str]) -> None:
    """Malformed when a text names a group that the expression does not have."""
    rest = PLACEHOLDER.sub("", becomes)
    if "{" in rest or "}" in rest:
        raise table.wrong(name, "braces hold the number of a group, as in id:{1}, and nothing else")
    for slot in PLACEHOLDER.finditer(becomes):
        if int(slot.group(1)) > pattern.groups:
            raise table.wrong(name, f"names group {slot.group(1)}, and the expression has {pattern.groups}")
