"""JSON as logs write it: numbers are kept as they were written, so that none is rounded on the way."""

from __future__ import annotations

import json
from typing import Any, Final

from ledger.core.errors import Malformed

MAX_DEPTH: Final = 64


class _Fault(Exception):
    """A fault found inside json's own parser."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Fault("a member stands twice in one object")
    return found


def _constant(text: str) -> Any:
    raise _Fault(f"{text} is no number here")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_constant
)


def parse_loose(data: bytes) -> Any:
    """The value of one JSON text (RFC 8259), its numbers as texts.

    Raises Malformed when it is not UTF-8 or not JSON, has a member twice, half a surrogate pair, or more than 64
    levels.  The message holds no content.
    """
    try:
        text = data.decode("utf-8")
        value = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise Malformed("", "not UTF-8") from None
    except _Fault as fault:
        raise Malformed("", str(fault)) from None
    except json.JSONDecodeError as error:
        raise Malformed("", f"not JSON at character {error.pos + 1}") from None
    except RecursionError:
        raise Malformed("", "nested too deep") from None
    if _depth(value) > MAX_DEPTH:
        raise Malformed("", f"nested more than {MAX_DEPTH} deep")
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise Malformed("", "half a surrogate pair, which is no character") from None
    return value


def _depth(value: Any) -> int:
    """Levels of arrays and objects, counted without recursion and no further than needed."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        depth += any(isinstance(item, dict | list) for item in level)
        level = below
    return depth
