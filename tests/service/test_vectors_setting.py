"""`[ledger] vectors`: what checks and makes signatures is said, and a library that was named has to work."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from smallledger import LEDGER_KEY, ORIGIN, SmallLedger
from structlog.testing import capture_logs
from typer.testing import CliRunner

from ledger.cli import app as glassbook
from ledger.keyfiles import LEDGER, write_key
from ledger.service.app import create_app
from ledger.settings import parse_settings
from ledger.vectors import LIBRARY, choose, installed


def said_at_start(home: Path, vectors: str) -> list[dict[str, Any]]:
    """The log lines of a ledger that starts and ends."""
    small = SmallLedger(home)
    settings = parse_settings(f'origin = "{ORIGIN}"\n[ledger]\nvectors = "{vectors}"'.encode(), home)

    async def start_and_end() -> None:
        app = create_app(settings, small.store, key=LEDGER_KEY)
        async with app.router.lifespan_context(app):
            pass

    with capture_logs() as lines:
        asyncio.run(start_and_end())
    small.close()
    return [dict(line) for line in lines]


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    choose.cache_clear()
    yield tmp_path
    choose.cache_clear()


def test_nobody_is_told_what_checks_signatures(tmp_path: Path) -> None:
    (line,) = said_at_start(tmp_path, "off")
    assert (line["signatures"], line["library"]) == ("one at a time", "")


def test_the_library_is_used_and_not_named_or_named_and_not_used(tmp_path: Path) -> None:
    line = said_at_start(tmp_path, "auto")[-1]
    used = line["signatures"] == "eight at a time"
    assert line["library"] == (str(installed()) if used else "")


def test_a_broken_library_is_left_out_in_silence(tmp_path: Path, prefix: Path) -> None:
    (prefix / "lib" / LIBRARY).write_bytes(b"no library")
    warning, line = said_at_start(tmp_path, "auto")
    assert warning["log_level"] == "warning" and LIBRARY in warning["why"]
    assert line["signatures"] == "one at a time"


def test_serve_goes_on_without_the_library_it_was_told_to_use(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    SmallLedger(tmp_path).close()
    write_key(tmp_path / "keys" / LEDGER, LEDGER_KEY, None)
    (tmp_path / "glassbook.toml").write_text(
        f'origin = "{ORIGIN}"\n[ledger]\nlisten = "127.0.0.1:0"\nvectors = "/nowhere/{LIBRARY}"\n'
    )
    ran = CliRunner().invoke(glassbook, ["ledger", "serve", str(tmp_path)])
    assert ran.exit_code == 3
    assert f"/nowhere/{LIBRARY}: cannot be loaded" in ran.output
    assert "[ledger] vectors" in ran.output and "Traceback" not in ran.output
