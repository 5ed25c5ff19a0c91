"""A ledger that is overloaded: it is asked when it says, nothing is lost, and the pace is not lowered for good."""

from pathlib import Path

import pytest
from fhirevents import r4
from smallagent import agent_of
from smalldepartment import TODAY, SmallDepartment

from ledger.department.agent import LONGEST_BUSY
from ledger.department.settings import CannotGoOn


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


def event(person: str) -> dict[str, object]:
    return r4(recorded=f"{TODAY}T10:00:00Z", entity=[{"what": {"reference": f"Patient/{person}"}}])


def test_a_ledger_that_is_busy_for_long_and_takes_some_is_asked_ever_more_rarely(
    small: SmallDepartment,
) -> None:
    """Overload that lasts: what was taken shows that asking goes on to be worth it, and the pace stays."""
    with agent_of(small) as running:
        running.sender.batch = 1
        sending = next(part for part in running.agent._parts if part.name == "sending")
        for number in range(12):
            small.record(event(f"anna{number}"), event(f"ben{number}"))
            small.ledger.plan = ["take", "busy"]
            running.agent.round()
            assert sending.failures == 1 and 7 <= sending.due - running.sender.clock() <= 10.5
            running.wait(11)
        small.ledger.plan = ["busy"] * 12
        for failures in range(2, 14):
            running.agent.round()
            assert sending.failures == failures
            assert 7 <= sending.due - running.sender.clock() <= 1.5 * LONGEST_BUSY
            running.wait(46)
        running.rounds(3)
        assert sending.failures == 0 and sending.due - running.sender.clock() <= 1.5
        counts = running.home.outbox.counts()
        assert (counts.owed, counts.receipts) == (0, 24)
        assert len(set(small.log.entries)) == len(small.log.entries)


def test_a_busy_ledger_is_taken_for_one_that_does_not_publish(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.plan = ["busy"] * 30
    with pytest.raises(CannotGoOn, match="too busy"):
        small.send()
    small.ledger.plan = []
    assert small.send().receipts == 1
