"""Who is let in, by a clock that the test sets: no more than can be answered soon, small ones too, nobody for ever."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.admission import ALL, GRACE_S, LONGEST_S, PRESENT_S, SHARE, Admission, Full, Limits, Ticket

LIMITS = Limits(rate=100, most=1000, small=5, within=2, turns=2, small_turns=2)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def admission(clock: Clock, limits: Limits = LIMITS) -> Admission:
    return Admission(limits, clock, lambda low, _high: low)


def refused(found: Admission, weight: float, client: str = "a") -> Full:
    with pytest.raises(Full) as full:
        found.ask(weight, client)
    return full.value


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await work()

    asyncio.run(whole())


def test_more_is_let_in_than_is_done_in_time() -> None:
    found = admission(Clock())
    tickets = [found.ask(50, "a") for _ in range(4)]
    assert found.in_flight == found.limit == 200
    full = refused(found, 50)
    assert (full.reason, full.retry_after_s) == (ALL, 2), "what is in flight takes two seconds"
    tickets[0].done()
    found.ask(50, "a")
    assert refused(found, 50).reason == ALL


def test_a_request_larger_than_the_room_never_gets_in() -> None:
    found = admission(Clock())
    huge = found.ask(900, "a")
    huge.done()
    found.ask(80, "a")
    found.ask(900, "a")  # there is room for half of the limit
    assert refused(found, 900).reason == ALL


def test_a_place_given_back_twice_makes_room_for_two() -> None:
    found = admission(Clock())
    ticket = found.ask(200, "a")
    ticket.done()
    ticket.done()
    assert found.in_flight == 0
    found.ask(200, "a")
    refused(found, 50)


def test_bodies_that_do_not_come_keep_others_out_for_ever() -> None:
    clock = Clock()
    found = admission(clock)
    silent = [found.ask(50, "a") for _ in range(4)]
    silent[0].came(30)
    refused(found, 50)
    clock.now += GRACE_S
    found.ask(50, "a")
    assert found.in_flight == 30 + 3 * 1 + 50, "each counts with what came of it"

    async def late() -> None:
        silent[0].came(20)
        async with silent[0].turn():
            assert found.in_flight == 50 + 3 * 1 + 50
            assert found.working == 50
        for ticket in silent:
            ticket.done()
        assert (found.in_flight, found.working) == (50, 0)

    run(late)


def test_a_body_longer_than_it_said_counts_as_it_said() -> None:
    found = admission(Clock())
    ticket = found.ask(10, "a")
    assert ticket.came(600)
    assert not ticket.came(600), "there is no room for that in memory"
    assert found.in_flight == 1200
    ticket.done()
    assert found.in_flight == 0


def test_small_requests_are_kept_out_by_large_ones() -> None:
    found = admission(Clock())
    for _ in range(4):
        found.ask(50, "a")
    refused(found, 6)
    for _ in range(5):
        found.ask(5, "a")
    refused(found, 5)


def test_small_requests_wait_for_the_turns_of_large_ones() -> None:
    found = admission(Clock())

    async def work() -> None:
        async with found.ask(20, "a").turn(), found.ask(20, "a").turn():
            async with asyncio.timeout(5), found.ask(5, "b").turn():
                pass
            waiting = asyncio.create_task(found.ask(20, "b").turn().__aenter__())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting

    run(work)


def test_one_client_takes_all_while_others_ask() -> None:
    clock = Clock()
    found = admission(clock)
    mine = [found.ask(40, "greedy") for _ in range(5)]
    assert refused(found, 40, "greedy").reason == ALL, "alone it may have all there is"
    assert refused(found, 40, "other").reason == ALL
    assert refused(found, 40, "greedy").reason == SHARE
    mine.pop().done()
    assert refused(found, 40, "greedy").reason == SHARE
    theirs = found.ask(40, "other")
    theirs.done()
    clock.now += PRESENT_S
    found.ask(40, "greedy")


def test_a_client_with_nothing_in_flight_is_refused_for_its_share() -> None:
    found = admission(Clock())
    for name in "abcdefgh":
        found.ask(15, name)
    found.ask(60, "i")
    assert refused(found, 15, "i").reason == SHARE


def test_clients_are_remembered_for_ever() -> None:
    clock = Clock()
    found = admission(clock)
    kept = found.ask(1, "kept")
    for number in range(30_000):
        found.ask(0.001, f"client {number}").done()
    assert len(found._clients) <= 10_000
    clock.now += PRESENT_S
    found.ask(1, "last")
    assert set(found._clients) <= {"kept", "last"}
    kept.done()


def worked(found: Admission, clock: Clock, seconds: float, rate: float, weight: float = 20) -> None:
    """Saturate it for so long, when the machine does `rate` a second."""

    async def work() -> None:
        tickets: list[Ticket] = []
        end = clock.now + seconds
        while clock.now < end:
            while True:
                try:
                    ticket = found.ask(weight, "a")
                except Full:
                    break
                ticket.begin()
                tickets.append(ticket)
            clock.now += weight / rate
            tickets.pop(0).done(True)
        for ticket in tickets:
            ticket.done()

    run(work)


@pytest.mark.parametrize("rate", [20, 60, 100, 300, 400])
def test_the_rate_is_not_what_is_really_done(rate: float) -> None:
    clock = Clock()
    found = admission(clock)
    worked(found, clock, 60, rate)
    assert rate * 0.85 <= found.rate <= rate * 1.2 + 20, "give or take one request in a window"


@pytest.mark.parametrize("rate", [40, 100, 250])
def test_an_admitted_request_waits_for_longer_than_the_bound(rate: float) -> None:
    """First in, first out at a rate that the admission does not know; offered is all that is let in."""
    clock = Clock()
    found = admission(clock)
    worked(found, clock, 20, rate)
    for _ in range(5):
        found.ask(20, "a")
        with pytest.raises(Full):
            while True:
                found.ask(20, "a")
        assert found.in_flight / rate <= LIMITS.within * 1.25 + 40 / rate
        clock.now += 1


def test_an_idle_hour_is_taken_for_slowness() -> None:
    clock = Clock()
    found = admission(clock)
    worked(found, clock, 30, 300)
    before = found.rate
    for _ in range(50):
        clock.now += 60
        ticket = found.ask(20, "a")
        ticket.begin()
        clock.now += 0.5
        ticket.done(True)
    assert found.rate == before


def test_what_took_no_work_is_measured() -> None:
    clock = Clock()
    found = admission(clock)
    for _ in range(1000):
        ticket = found.ask(50, "a")
        ticket.begin()
        clock.now += 0.001
        ticket.done()
    assert found.rate == LIMITS.rate


def test_retry_after_is_longer_the_more_is_offered_and_never_too_long() -> None:
    clock = Clock()
    found = admission(clock)
    for _ in range(4):
        found.ask(50, "a").begin()
    assert refused(found, 50).retry_after_s == 2
    for _ in range(10):
        for _ in range(12):
            refused(found, 50)
        clock.now += 1
    assert refused(found, 50).retry_after_s > 5
    found.rate = 0.5
    assert refused(found, 50).retry_after_s == LONGEST_S


def test_everybody_comes_back_at_once() -> None:
    found = Admission(LIMITS)
    for _ in range(4):
        found.ask(50, "a")
    seen = {refused(found, 50).retry_after_s for _ in range(200)}
    assert min(seen) >= 1 and len(seen) > 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.floats(1, 400),
            st.sampled_from(["ask", "come", "begin", "weigh", "done", "measured", "wait"]),
        ),
        max_size=60,
    )
)
def test_whatever_happens_what_is_in_flight_is_what_is_held(
    steps: list[tuple[str, float, str]],
) -> None:
    clock = Clock()
    found = admission(clock)
    tickets: list[Ticket] = []
    for client, weight, deed in steps:
        match deed:
            case "ask":
                try:
                    tickets.append(found.ask(weight, client))
                except Full:
                    assert found.in_flight > 0, "an idle ledger takes anything"
            case "wait":
                clock.now += weight / 100
            case "come" if tickets:
                tickets[-1].came(weight)
            case "weigh" if tickets:
                tickets[-1].weigh(weight)
            case "begin" if tickets and not tickets[0]._working:
                tickets[0].begin()
            case "done" if tickets:
                tickets.pop(0).done()
            case "measured" if tickets:
                tickets.pop(0).done(True)
        assert found.rate > 0
        assert math.isclose(found.in_flight, sum(ticket._held for ticket in tickets), abs_tol=1e-6)
        assert math.isclose(
            found.working, sum(ticket._held for ticket in tickets if ticket._working), abs_tol=1e-6
        )
    for ticket in tickets:
        ticket.done()
    assert math.isclose(found.in_flight, 0, abs_tol=1e-6) and math.isclose(found.working, 0, abs_tol=1e-6)
