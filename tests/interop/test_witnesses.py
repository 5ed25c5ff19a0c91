"""The publisher and witnesses that are not ours: `aics-witness`, the one named in the environment, and our own.

The policy needs the witness, so what is published was cosigned by it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from witnessprograms import ALL, PROGRAMS, Witnessed


@pytest.fixture
def witnessed(request: pytest.FixtureRequest, witnessed_by: Callable[[str], Witnessed]) -> Witnessed:
    """What one test publishes the next goes on from."""
    return witnessed_by(request.param)


@pytest.mark.parametrize("witnessed", ALL, indirect=True)
def test_the_witness_refuses_the_log_as_it_grows(witnessed: Witnessed) -> None:
    for count in (1, 7, 260):
        witnessed.log.grow(count)
    assert witnessed.log.opened().checkpoint == witnessed.log.checkpoint()
    sizes = [checkpoint.size for checkpoint in witnessed.cosigned()]
    assert len(set(sizes)) >= 3 and all(old <= new for old, new in pairwise(sizes))


@pytest.mark.parametrize("witnessed", ALL, indirect=True)
def test_a_publisher_that_starts_again_does_not_find_the_size_the_witness_is_at(witnessed: Witnessed) -> None:
    witnessed.log.stop_publisher()
    witnessed.log.accept(12)
    witnessed.log.start()
    witnessed.log.grow(12)
    assert witnessed.log.opened().checkpoint.size == witnessed.cosigned()[-1].size


@pytest.mark.parametrize("witnessed", PROGRAMS, indirect=True)
def test_a_witness_that_was_away_is_not_asked_again(witnessed: Witnessed) -> None:
    size = witnessed.log.size()
    witnessed.witness.stop()
    witnessed.log.accept(20)
    witnessed.log.wait_until_stuck()
    assert witnessed.log.size() == size, "nothing is published without its witness"
    witnessed.log.accept(300)
    witnessed.witness.start()
    witnessed.log.wait_for(size + 322)
    assert witnessed.log.opened().checkpoint.size == witnessed.cosigned()[-1].size
