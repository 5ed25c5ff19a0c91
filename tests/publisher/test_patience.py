"""When a publisher that leads and gets nothing done lets another one try, and that the lead does not go to and fro."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import new_url
from smalllog import Clock, SmallLog

from ledger.store.leadership import AGAIN_S
from publisher.loop import HANDED_ON_SECONDS, LEAST_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS, Patience
from publisher.run import Publisher


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    small = SmallLog(tmp_path / "home", Clock())
    yield small.publisher()
    small.close()


class Led:
    """A publisher that leads, and is looked at twice a second; what it gets done is said by the test."""

    def __init__(self, publisher: Publisher) -> None:
        self.now = 0.0
        self.publisher = publisher
        self.given_up = 0
        self.patience = Patience(publisher, lambda: self.now)
        self.move()

    def move(self) -> None:
        self.publisher.moved_at = self.now

    def wait(self, seconds: float) -> None:
        """Nothing is got done for so long; who gives up leads anew after a moment."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + AGAIN_S)
            if not self.patience.lasts():
                self.given_up += 1
                self.now += HANDED_ON_SECONDS
                self.move()


def test_a_leader_that_gets_nothing_done_keeps_the_lead(publisher: Publisher) -> None:
    led = Led(publisher)
    led.wait(LEAST_PATIENCE_SECONDS)
    assert led.given_up == 0
    led.wait(2 * AGAIN_S)
    assert led.given_up == 1


def test_where_nobody_does_better_the_lead_goes_to_and_fro(publisher: Publisher) -> None:
    led = Led(publisher)
    led.wait(3600)
    assert 3600 / MOST_PATIENCE_SECONDS * 0.8 < led.given_up < 3600 / MOST_PATIENCE_SECONDS + 6


def test_rounds_that_are_slow_for_all_are_taken_for_a_fault_again_and_again(publisher: Publisher) -> None:
    led = Led(publisher)
    for _ in range(50):
        led.wait(8)
        led.move()
    assert led.given_up <= 2


def test_a_leader_that_was_slow_once_is_waited_for_as_long_ever_after(publisher: Publisher) -> None:
    led = Led(publisher)
    led.wait(60)
    assert led.given_up >= 3
    for _ in range(300):
        led.now += 0.1
        led.move()
        assert led.patience.lasts()
    before = led.given_up
    led.wait(LEAST_PATIENCE_SECONDS + 2 * AGAIN_S)
    assert led.given_up == before + 1


def test_a_lease_of_a_leader_of_no_use_is_renewed(tmp_path: Path) -> None:
    small = SmallLog(tmp_path / "home", Clock(), new_url("postgresql", tmp_path))
    with small.store.lead("publisher") as leadership:
        assert leadership is not None
        leadership.is_of_use = lambda: False
        deadline = time.monotonic() + 10
        while not leadership.lost:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        leadership.confirm()  # nobody has taken over: what it still gets done is good
        with small.store.lead("publisher") as other:
            assert other is not None
    small.close()
