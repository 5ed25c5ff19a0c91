"""The agent killed at random moments beside a real ledger (crashcampaign.py has the long run)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from crashcampaign import Campaign
from test_end_to_end import Operator


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(tmp_path_factory.mktemp("operator"))
    try:
        yield running
    finally:
        running.stop()


def test_kill_9_of_the_agent_loses_or_doubles_a_record_or_miscounts_a_day(
    operator: Operator, tmp_path: Path
) -> None:
    campaign = Campaign(operator, tmp_path, seed=5)
    campaign.strike(kills=5, events=40)
    campaign.finish()
