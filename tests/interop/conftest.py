"""One published log for all who read it, and a copy to break."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishedlog import PublishedLog
from witnessprograms import Named, Witnessed


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnessed]:
    """A log with our witness and a foreign one; all of it goes on running."""
    place = tmp_path_factory.mktemp("local")
    witnessed = Witnessed(PublishedLog.begin(place / "home"))
    try:
        witnessed.begin_local(place)
        yield witnessed
    finally:
        witnessed.close()


@pytest.fixture(scope="session")
def named() -> Iterator[Witnessed]:
    """The log of the witness that the environment names."""
    witness = Named()
    witnessed = Witnessed(PublishedLog(Path(witness.home)))
    try:
        witnessed.begin_named(witness)
        yield witnessed
    finally:
        witnessed.close()


@pytest.fixture(scope="session")
def published(local: Witnessed) -> PublishedLog:
    """Several checkpoints, the last beyond two full tiles."""
    for count in (1, 100, 253, 300):
        local.log.grow(count)
    return local.log


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
