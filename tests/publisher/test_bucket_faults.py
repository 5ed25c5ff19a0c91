"""A bucket that refuses, hangs, is slow, or does what it is asked and loses the answer: for one object at a time, and
for all.

Whatever happens, readers see a whole log at every moment, nothing inconsistent is signed, and in the end all is
published.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from breakingproxy import BreakingProxy, Fault
from bucketserver import BucketServer
from smalllog import NOW, Clock, Read, SmallLog, walk
from starlette.types import ASGIApp

from ledger.core.tiles import Tile
from ledger.publicfiles import ContentDiffers, bucket, open_public_files
from ledger.settings import PublicBucket
from ledger.store.publication import read_publication
from publisher import loop
from publisher.recovery import Superseded
from publisher.run import Publisher
from publisher.serve import Site, public_app
from publisher.signing import SigningRefused

PUTS = [
    "tile/entries/000",
    "tile/0/000",
    "tile/entries/001.p/94",
    "tile/0/001.p/94",
    "tile/1/000.p/1",
    "checkpoint",
]
"""What a round puts that makes a log of 102 entries one of 350."""


class Bucketed:
    """A small log whose public files lie in a bucket, behind a proxy that breaks."""

    def __init__(self, home: Path, server: BucketServer) -> None:
        self.small = SmallLog(home, Clock())
        self.small.add_witness()
        self.small.write_policy()
        self.proxy = BreakingProxy(server.endpoint)
        self.direct = server.new_bucket()
        self.at = PublicBucket(
            **{name: getattr(self.direct, name) for name in PublicBucket.__slots__}
            | {"endpoint": self.proxy.url}
        )

    @property
    def read(self) -> Read:
        """What anybody reads in the bucket, without a key and past the proxy."""
        base = f"{self.direct.endpoint}/{self.direct.bucket}/{self.direct.prefix}"

        def read(name: str) -> bytes | None:
            answer = httpx.get(f"{base}/{name}", trust_env=False, timeout=20)
            return answer.content if answer.status_code == 200 else None

        return read

    def size(self) -> int:
        return len(walk(self.read, self.small.policy(), NOW))

    def publisher(self) -> Publisher:
        return self.small.publisher(open_public_files(self.at))

    def break_only(self, fault: Fault, name: str) -> None:
        path = f"/{self.at.bucket}/{self.at.prefix}/{name}"
        self.proxy.fault = lambda method, asked: fault if (method, asked) == ("PUT", path) else None

    def close(self) -> None:
        self.small.close()
        self.proxy.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of a second instead of ten."""
    monkeypatch.setattr(bucket, "REQUEST_S", 1.0)
    monkeypatch.setattr(bucket, "RETRY_S", 0.5)
    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.05)


@pytest.fixture
def bucketed(tmp_path: Path, server: BucketServer) -> Iterator[Bucketed]:
    found = Bucketed(tmp_path / "home", server)
    yield found
    found.close()


@pytest.mark.parametrize("restart", [False, True], ids=["goes on", "restarts"])
@pytest.mark.parametrize("fault", ["refused", "lost"])
@pytest.mark.parametrize("name", PUTS)
def test_a_put_that_fails_loses_nothing_and_shows_nothing_half(
    bucketed: Bucketed, quick: None, name: str, fault: Fault, restart: bool
) -> None:
    small = bucketed.small
    small.append(99)
    assert bucketed.publisher().round()
    small.append(247)
    publisher = bucketed.publisher()
    bucketed.break_only(fault, name)
    with pytest.raises(OSError, match="answers 503" if fault == "refused" else "without an answer"):
        publisher.round()
    shown = bucketed.size()
    assert shown == (350 if (name, fault) == ("checkpoint", "lost") else 102), "readers see one whole log"
    seen = small.witnesses[0].file.seen(small.policy().origin).size
    signed = (small.home / "keys" / "signed").read_text()
    assert f"\n{seen}\n" in signed and seen == (350 if name == "checkpoint" else 102)
    bucketed.proxy.fault = lambda _method, _path: None
    if restart:
        small.reopen()
        publisher = bucketed.publisher()
    published = publisher.round()
    assert published or shown == 350
    assert bucketed.size() == 350
    with small.store.read() as db:
        row = read_publication(db)
    assert row.published_note == bucketed.read("checkpoint")
    assert row.signed_size == row.published_size == 350
    assert (small.home / "keys" / "signed").read_bytes() == row.signed_note


