"""The test vectors, from this folder or from the one that the environment variable GLASSBOOK_VECTORS names.

from vectorfiles import cases, load

VECTORS = load("note.json")

@pytest.mark.parametrize("case", cases(VECTORS["notes"]))
def test_…(case: dict[str, Any]) -> None: …
"""

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest


def folder() -> Path:
    """Where the vector files are."""
    return Path(os.environ.get("GLASSBOOK_VECTORS") or Path(__file__).parent)


@cache
def load(name: str) -> Any:
    """The content of one file, with `{{k}}` in any string replaced by `texts[k]` of the same file."""
    content = json.loads((folder() / name).read_text(encoding="utf-8"))
    texts = content.pop("texts", None) if isinstance(content, dict) else None
    return content if texts is None else _expand(content, texts)


def _expand(value: Any, texts: list[str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{\{(\d+)\}\}", lambda found: texts[int(found[1])], value) if "{{" in value else value
    if isinstance(value, list):
        return [_expand(item, texts) for item in value]
    if isinstance(value, dict):
        return {key: _expand(item, texts) for key, item in value.items()}
    return value


def cases(items: list[Any]) -> list[Any]:
    """The cases of one list as parameters of a test, numbered and named; an empty list is a mistake."""
    assert items, "a list of vectors is empty"
    return [
        pytest.param(item, id=f"{number} {item.get('name', '') if isinstance(item, dict) else ''}".rstrip())
        for number, item in enumerate(items)
    ]
