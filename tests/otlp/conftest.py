from collections.abc import Iterator
from pathlib import Path

import pytest
from otlpagent import Agent
from otlpreceiver import Received
from smalldepartment import SmallDepartment


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


@pytest.fixture
def agent(small: SmallDepartment) -> Iterator[Agent]:
    agent = Agent(small)
    agent.start()
    yield agent
    agent.kill()


@pytest.fixture
def received(small: SmallDepartment) -> Iterator[Received]:
    with Received(small) as received:
        yield received
