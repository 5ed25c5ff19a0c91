from collections.abc import Iterator
from pathlib import Path

import pytest
from logfactory import NOW
from smalldepartment import SmallDepartment

from ledger.department.client import AccessRecorder


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


@pytest.fixture
def access(small: SmallDepartment) -> Iterator[AccessRecorder]:
    with AccessRecorder(
        small.home_folder, defaults={"reason": "case work"}, clock=lambda: float(NOW)
    ) as recorder:
        yield recorder
