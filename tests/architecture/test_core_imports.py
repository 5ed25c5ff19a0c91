"""Core is pure: what its files import is read from the syntax tree and held against a list of what is allowed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "ledger" / "core"

# Parts of the standard library that neither tell the time nor touch files, networks, processes or logs.
STANDARD = {
    "__future__", "abc", "array", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib",
    "dataclasses", "datetime", "enum", "functools", "hashlib", "heapq", "hmac", "itertools", "json", "math",
    "operator", "re", "string", "struct", "types", "typing", "unicodedata",
}  # fmt: skip
PARTS = {"cryptography", "nacl"}

# Randomness for salts and nonces is given from outside, or comes from here; nothing else of the system does.
RANDOM = {"secrets"}

# What an allowed module offers and core must still not call.
FORBIDDEN_NAMES = {"now", "today", "utcnow", "open", "print", "input", "exec", "eval", "__import__"}


def core_files() -> list[Path]:
    files = sorted(CORE.rglob("*.py"))
    assert len(files) > 10, "core was not found where this test looks"
    return files


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every module named by an import statement, with its line; `from . import x` as ledger.core.x."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "ledger.core" + (f".{node.module}" if node.module else "")
            else:
                yield node.lineno, node.module or ""


@pytest.mark.parametrize("path", core_files(), ids=lambda path: path.name)
def test_core_imports_nothing_but_pure_parts(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = [
        f"line {line}: {name}"
        for line, name in imports(tree)
        if name not in STANDARD | RANDOM
        and name.split(".")[0] not in PARTS
        and not (name == "ledger.core" or name.startswith("ledger.core."))
    ]
    assert wrong == [], f"{path.name} imports what core may not know"


@pytest.mark.parametrize("path", core_files(), ids=lambda path: path.name)
def test_core_reads_no_clock_and_no_file(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if name in FORBIDDEN_NAMES and (
                isinstance(called, ast.Name) or name in {"now", "today", "utcnow"}
            ):
                wrong.append(f"line {node.lineno}: {name}()")
    assert wrong == [], f"{path.name} calls what core may not"


def test_importing_core_pulls_in_no_server_or_database() -> None:
    import subprocess
    import sys

    code = "import sys, ledger.core.evidence; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert loaded.isdisjoint(
        {"sqlalchemy", "fastapi", "starlette", "httpx", "sqlite3", "asyncio", "logging", "rich"}
    )
