"""Where a value stands in an event.

    when                                    a member, or a column of a CSV file
    user.name                               a member of a member
    items[0].id, items[*].id                the first item's, every item's
    attributes."dpl.core.data_subject_id"   a name with dots in it, in quotation marks

In CSV files nothing lies inside anything: there a path is the column's name, whatever characters it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.core.errors import Malformed

Record = Mapping[str, Any]
"""One event: names and values as JSON has them."""

_STEP: Final = re.compile(r'(?:^|\.)(?:"([^"]+)"|([^."\[\]\s][^."\[\]]*))|\[(?:([0-9]{1,6})|(\*))\]')
_KINDS: Final = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Path:
    """A way to a value; a step is a name, a position counted from 0, or None for every item."""

    text: str
    steps: tuple[str | int | None, ...]

    def find(self, record: Record) -> tuple[str, ...]:
        """The values there as texts without white space around them; empty ones and null are left out.

        Raises Malformed (`where` is the path) when what stands there is of another shape than the path says.
        """
        return tuple(text for value in self._walk(record, 0) if (text := self._text(value)))

    def _walk(self, value: Any, place: int) -> Iterator[Any]:
        for number in range(place, len(self.steps)):
            step = self.steps[number]
            if value is None:
                return
            if isinstance(step, str):
                if not isinstance(value, Mapping):
                    raise Malformed(self.text, f"is {_kind(value)} where the mapping looks inside an object")
                value = value.get(step)
            else:
                if not isinstance(value, list):
                    raise Malformed(self.text, f"is {_kind(value)} where the mapping looks inside a list")
                if step is None:
                    for item in value:
                        yield from self._walk(item, number + 1)
                    return
                value = value[step] if step < len(value) else None
        if isinstance(value, list):
            yield from value
        else:
            yield value

    def _text(self, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        raise Malformed(self.text, f"is {_kind(value)} where one value is due")


def _kind(value: object) -> str:
    return next((words for kind, words in _KINDS.items() if isinstance(value, kind)), "a number")


def parse_path(text: str, flat: bool) -> Path:
    """A path as the mapping writes it; `flat`: the whole is one column's name.  ValueError when it is none."""
    if flat:
        return Path(text, (text,))
    steps: list[str | int | None] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (at == 0 and found.group().startswith(".")):
            raise ValueError(f"no path: not understood from character {at + 1} on")
        quoted, plain, index, star = found.groups()
        steps.append(None if star else int(index) if index else quoted or plain)
        at = found.end()
    if not steps or not isinstance(steps[0], str):
        raise ValueError("no path: begins with a name")
    return Path(text, tuple(steps))
