"""Whoever is asked to cosign can read all of it first: every tile and bundle of the pending size, partial ones too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from badwitness import Answer, MisbehavingWitness, Request
from oracle import mth
from smalllog import LOG_VKEYS, ORIGIN, Clock, SmallLog

from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, tiles_of
from ledger.publicfiles import Folder
from publisher import growing
from publisher.policy import PolicyWitness, format_policy
from publisher.run import Publisher
from publisher.serve import Site, public_app


class ReadingWitness:
    """A witness that reads a log over HTTP, as an auditor does, before it cosigns; `faults` says what it missed."""

    def __init__(self, clock: Clock) -> None:
        self.client = httpx.Client(trust_env=False, timeout=10)
        self.faults: list[str] = []
        self.read: list[int] = []
        self.fall_back = False
        self.witness = MisbehavingWitness("auditor.example/a", clock)
        self.witness.behave = self.check

    def fetch(self, tile: Tile) -> bytes:
        answer = self.client.get(f"/{tile.path}")
        if answer.status_code == 404 and self.fall_back:
            answer = self.client.get(f"/{tile.full.path}")
        if answer.status_code != 200:
            self.faults.append(f"{tile.path}: {answer.status_code}")
        return answer.content

    def check(self, request: Request, answer: Answer) -> Answer:
        try:
            self.check_tree(request.size, request.root)
        except Exception as error:
            self.faults.append(repr(error))
        return answer

    def check_tree(self, size: int, root: bytes) -> None:
        """Read the whole tree of this size and hold it against its root."""
        entries: list[bytes] = []
        for tile in tiles_of(size):
            data = self.fetch(tile)
            if tile.level == ENTRIES:
                at = 0
                for _ in range(tile.width):
                    length = int.from_bytes(data[at : at + 2], "big")
                    entries.append(data[at + 2 : at + 2 + length])
                    at += 2 + length
                if at != len(data) and not self.fall_back:
                    self.faults.append(f"{tile.path}: {len(data) - at} bytes too many")
                continue
            span = FULL_WIDTH**tile.level
            first = [(FULL_WIDTH * tile.n + slot) * span for slot in range(tile.width)]
            wanted = b"".join(mth(entries[start : start + span]) for start in first)
            if data[: 32 * tile.width] != wanted or (len(data) != len(wanted) and not self.fall_back):
                self.faults.append(f"{tile.path}: other hashes")
        if len(entries) != size or mth(entries) != root:
            self.faults.append(f"another root at {size}")
        self.read.append(size)

    def close(self) -> None:
        self.witness.close()
        self.client.close()


@pytest.fixture
def reader(tmp_path: Path, clock: Clock) -> Iterator[tuple[SmallLog, Publisher, ReadingWitness]]:
    small = SmallLog(tmp_path / "home", clock)
    reader = ReadingWitness(clock)
    named = PolicyWitness("W1", reader.witness.vkey, reader.witness.url, auditor=True)
    small.write_policy(format_policy(*LOG_VKEYS, [named]))
    publisher = small.publisher()
    site = Site(
        small.store,
        Folder(small.public),
        small.published,
        ORIGIN,
        LOG_VKEYS,
        lambda: None,
        lambda: publisher.status,
    )
    bound = socket.create_server(("127.0.0.1", 0))
    reader.client.base_url = httpx.URL(f"http://127.0.0.1:{bound.getsockname()[1]}")
    config = uvicorn.Config(public_app(site), access_log=False, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield small, publisher, reader
    small.close()
    reader.close()
    server.should_exit = True
    thread.join(10)


def test_all_of_the_pending_tree_is_readable_when_a_witness_is_asked(
    reader: tuple[SmallLog, Publisher, ReadingWitness], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, publisher, auditor = reader
    monkeypatch.setattr(growing, "PARTIALS_KEPT_S", 0)
    sizes = []
    for count in (0, 1, 251, 1, 1, 254, 1, 700):
        sizes.append(small.append(count) if count else 2)
        assert publisher.round()
        assert auditor.faults == []
    assert auditor.read == sizes


def test_what_was_pending_long_ago_is_still_readable_after_partial_tiles_went(
    reader: tuple[SmallLog, Publisher, ReadingWitness], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, publisher, auditor = reader
    small.append(97)
    assert publisher.round()
    size, root = auditor.witness.size, auditor.witness.root
    monkeypatch.setattr(growing, "PARTIALS_KEPT_S", 0)
    for count in (300, 1):
        small.append(count)
        assert publisher.round()
    assert not (small.public / "tile" / "0" / "000.p").exists()
    auditor.fall_back = (
        True  # as tlog-tiles has it: in the place of a partial tile that is gone, the full one
    )
    auditor.check_tree(size, root)
    assert auditor.faults == []


def test_without_a_quorum_nothing_is_pruned_that_a_witness_may_still_want(
    reader: tuple[SmallLog, Publisher, ReadingWitness], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, publisher, auditor = reader
    monkeypatch.setattr(growing, "PARTIALS_KEPT_S", 0)
    small.append(97)
    auditor.witness.behave = lambda _request, _answer: Answer(503, b"", {"Retry-After": "0"})
    assert not publisher.round()
    pending = auditor.witness.requests[-1]
    for _ in range(2):
        small.append(300)
        publisher._edge = None  # the next round does not wait until the auditor is to be asked again
        assert not publisher.round()
    auditor.check_tree(pending.size, pending.root)
    assert auditor.faults == []
