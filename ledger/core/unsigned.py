"""JSON whose other members do not matter: our own files that nobody signs (docs/formats.md §6), and claims.

Members that are not known are ignored, as whoever passes such a file on may add to it; the known ones are read as
strictly as signed ones.
"""

import json
from typing import Any

from ledger.core.encoding import b64decode
from ledger.core.errors import Malformed


def member(value: Any, name: str, where: str) -> Any:
    """`value[name]`; Malformed when `value` is no JSON object or lacks that member."""
    if not isinstance(value, dict):
        raise Malformed(where, "not a JSON object")
    if name not in value:
        raise Malformed(where, f"no member {name}")
    return value[name]


def text_member(value: Any, name: str, where: str) -> str:
    """As `member`, of one that is a text."""
    found = member(value, name, where)
    if not isinstance(found, str):
        raise Malformed(f"{where} {name}", "is not a text")
    return found


def base64_member(value: Any, name: str, where: str) -> bytes:
    """As `member`, of one that is canonical base64 with padding (RFC 4648 §4)."""
    return b64decode(text_member(value, name, where), f"{where} {name}")


def format_file(value: dict[str, Any]) -> bytes:
    """A JSON object as a file: indented by two, UTF-8, ending in a newline."""
    return (json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode("utf-8")
