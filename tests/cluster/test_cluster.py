"""Two of each process, and what most likely breaks them: nothing accepted is lost or doubled, and the log never forks.

All of scenarios.py, and long random runs: make campaign.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from trial import Trial

TELLING = (
    "sequencer stopped and continued",
    "publisher stopped while it publishes",
    "sequencer and database: silence in the middle of a message",
    "ledger and database: silence",
    "publisher and bucket: silence",
    "database killed",
    "bucket killed",
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with Trial(tmp_path_factory.mktemp("cluster")) as trial:
        yield trial


@pytest.mark.parametrize("name", TELLING)
def test_a_fault_loses_doubles_or_forks_something_or_nobody_takes_over(trial: Trial, name: str) -> None:
    print(trial.do(name, seed=1))
