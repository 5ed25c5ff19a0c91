"""A sequencer and a publisher that lost their lease to another: they change nothing, stand by, and lead again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engines import new_url
from smalllog import ORIGIN, Clock, SmallLog, walk

from ledger.sequencer.run import run_sequencer
from ledger.store import LeadershipLost, leases, log, publication
from ledger.store.engine import run
from publisher.loop import publish_until
from publisher.run import PUBLISHING, STANDING_BY


@pytest.fixture
def small(tmp_path: Path, clock: Clock) -> Iterator[SmallLog]:
    home = tmp_path / "home"
    small = SmallLog(home, clock, new_url("postgresql", home))
    small.add_witness()
    small.write_policy()
    yield small
    small.close()


def take_over(small: SmallLog, role: str) -> None:
    """As a standby does once the lease has run out."""
    with small.store.write() as db:
        run(db, "UPDATE leases SET expires = 0 WHERE role = ?", (role,))
        assert leases.take_lease(db, role, "another") is not None


def give_up(small: SmallLog, role: str) -> None:
    with small.store.write() as db:
        run(db, "UPDATE leases SET expires = 0 WHERE role = ?", (role,))


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def size(small: SmallLog) -> int:
    with small.store.read() as db:
        return log.read_size(db)


def test_a_publisher_that_was_taken_over_from_publishes_signs_or_dies(small: SmallLog, clock: Clock) -> None:
    publisher, stop = small.publisher(), threading.Event()
    thread = threading.Thread(target=publish_until, args=(publisher, small.store, stop))
    thread.start()
    try:
        wait_until(lambda: publisher.status.state == PUBLISHING)
        published = (small.public / "checkpoint").read_bytes()
        with small.store.read() as db:
            row = publication.read_publication(db)
        take_over(small, "publisher")
        grown = small.append(300)
        wait_until(lambda: publisher.status.state == STANDING_BY)
        time.sleep(0.5)
        assert (small.public / "checkpoint").read_bytes() == published
        with small.store.read() as db:
            assert publication.read_publication(db) == row
        give_up(small, "publisher")
        wait_until(lambda: (small.public / "checkpoint").read_bytes() != published)
    finally:
        stop.set()
        thread.join()
    assert len(walk(small.public, small.policy(), int(clock.now))) == grown
    lease = small.store.lease("publisher")
    assert lease is not None and lease.term == 3 and lease.left_ms <= 0, "given up at a clean end"


def test_a_publisher_taken_over_from_while_it_waits_for_witnesses_replaces_the_checkpoint(
    small: SmallLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = small.publisher()
    with small.store.lead("publisher") as leadership:
        assert leadership is not None
        publisher.lead(leadership)
        assert publisher.round()
        published = (small.public / "checkpoint").read_bytes()
        small.append(5)
        collect = publisher._witnesses.collect

        def taken_over(*args: object) -> object:
            take_over(small, "publisher")
            return collect(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(publisher._witnesses, "collect", taken_over)
        with pytest.raises(LeadershipLost):
            publisher.round()
        assert leadership.lost
    assert (small.public / "checkpoint").read_bytes() == published


def test_a_sequencer_that_was_taken_over_from_sequences_or_dies(small: SmallLog) -> None:
    before, stop = size(small), threading.Event()
    thread = threading.Thread(
        target=run_sequencer,
        args=(small.store, ORIGIN),
        kwargs={"interval_s": 0.01, "batch": 1000, "stop": stop.is_set},
    )
    thread.start()
    try:
        wait_until(lambda: small.store.is_led("sequencer"))
        take_over(small, "sequencer")
        small.accept(10)
        time.sleep(1.0)
        assert thread.is_alive() and size(small) == before
        give_up(small, "sequencer")
        wait_until(lambda: size(small) == before + 11)
    finally:
        stop.set()
        thread.join()
    lease = small.store.lease("sequencer")
    assert lease is not None and lease.term == 3 and lease.left_ms <= 0
