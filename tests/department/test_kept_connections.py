"""Looks at a log over a real socket: on which connections, and which log is asked."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from logserver import Handler, LogServer
from smalldepartment import SmallDepartment

from ledger.client.publiclog import Unreachable
from ledger.core.errors import Malformed


class Watched(LogServer):
    """A log server that keeps the connection of each question for the checkpoint."""

    def __init__(self, small: SmallDepartment) -> None:
        super().__init__(small.log)
        self.connections: list[socket.socket] = []
        self.answer()

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def answer(self, status: int = 200) -> None:
        """From now on, with this status."""

        def checkpoint(handler: Handler) -> None:
            self.connections.append(handler.connection)
            handler.send(self.note, status)

        self.wrong["checkpoint"] = checkpoint


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


@pytest.fixture
def server(small: SmallDepartment) -> Iterator[Watched]:
    with Watched(small) as server:
        name_log(small, str(small.ledger.folder), server.url)
        yield server


def name_log(small: SmallDepartment, before: str, now: str) -> None:
    path = small.home_folder / "department.toml"
    path.write_text(path.read_text().replace(f'log = "{before}"', f'log = "{now}"'))


def wait_until_closed(connection: socket.socket) -> None:
    deadline = time.monotonic() + 10
    while connection.fileno() != -1:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_looks_that_follow_one_another_open_a_connection_each_or_leave_one_open(
    small: SmallDepartment, server: Watched
) -> None:
    with small.home() as home:
        for _ in range(3):
            home.view(small.now)
        assert len(server.connections) == 3 and len(set(server.connections)) == 1
        assert server.connections[0].fileno() != -1
    wait_until_closed(server.connections[0])


def test_a_look_that_failed_leaves_its_connection_to_the_next(
    small: SmallDepartment, server: Watched
) -> None:
    with small.home() as home:
        home.view(small.now)
        server.answer(404)
        with pytest.raises(Unreachable):
            home.view(small.now)
        wait_until_closed(server.connections[1])
        server.answer()
        assert home.view(small.now).size == small.log.size
        assert server.connections[2] is not server.connections[0]


def test_the_log_of_before_is_asked_after_the_settings_name_another(
    small: SmallDepartment, server: Watched
) -> None:
    with small.home() as home, Watched(small) as other:
        home.view(small.now)
        name_log(small, server.url, other.url)
        assert home.has_changed()
        home.reload()
        wait_until_closed(server.connections[0])
        home.view(small.now)
        assert (len(server.connections), len(other.connections)) == (1, 1)


def test_a_policy_that_was_changed_is_not_followed_on_a_kept_connection(
    small: SmallDepartment, server: Watched
) -> None:
    with small.home() as home:
        home.view(small.now)
        (small.home_folder / "policy.txt").write_text("no policy")
        home.reload()
        with pytest.raises(Malformed, match="policy"):
            home.view(small.now)
