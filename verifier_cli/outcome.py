"""What a command found out, once for people and once for programs.

Exit codes (docs/verifier.md): 0 holds · 1 refuted · 2 usage · 3 could not check, or not complete.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from ledger.core.encoding import b64encode
from ledger.core.errors import Refuted
from ledger.core.receipt import Step
from ledger.files import write_atomic

SCHEMA = "glassbook-verify/1"


class Verdict(Enum):
    HOLDS = "holds"
    REFUTED = "refuted"
    NOT_COMPLETE = "not complete"
    UNDECIDED = "undecided"
    NOT_CHECKED = "not checked"

    @property
    def exit_code(self) -> int:
        return {"holds": 0, "refuted": 1}.get(self.value, 3)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text: `style` is a name of `report.STYLES`, `indent` counts columns."""

    text: str = ""
    style: str = ""
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under headings; the columns at the places in `numbers` are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: frozenset[int] = frozenset()


@dataclass(slots=True)
class Outcome:
    """`message` is the last line a person reads; `result` is the command's own part of the JSON.

    `lines`, `tables` and `closing_lines` are shown in this order; where there is `csv`, it alone goes to stdout.
    """

    command: str
    verdict: Verdict
    message: str
    result: dict[str, Any] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    evidence_file: str | None = None
    tables: list[Table] = field(default_factory=list)
    closing_lines: list[Line] = field(default_factory=list)
    csv: str | None = None
    compact: bool = False
    """Whether the JSON stands on one line, as after lines of JSON."""

    @property
    def told(self) -> str:
        """The message, with the file that evidence was written to."""
        return (
            self.message if self.evidence_file is None else f"{self.message}; evidence: {self.evidence_file}"
        )

    def as_json(self) -> str:
        return json.dumps(
            {
                "schema": SCHEMA,
                "command": self.command,
                "verdict": self.verdict.value,
                "exit": self.verdict.exit_code,
                "message": self.told,
                "evidence_file": self.evidence_file,
                "result": self.result,
            },
            ensure_ascii=False,
            indent=None if self.compact else 2,
        )


def numbered(steps: Iterable[Step]) -> list[Line]:
    """The steps of a check for people."""
    lines = []
    for number, step in enumerate(steps, 1):
        lines += [Line(f"{number}. {step.title}", "heading"), Line(step.detail, indent=3)]
    return lines


def write_refutation(
    command: str, error: Refuted, about: Mapping[str, Any] | None = None, folder: Path = Path()
) -> str | None:
    """Keep what refutes in a file that can be handed on; returns its path, or None when no disk takes it.

    `about` is what the check was made on, as far as it holds nothing of a person.

    The file lies in `folder`, or with the temporary files when that cannot be written to. Its name
    comes from its content: the same finding twice is one file.
    """
    content = {
        "what": "a check by glassbook-verify failed; here is what it was made on",
        "command": command,
        "refuted": type(error).__name__,
        "where": error.where,
        "because": error.what,
        "evidence": _presentable(error.evidence),
        "about": _presentable(about or {}),
    }
    data = (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
    name = f"refuted-{command}-{hashlib.sha256(data).hexdigest()[:12]}.json"
    for place in (folder, Path(tempfile.gettempdir())):
        try:
            write_atomic(place / name, data)
        except OSError:
            continue
        return str(place / name)
    return None


def _presentable(value: Any) -> Any:
    """JSON of evidence: bytes that are text (notes) as text, other bytes as base64."""
    if isinstance(value, Mapping):
        return {str(name): _presentable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_presentable(part) for part in value]
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return {"base64": b64encode(value)}
        return text if text.isprintable() or text.endswith("\n") else {"base64": b64encode(value)}
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
