"""A ledger on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import new_url
from livelog import NOON, LiveLedger


@pytest.fixture
def engine() -> str:
    """Which database; a file whose tests concern every engine has a fixture of this name with `params=ENGINES`."""
    return "sqlite"


@pytest.fixture
def live(tmp_path: Path, engine: str) -> Iterator[LiveLedger]:
    home = tmp_path / "home"
    live = LiveLedger(home, lambda: NOON, new_url(engine, home), wait_s=10)
    yield live
    live.close()
