"""Every write of a round fails once, before or after it took effect; then the same process goes on, or a
new one.

Whatever happens, readers see a whole log at every moment, nothing inconsistent is signed, and in the end
all is published.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from smalllog import NOW, Clock, SmallLog, walk

from ledger.publicfiles import Folder
from ledger.store import Connection, Store, StoreBusy
from ledger.store.publication import read_publication
from publisher.signing import SignedFile


class Faults:
    """Counts the writes of a round, and makes one of them fail."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fail_at: int | None = None
        self.persisted = False

    def write(self, name: str, do: Callable[[], None], error: Exception) -> None:
        self.names.append(name)
        failing = self.fail_at == len(self.names) - 1
        if failing and not self.persisted:
            raise error
        do()
        if failing:
            raise error


class FaultyFolder(Folder):
    """A disk that is full at one write."""

    def __init__(self, path: Path, faults: Faults) -> None:
        super().__init__(path)
        self.faults = faults

    def _store(self, part: Path, data: bytes) -> None:
        self.faults.write("content", lambda: super(FaultyFolder, self)._store(part, data), full(part))

    def _place(self, part: Path, target: Path) -> None:
        self.faults.write("name", lambda: super(FaultyFolder, self)._place(part, target), full(target))

    def replace_checkpoint(self, note: bytes, expected: str | None) -> str:
        replace, versions = super().replace_checkpoint, list[str]()
        self.faults.write("checkpoint", lambda: versions.append(replace(note, expected)), full(self.path))
        return versions[0]


class FaultySigned(SignedFile):
    """The same beside the keys."""

    def __init__(self, path: Path, faults: Faults) -> None:
        super().__init__(path)
        self.faults = faults

    def write(self, note: bytes) -> None:
        write = super().write
        self.faults.write("signed", lambda: write(note), full(self.path))


class FaultyStore(Store):
    """A database whose transaction fails, or whose answer to a commit is lost."""

    faults: Faults

    @contextlib.contextmanager
    def write(self, *, patient: bool = False) -> Iterator[Connection]:
        faults = self.faults
        faults.names.append("transaction")
        failing = faults.fail_at == len(faults.names) - 1
        if failing and not faults.persisted:
            raise StoreBusy("the disk is full")
        with super().write(patient=patient) as db:
            yield db
        if failing:
            raise StoreBusy("the disk is full")


def full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", str(path))


WRITES = [
    *["content"] * 5,  # full tile and bundle; the partial ones of two levels and the bundle
    *["name"] * 5,
    "transaction",
    "signed",
    "checkpoint",
    "transaction",
]


def prepared(home: Path) -> tuple[SmallLog, Faults]:
    """A log that is published up to 102 entries, then grew to 350."""
    small = SmallLog(home, Clock())
    small.add_witness()
    small.write_policy()
    small.append(99)
    first = small.publisher()
    assert first.round()
    first.close()
    small.append(247)
    return small, Faults()


def faulty(small: SmallLog, faults: Faults) -> None:
    """From here on the log's database fails as `faults` says."""
    store = FaultyStore(small.store.engine)
    store.faults = faults
    small.store = store


@pytest.mark.parametrize("restart", [False, True], ids=["goes on", "restarts"])
@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
@pytest.mark.parametrize("at", range(len(WRITES)))
def test_a_failing_write_loses_nothing_and_shows_nothing_half(
    tmp_path: Path, at: int, persisted: bool, restart: bool
) -> None:
    small, faults = prepared(tmp_path / "home")
    plain = small.store
    faulty(small, faults)
    publisher = small.publisher(
        FaultyFolder(small.public, faults), FaultySigned(small.home / "keys" / "signed", faults)
    )
    publisher._edge = publisher._recover(publisher._read_policy())
    faults.names.clear()
    faults.fail_at, faults.persisted = at, persisted
    with pytest.raises((OSError, StoreBusy)):
        publisher.round()
    assert faults.names == WRITES[: at + 1]
    assert len(walk(small.public, small.policy(), NOW)) in (102, 350), "readers see one whole log"
    seen = small.witnesses[0].file.seen(small.policy().origin).size
    note = (small.home / "keys" / "signed").read_text()
    assert seen == 102 or f"\n{seen}\n" in note, "no signature left before it was remembered"
    faults.fail_at = None
    small.store = plain
    if restart:
        small.reopen()
        publisher = small.publisher()
    published = publisher.round()
    assert published or WRITES[at] == "checkpoint" or at == len(WRITES) - 1
    assert len(walk(small.public, small.policy(), NOW)) == 350
    with small.store.read() as db:
        row = read_publication(db)
    assert row.published_note == (small.public / "checkpoint").read_bytes()
    assert row.signed_size == row.published_size == 350
    assert (small.home / "keys" / "signed").read_bytes() == row.signed_note
    assert [path for path in small.public.rglob("*") if ".part" in path.parts and path.is_file()] == []
    small.close()


def test_a_disk_that_stays_full_is_said_and_ends_by_itself(
    small: SmallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading
    import time

    from publisher import loop

    monkeypatch.setattr(loop, "RETRY_SECONDS", 0.05)
    faults = Faults()
    folder = FaultyFolder(small.public, faults)
    publisher = small.publisher(folder)
    is_full = True

    def _store(part: Path, data: bytes) -> None:
        if is_full:
            raise full(part)
        Folder._store(folder, part, data)

    folder._store = _store  # type: ignore[method-assign]
    stop = threading.Event()
    thread = threading.Thread(target=loop.publish_until, args=(publisher, small.store, stop))
    thread.start()
    deadline = time.monotonic() + 20
    while publisher.status.state != "failing":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "No space left on device" in publisher.status.reasons[0]
    assert not (small.public / "checkpoint").exists()
    is_full = False
    while publisher.status.state != "publishing":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop.set()
    thread.join(20)
    walk(small.public, small.policy(), NOW)