@pytest.mark.parametrize("name", PUTS)
def test_an_answer_that_is_lost_once_is_noticed_by_nobody(bucketed: Bucketed, name: str) -> None:
    small = bucketed.small
    small.append(99)
    publisher = bucketed.publisher()
    assert publisher.round()
    small.append(247)
    path, lost = f"/{bucketed.at.bucket}/{bucketed.at.prefix}/{name}", list[str]()

    def once(method: str, asked: str) -> Fault:
        if (method, asked) == ("PUT", path) and not lost:
            lost.append(asked)
            return "lost"
        return None

    bucketed.proxy.fault = once
    bucketed.proxy.asked.clear()
    assert publisher.round()
    assert lost and bucketed.proxy.asked.count(("PUT", path)) == 2
    assert bucketed.size() == 350


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("refused", "answers 503"),
        ("hangs", "does not answer in time"),
        ("cut", "ends a connection without an answer"),
    ],
)
def test_a_bucket_that_is_away_is_said_and_mends_by_itself(
    bucketed: Bucketed, quick: None, fault: Fault, said: str
) -> None:
    bucketed.small.append(5)
    bucketed.proxy.fault = lambda _method, _path: fault
    publisher = bucketed.publisher()
    stop = threading.Event()
    thread = threading.Thread(target=loop.publish_until, args=(publisher, bucketed.small.store, stop))
    thread.start()
    try:
        wait_for(lambda: publisher.status.state == "failing")
        assert publisher.status.reasons == (f"{bucketed.at.url}: {said}; trying again",)
        assert bucketed.read("checkpoint") is None
        bucketed.proxy.fault = lambda _method, _path: None
        bucketed.proxy.release.set()
        wait_for(lambda: publisher.status.state == "publishing")
        bucketed.small.append(300)
        wait_for(lambda: b"\n309\n" in (bucketed.read("checkpoint") or b""))
    finally:
        stop.set()
        thread.join(30)
    assert bucketed.size() == 309


