"""Foreign programs that are installed in a folder of their own, and only ever started (.ci/foreign.txt)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "foreign"


def environment() -> dict[str, str]:
    """The environment in which they find each other, and nothing of ours."""
    assert FOLDER.is_dir(), f"{FOLDER} is not there: run make pytest, or sh .ci/setup --interop"
    return {**os.environ, "PYTHONPATH": str(FOLDER), "NO_PROXY": "*"}


def run_module(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of their modules, `python -m …`, to its end."""
    return _run("-m", *words)


def run_file(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a file that imports nothing but theirs, to its end."""
    return _run(*words)


def _run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
