"""One suite for every engine: a test that takes `url`, `store` or `ledger` runs once for each, and behind a pooler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import ENGINES, POOLED, new_url
from smallledger import SmallLedger

from ledger.core.index import EMPTY
from ledger.core.merkle import EMPTY_ROOT
from ledger.store import Store, log


@pytest.fixture(params=(*ENGINES, POOLED))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url(request.param, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A database with a log of size 0."""
    store = Store.open(url, create=True)
    with store.write() as db:
        log.begin_log(db, log.State(0, EMPTY_ROOT, 0, EMPTY, 0, 0, 0))
    yield store
    store.close()


@pytest.fixture
def ledger(url: str, tmp_path: Path) -> Iterator[SmallLedger]:
    ledger = SmallLedger(tmp_path, url)
    yield ledger
    ledger.close()
