"""The test vectors, from this folder or from the one that the environment variable GLASSBOOK_VECTORS names.

from vectorfiles import cases, load

VECTORS = load("note.json")

@pytest.mark.parametrize("case", cases(VECTORS, "notes"))
def test_…(case: dict[str, Any]) -> None: …

Nothing in these tests knows which cases a file has, how many, or in what order: another folder has others.
"""

import json
import os
import re
from collections.abc import Mapping
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
    path = folder() / name
    if not path.is_file():
        pytest.fail(f"{name} is missing from the vector folder {folder()} (GLASSBOOK_VECTORS)", pytrace=False)
    content = json.loads(path.read_text(encoding="utf-8"))
    texts = content.pop("texts", None) if isinstance(content, dict) else None
    return content if texts is None else _expand(content, texts)


def _expand(value: Any, texts: list[str] | dict[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{\{(\w+)\}\}", lambda found: _text(texts, found[1]), value)
    if isinstance(value, list):
        return [_expand(item, texts) for item in value]
    if isinstance(value, dict):
        return {key: _expand(item, texts) for key, item in value.items()}
    return value


def _text(texts: list[str] | dict[str, str], k: str) -> str:
    return texts[k] if isinstance(texts, dict) else texts[int(k)]


def cases(vectors: Mapping[str, Any], *names: str) -> list[Any]:
    """The cases of the list under these names, as parameters of a test, numbered and named.

    A file without the list fails here, and so does an empty one, as a list without cases would test nothing.
    """
    items: Any = vectors
    for name in names:
        items = items.get(name)
        if not items:
            pytest.fail(f"the vectors have no cases under {' / '.join(names)}", pytrace=False)
    return [
        pytest.param(item, id=f"{number} {item.get('name', '') if isinstance(item, dict) else ''}".rstrip())
        for number, item in enumerate(items)
    ]


def number(value: str | int | None) -> int | None:
    """A number that may be written as a decimal string, where it could be beyond 2^53; or null."""
    return None if value is None else int(value)


def numbers(value: Any) -> Any:
    """`value` with every decimal string in its objects and lists turned into a number, for comparing."""
    if isinstance(value, str) and re.fullmatch("0|[1-9][0-9]*", value):
        return int(value)
    if isinstance(value, list):
        return [numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    return value


def now(vectors: Mapping[str, Any], case: Mapping[str, Any], otherwise: int | None = None) -> int:
    """The time, in Unix seconds, at which a case is looked at: its own, or that of its file."""
    found = case.get("now", vectors.get("now", otherwise))
    assert found is not None, "neither the case nor its file says at what time to look"
    return int(found)
