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


def run_module(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of their modules, `python -m …`, to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-m", *map(str, words)],
        input=stdin, capture_output=True, text=True, timeout=60, env=environment(),
    )  # fmt: skip
