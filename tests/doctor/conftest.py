"""A token for each test, and one whole log for the tests that need it running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from softtoken import SoftToken, module
from wholelog import WholeLog

from ledger import tokenkeys


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftToken]:
    """In this process: SoftHSM reads its configuration when its module is initialised."""
    made = SoftToken(tmp_path / "hsm")
    monkeypatch.setenv("SOFTHSM2_CONF", str(made.conf))
    tokenkeys._forget(module())
    yield made
    tokenkeys._forget(module())
    tokenkeys._refused.clear()
    tokenkeys._asked.clear()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLog]:
    running = None
    place = tmp_path_factory.mktemp("whole")
    try:
        running = WholeLog(place)
        yield running
    finally:
        if running is not None:
            running.stop()
