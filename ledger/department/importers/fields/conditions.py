"""Which events a rule of the mapping is for.

where = { screen = ["A12", "A13"], "user.type" = "staff" }     each of them must hold
where = { statement = { find = '(?i)from patient' } }          an expression that holds somewhere in it
where = { client = { filled = false } }                        nothing stands there
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ledger.department.importers.fields.paths import Path, Record
from ledger.department.importers.fields.values import Lookups, cut, expression
from ledger.department.strict_toml import Table, kind_of


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a `where`: one of the values, an expression, or whether anything stands there."""

    path: Path
    values: frozenset[str]
    find: re.Pattern[str] | None
    filled: bool | None

    def holds(self, record: Record) -> bool:
        texts = self.path.find(record)
        if self.filled is not None:
            return bool(texts) is self.filled
        if self.find is not None:
            return any(cut(self.find, "{0}x", text, self.path.text) for text in texts)
        return not self.values.isdisjoint(texts)


Where = tuple[Condition, ...]


def holds(where: Where, record: Record) -> bool:
    """Whether every condition holds; none at all always does."""
    return all(condition.holds(record) for condition in where)


def read_where(table: Table, lookups: Lookups, required: bool) -> Where:
    """The member `where` of a rule."""
    lines = table.table("where")
    conditions = tuple(_condition(lines, name, lookups) for name in lines.names())
    if required and not conditions:
        raise table.wrong("where", "missing or empty; a rule says which events it is for")
    return conditions


def _condition(lines: Table, name: str, lookups: Lookups) -> Condition:
    path = lookups.path(lines, name, name)
    written = lines.any(name)
    if isinstance(written, str):
        return Condition(path, frozenset({written}), None, None)
    if isinstance(written, list):
        again = Table({name: written}, *lines.place)
        values = frozenset(again.texts(name))
        if not values:
            raise lines.wrong(name, "is an empty list; no event would ever have one of these")
        return Condition(path, values, None, None)
    if isinstance(written, bool | int):
        text = ("true" if written else "false") if isinstance(written, bool) else str(written)
        return Condition(path, frozenset({text}), None, None)
    if not isinstance(written, dict):
        raise lines.wrong(name, f"is {kind_of(written)}, must be a text, a list of texts or a table")
    below = lines.below(name, written)
    find = expression(below, "find")
    filled = below.flag("filled", False) if "filled" in below else None
    if (find is None) == (filled is None):
        raise lines.wrong(name, "needs `find` or `filled`; a path with dots in it stands in quotation marks")
    below.finish()
    return Condition(path, frozenset(), find, filled)
