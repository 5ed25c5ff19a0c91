"""A ledger on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from livelog import NOON, LiveLedger


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveLedger]:
    live = LiveLedger(tmp_path / "home", lambda: NOON, wait_s=10)
    yield live
    live.close()
