"""CHARTER.toml: what an operator decides about a log before it begins, and never again.

    merge_delay_s = 86400                  # an accepted entry is published within this many seconds
    claims = ["subject", "actor", "event", "purpose"]    # what every record must say (formats §3)

    [schemes.id]                           # a kind of identifier
    pattern = '[A-Za-z0-9][A-Za-z0-9._/-]{0,127}'        # RFC 9485, for the whole value
    [schemes.id.text]                      # language → sentence
    en = "The number by which the department knows you."

    [predecessor]                          # only when this log continues another
    origin = "log.example.gov/access/2025"
    size = 123456
    root = "<base64url of 32 bytes>"

Members left out have the values shown; whether the values are allowed the charter itself is asked (formats §2).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger.files import FileRefused, read_limited

LIMIT = 1 << 16
MERGE_DELAY_S = 86_400
CLAIMS = ("subject", "actor", "event", "purpose")
SCHEMES = {
    "id": {
        "pattern": "[A-Za-z0-9][A-Za-z0-9._/-]{0,127}",
        "text": {
            "en": "The number by which the department knows you.",
            "cy": "Y rhif y mae'r adran yn eich adnabod wrtho.",
        },
    }
}


@dataclass(frozen=True, slots=True)
class CharterFile:
    """The operator's decisions; types are checked here, values by `ledger.core.statements.sign_charter`."""

    merge_delay_s: int = MERGE_DELAY_S
    claims: tuple[str, ...] = CLAIMS
    schemes: dict[str, Any] = field(default_factory=lambda: dict(SCHEMES))
    predecessor: dict[str, Any] | None = None


def read_charter_file(path: Path) -> CharterFile:
    """The decisions in a file.  Raises FileRefused, which names the member at fault, and OSError."""
    try:
        document = tomllib.loads(read_limited(path, LIMIT).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FileRefused(f"{path}: not TOML: {error}") from None
    values: dict[str, Any] = {}
    kinds = {"merge_delay_s": int, "claims": list, "schemes": dict, "predecessor": dict}
    for name, value in document.items():
        kind = kinds.get(name)
        if kind is None:
            raise FileRefused(f"{path}: {name}: is no member of a charter; known are {', '.join(kinds)}")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise FileRefused(f"{path}: {name}: must be {_WORDS[kind]}")
        values[name] = tuple(value) if isinstance(value, list) else value
    return CharterFile(**values)


_WORDS = {int: "a whole number", list: "a list of texts", dict: "a table"}
