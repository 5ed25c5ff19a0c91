"""One published log for all who read it, and a copy to break."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from publishedlog import PublishedLog
from witnessprograms import ALL, Witnessed


@pytest.fixture(scope="session")
def witnessed_by(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Witnessed]]:
    """From a name in `witnessprograms.ALL` to that witness and its log, both running till the end."""
    running: dict[str, Witnessed] = {}

    def witnessed(name: str) -> Witnessed:
        if name not in running:
            running[name] = Witnessed(ALL[name](tmp_path_factory.mktemp(name)))
        return running[name]

    yield witnessed
    for one in running.values():
        one.close()


@pytest.fixture(scope="session")
def published(witnessed_by: Callable[[str], Witnessed]) -> PublishedLog:
    """A log of several checkpoints, the last beyond two full tiles, with one witness."""
    log = witnessed_by("own").log
    for count in (1, 100, 253, 300):
        log.grow(count)
    return log


@pytest.fixture
def broken(published: PublishedLog, tmp_path: Path) -> Path:
    """The published folder, one bit of one entry changed, in the last bundle of the newest checkpoint."""
    copy = tmp_path / "broken"
    shutil.copytree(published.public, copy)
    size = published.checkpoint().size
    bundle = copy / "tile" / "entries" / f"{size // 256:03d}.p" / str(size % 256)
    data = bytearray(bundle.read_bytes())
    data[2 + 60] ^= 1
    bundle.write_bytes(bytes(data))
    return copy
