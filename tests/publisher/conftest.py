"""A small log with one witness, ready to be published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bucketserver import BucketServer
from smalllog import Clock, SmallLog


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def small(tmp_path: Path, clock: Clock) -> Iterator[SmallLog]:
    small = SmallLog(tmp_path / "home", clock)
    small.add_witness()
    small.write_policy()
    yield small
    small.close()


@pytest.fixture(scope="session")
def server() -> Iterator[BucketServer]:
    with BucketServer() as server:
        yield server
