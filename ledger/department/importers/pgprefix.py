"""PostgreSQL's `log_line_prefix` read backwards: what stands before the message of a line in the server's log.

Source: PostgreSQL documentation, "Error Reporting and Logging", log_line_prefix.
"""

from __future__ import annotations

import re
from typing import Final

_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})? [A-Za-z0-9+:\-]{1,10}"
# Names have at most 63 bytes (NAMEDATALEN); a bound keeps the search short on lines that do not fit.
_NAME = r"[^\n]{0,63}?"

_ESCAPES: Final = {
    "a": ("application", _NAME),
    "u": ("user", _NAME),
    "d": ("database", _NAME),
    "r": ("host", r"[^\s]{0,300}?"),
    "h": ("host", r"[^\s]{0,300}?"),
    "L": ("", r"[^\s]{0,300}?"),
    "b": ("", r"[a-z ()]{0,64}?"),
    "p": ("pid", r"[0-9]+"),
    "P": ("", r"[0-9]*"),
    "t": ("time", _TIME),
    "m": ("time", _TIME),
    "n": ("epoch", r"[0-9]+\.[0-9]+"),
    "i": ("", _NAME),
    "e": ("", r"[0-9A-Z]{5}"),
    "c": ("session", r"[0-9a-f]+\.[0-9a-f]+"),
    "l": ("", r"[0-9]+"),
    "s": ("", _TIME),
    "v": ("", r"[0-9/]*?"),
    "x": ("", r"[0-9]+"),
    "Q": ("", r"-?[0-9]+"),
}
_PART = re.compile(r"%(-?[0-9]+)?([A-Za-z%])|([^%]+)|%")
_MESSAGE = r"(?P<level>[A-Z]+[1-5]?):  (?P<message>.*)"


def line_pattern(prefix: str) -> re.Pattern[str]:
    """An expression for the first line of a message in a log written with this prefix.

    Its groups are `level`, `message` and, where the prefix has them, `time`, `epoch`, `user`, `database`, `host`,
    `application`, `pid` and `session`.  ValueError for an escape that PostgreSQL does not have.
    """
    made: list[str] = []
    named: set[str] = set()
    optional = 0
    for part in _PART.finditer(prefix):
        padding, escape, literal = part.groups()
        if literal is not None:
            made.append(re.escape(literal))
        elif escape == "%":
            made.append("%")
        elif escape == "q":
            # Processes that are no sessions write nothing from here on.
            made.append("(?:")
            optional += 1
        elif escape in _ESCAPES:
            name, pattern = _ESCAPES[escape]
            group = f"(?P<{name}>{pattern})" if name and name not in named else f"(?:{pattern})"
            named.add(name)
            made.append(rf" *{group} *" if padding else group)
        else:
            raise ValueError(f"{part.group()} is no escape of log_line_prefix")
    return re.compile("".join(made) + ")?" * optional + _MESSAGE, re.DOTALL)
