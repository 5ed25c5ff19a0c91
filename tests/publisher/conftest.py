"""A small log with one witness, ready to be published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bucketserver import BucketServer
from engines import new_url
from smalllog import Clock, SmallLog


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine() -> str:
    """Which database; a file whose tests concern every engine has a fixture of this name with `params=ENGINES`."""
    return "sqlite"


@pytest.fixture
def small(tmp_path: Path, clock: Clock, engine: str) -> Iterator[SmallLog]:
    home = tmp_path / "home"
    small = SmallLog(home, clock, new_url(engine, home))
    small.add_witness()
    small.write_policy()
    yield small
    small.close()


@pytest.fixture(scope="session")
def server() -> Iterator[BucketServer]:
    with BucketServer() as server:
        yield server
