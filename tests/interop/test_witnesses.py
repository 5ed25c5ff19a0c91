"""The publisher and witnesses that are not ours: `aics-witness`, the one named in the environment, and our own.

The policy needs the witness, so what is published was cosigned by it.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from witnessprograms import LOCAL, NAMES, Witnessed


@pytest.fixture(params=["local", *(["named"] if "named" in NAMES else [])])
def witnessed(request: pytest.FixtureRequest) -> Witnessed:
    """What one test publishes the next goes on from."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Witnessed)
    return found


def test_a_witness_refuses_the_log_as_it_grows(witnessed: Witnessed) -> None:
    for count in (1, 7, 260):
        witnessed.log.grow(count)
    assert witnessed.log.opened().checkpoint == witnessed.log.checkpoint()
    sizes = [checkpoint.size for checkpoint in witnessed.cosigned()]
    assert len(set(sizes)) >= 3 and all(old <= new for old, new in pairwise(sizes))


def test_a_publisher_that_starts_again_does_not_find_the_size_a_witness_is_at(witnessed: Witnessed) -> None:
    size = witnessed.log.size()
    witnessed.log.stop_publisher()
    witnessed.log.accept(12)
    witnessed.log.start()
    witnessed.log.wait_for(size + 13)
    witnessed.log.grow(12)
    assert witnessed.log.opened().checkpoint.size == witnessed.cosigned()[-1].size


@pytest.mark.parametrize("name", LOCAL)
def test_a_witness_that_was_away_is_not_asked_again(name: str, local: Witnessed) -> None:
    size = local.log.size()
    local.local[name].stop()
    local.log.accept(20)
    local.log.wait_until_stuck()
    assert local.log.size() == size, "nothing is published without its witness"
    local.log.accept(300)
    local.local[name].start()
    local.log.wait_for(size + 322)
    assert local.log.opened().checkpoint.size == local.cosigned()[-1].size
