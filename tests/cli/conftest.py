"""`glassbook`: what it prints, where it prints it, and its exit code."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from program import Ran, Run

from ledger.cli import main


@pytest.fixture
def glassbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `glassbook ARGS` in an empty folder, without a terminal, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["glassbook", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Ran(code or 0, *capsys.readouterr())

    return run
