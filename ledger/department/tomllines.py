"""On which line of a TOML file a member stands: `tomllib` does not say.

Only asked for when something is wrong with the member; a file is then read once more, statement by statement.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, Final

_LONGEST_STATEMENT: Final = 200
"""Lines; a longer one is passed over, and its members have no line."""


def line_of(data: bytes, path: str) -> int | None:
    """The line, counted from 1, of the member at a path as `strict_toml.Table` writes it (`activity.rule[0].code`).

    Of a member that is not there, the line of the table it should be in; None when that is not there either.
    """
    path, best, line = path.replace('"', ""), "", None
    for place, number in _members(data.decode("utf-8", "replace").splitlines()):
        place = place.replace('"', "")
        inside = path == place or path.startswith((f"{place}.", f"{place}[", f"{place}:"))
        if inside and len(place) >= len(best):
            if place == best and line is not None:
                continue
            best, line = place, number
    return line


def _members(lines: list[str]) -> Iterator[tuple[str, int]]:
    """Every member's path with its line."""
    table, arrays = "", dict[str, int]()
    at = 0
    while at < len(lines):
        text = lines[at].strip()
        if text.startswith("["):
            header = _parsed(text)
            if header is not None:
                table = _header(header, text.startswith("[["), arrays)
                yield table, at + 1
            at += 1
        elif not text or text.startswith("#"):
            at += 1
        else:
            statement, length = _statement(lines, at)
            if statement is not None:
                for place in _paths(statement, table):
                    yield place, at + 1
            at += length


def _statement(lines: list[str], at: int) -> tuple[dict[str, Any] | None, int]:
    """The statement that begins on a line, and how many lines it has."""
    for length in range(1, min(_LONGEST_STATEMENT, len(lines) - at) + 1):
        found = _parsed("\n".join(lines[at : at + length]))
        if found is not None:
            return found, length
    return None, 1


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


def _header(parsed: dict[str, Any], is_array: bool, arrays: dict[str, int]) -> str:
    """The path of a table from its header; `arrays` counts the tables of each array of tables."""
    path, value = "", parsed
    while isinstance(value, dict) and value:
        ((name, value),) = value.items()
        path = f"{path}.{name}" if path else name
        if isinstance(value, dict) and path in arrays:
            path = f"{path}[{arrays[path] - 1}]"
    if is_array:
        arrays[path] = arrays.get(path, 0) + 1
        path = f"{path}[{arrays[path] - 1}]"
    return path


def _paths(value: Any, path: str) -> Iterator[str]:
    for name, inner in value.items():
        place = f"{path}.{name}" if path else name
        yield place
        if isinstance(inner, dict):
            yield from _paths(inner, place)
