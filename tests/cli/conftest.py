"""`glassbook` run as a program: what it prints, where it prints it, and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import Ran, Run


@pytest.fixture
def glassbook(tmp_path: Path) -> Run:
    """Run `glassbook ARGS` in an empty folder; text given as `typed` comes on standard input."""

    def run(*args: object, typed: str = "") -> Ran:
        done = subprocess.run(
            [sys.executable, "-c", "from ledger.cli import main; main()", *map(str, args)],
            cwd=tmp_path,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1"},
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