def wait_for(done: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_slow_bucket_takes_as_long_for_many_files_as_for_a_few(bucketed: Bucketed) -> None:
    bucketed.proxy.fault = lambda method, _path: "slow" if method == "PUT" else None
    bucketed.small.append(4000)
    publisher = bucketed.publisher()
    began = time.monotonic()
    assert publisher.round()
    puts = sum(method == "PUT" for method, _ in bucketed.proxy.asked)
    assert puts > 30 and time.monotonic() - began < puts * 0.2
    assert bucketed.size() == 4003


def test_of_two_publishers_the_one_that_was_overtaken_changes_nothing(bucketed: Bucketed) -> None:
    small = bucketed.small
    stale, fresh = open_public_files(bucketed.at), bucketed.publisher()
    replace = stale.replace_checkpoint

    def overtaken(note: bytes, expected: str | None) -> str:
        small.append(10)
        assert fresh.round()
        return replace(note, expected)

    slow = small.publisher(stale)
    assert slow.round()
    stale.replace_checkpoint = overtaken  # type: ignore[method-assign]
    small.append(3)
    with pytest.raises(Superseded):
        slow.round()
    assert bucketed.size() == 2 + 4 + 11
    stale.replace_checkpoint = replace  # type: ignore[method-assign]
    assert not slow.round(), "it looks again, and has nothing to add"
    small.append(1)
    assert slow.round()
    with pytest.raises(Superseded):
        fresh.round()
    assert bucketed.size() == 2 + 4 + 11 + 2


def test_a_file_with_another_content_stops_the_signing(bucketed: Bucketed) -> None:
    small = bucketed.small
    small.append(99)
    publisher = bucketed.publisher()
    assert publisher.round()
    files = open_public_files(bucketed.direct)
    files.write([(Tile(0, 0).path, bytes(8192))])
    small.append(247)
    with pytest.raises(SigningRefused, match=r"s3://.*/tile/0/000: is there with another content"):
        publisher.round()
    assert bucketed.read("tile/0/000") == bytes(8192) and bucketed.read("checkpoint") is not None
    with small.store.read() as db:
        assert read_publication(db).signed_size == 102


def test_a_damaged_right_edge_is_mended_from_a_database_that_has_its_root(bucketed: Bucketed) -> None:
    small = bucketed.small
    small.append(600)
    assert bucketed.publisher().round()
    files = open_public_files(bucketed.direct)
    damaged = [
        (name, bytes(len(bucketed.read(name) or b""))) for name in ("tile/0/002.p/91", "tile/entries/000")
    ]
    files.mend(damaged)
    with pytest.raises(ContentDiffers):
        files.write([("tile/0/002.p/91", b"")])
    assert bucketed.publisher().round() is False
    assert bucketed.size() == 603


def test_nothing_is_mended_with_entries_that_were_not_published(bucketed: Bucketed) -> None:
    small = bucketed.small
    small.append(600)
    assert bucketed.publisher().round()
    open_public_files(bucketed.direct).mend([("tile/0/002.p/91", bytes(91 * 32))])
    before = bucketed.read("tile/entries/000")
    with small.store.write() as db:
        db.exec_driver_sql(
            "UPDATE entries SET entry = (SELECT entry FROM entries WHERE number = 8) WHERE number = 7"
        )
    with pytest.raises(SigningRefused, match=r"damaged|altered"):
        bucketed.publisher().round()
    assert bucketed.read("tile/entries/000") == before


def test_readers_are_told_to_come_again_while_the_bucket_is_away(bucketed: Bucketed, quick: None) -> None:
    small, files = bucketed.small, open_public_files(bucketed.at)
    publisher = small.publisher(files)
    assert publisher.round()
    site = Site(small.store, files, small.published, "origin", (), lambda: None, lambda: publisher.status)
    app = public_app(site)

    def get(path: str) -> httpx.Response:
        return asyncio.run(ask(app, path))

    assert get("/checkpoint").content == bucketed.read("checkpoint")
    assert get("/tile/0/000.p/2").content == bucketed.read("tile/0/000.p/2")
    assert get("/tile/0/000.p/3").status_code == 404
    bucketed.proxy.fault = lambda _method, _path: "refused"
    assert get("/tile/0/000.p/2").status_code == 200, "what never changes is still in memory"
    for path in ("/checkpoint", "/tile/0/000.p/3"):
        answer = get(path)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert answer.headers["cache-control"] == "no-store"


async def ask(app: ASGIApp, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:
        return await client.get(path)


def test_proofs_are_given_while_all_who_read_files_wait_for_the_bucket(bucketed: Bucketed) -> None:
    small, files = bucketed.small, open_public_files(bucketed.at)
    publisher = small.publisher(files)
    assert publisher.round()
    site = Site(small.store, files, small.published, "origin", (), lambda: None, lambda: publisher.status)
    app = public_app(site)
    bucketed.proxy.fault = lambda _method, _path: "hangs"

    async def ask_all() -> tuple[httpx.Response, set[int]]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:
            waiting = [asyncio.create_task(client.get("/checkpoint")) for _ in range(80)]
            await asyncio.sleep(0.3)
            async with asyncio.timeout(5):
                proofs = await client.post("/index/proofs", json={"labels": []})
            assert not any(task.done() for task in waiting)
            bucketed.proxy.fault = lambda _method, _path: None
            bucketed.proxy.release.set()
            return proofs, {answer.status_code for answer in await asyncio.gather(*waiting)}

    proofs, statuses = asyncio.run(ask_all())
    assert proofs.status_code == 200
    assert statuses == {200}, "a connection that was cut is tried again"
