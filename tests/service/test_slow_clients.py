"""Clients that do nothing, or half of it, or do not read: others are answered, and memory stays bounded."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import uvicorn
from servealone import ServeAlone, body_of, head_of, peak_mib, records
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ledger.slowclients import bounded_protocol

CONNECTIONS = 100
QUICK_S = 8.0
"""Two cores, and other tests beside, which once made it 4.7 s; without bounds it is 15 s and more."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeAlone]:
    alone = ServeAlone(tmp_path_factory.mktemp("slow"), connections=CONNECTIONS, in_flight_mib=32)
    yield alone
    alone.close()


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_thousands_of_idle_connections_keep_others_out(alone: ServeAlone) -> None:
    with ExitStack() as opened:
        idle = [opened.enter_context(socket.create_connection(alone.address)) for _ in range(2000)]
        for connection in idle[::2]:
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nHost:")  # half a head is nothing either
            except ConnectionError:
                pass
        assert alone.hand_in() <= QUICK_S
        time.sleep(0.3)
        open_still = [number for number, connection in enumerate(idle) if not is_closed(connection)]
        assert len(open_still) <= CONNECTIONS
        assert min(open_still) >= 1500, "those are closed on which longest nothing happened"


def test_bodies_sent_by_half_keep_others_out(alone: ServeAlone) -> None:
    body = body_of(records(200))
    with ExitStack() as opened:
        half: list[socket.socket] = []
        for _ in range(80):
            connection = opened.enter_context(socket.create_connection(alone.address))
            connection.sendall(head_of(len(body)) + body[: len(body) // 2])
            half.append(connection)
        time.sleep(1.2)
        assert alone.hand_in() <= QUICK_S
        assert alone.hand_in(500) <= QUICK_S
        for connection in half:
            connection.settimeout(15)
            assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 503")), "each is told why"


def test_connections_that_are_all_busy_are_closed_for_a_new_one(alone: ServeAlone) -> None:
    """The new one is told to come back, and those at work are left alone."""
    body = body_of(records(1))
    with ExitStack() as opened:
        busy = []
        for _ in range(CONNECTIONS):
            connection = opened.enter_context(socket.create_connection(alone.address))
            connection.sendall(head_of(len(body)) + body[:-1])
            busy.append(connection)
        time.sleep(0.5)
        late = opened.enter_context(socket.create_connection(alone.address))
        late.settimeout(10)
        answer = b""
        while part := late.recv(4096):
            answer += part
        assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in answer
        assert answer.endswith(b"}") and b"urn:glassbook:problem:busy" in answer
        for connection in busy:
            connection.sendall(body[-1:])
            connection.settimeout(10)
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_answers_that_nobody_reads_keep_others_out(alone: ServeAlone) -> None:
    body = b"{}\n" * 10_000  # the answer has 2 MB
    head = head_of(len(body)).replace(b"application/json", b"application/x-ndjson")
    with ExitStack() as opened:
        for _ in range(90):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(alone.address)
            connection.sendall(head + body)
        assert alone.hand_in() <= QUICK_S
        assert peak_mib(alone.process.pid) <= 300


async def _talkative(scope: Scope, receive: Receive, send: Send) -> None:
    """16 MiB for every request: more than the system keeps for a connection."""
    assert scope["type"] == "http"
    await Response(bytes(16 << 20))(scope, receive, send)


class Talking:
    """An application that says much, on a socket."""

    def __init__(self, protocol: type[asyncio.Protocol]) -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        self.address = bound.getsockname()
        config = uvicorn.Config(_talkative, http=protocol, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [bound]}, daemon=True)
        self._thread.start()

    def ask(self) -> socket.socket:
        """A connection on which an answer waits to be read."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(self.address)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


def read_all(connection: socket.socket) -> int:
    """How many bytes come before the end, or before nothing comes for 2 s."""
    connection.settimeout(2)
    read = 0
    try:
        while part := connection.recv(1 << 20):
            read += len(part)
    except (TimeoutError, ConnectionError):
        pass
    return read


PROTOCOLS = [HttpToolsProtocol, H11Protocol]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_answers_that_are_not_read_stay_in_memory(protocol: type[asyncio.Protocol]) -> None:
    """Those that are not read for longest are given up first."""
    talking = Talking(bounded_protocol(protocol=protocol, unread_bytes=40 << 20))
    with ExitStack() as opened:
        opened.callback(talking.close)
        deaf = []
        for _ in range(6):
            deaf.append(opened.enter_context(talking.ask()))
            time.sleep(0.1)
        found = [read_all(connection) > 16 << 20 for connection in deaf]
    assert found == sorted(found) and 2 <= sum(found) <= 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_answer_is_waited_for_without_end(protocol: type[asyncio.Protocol]) -> None:
    talking = Talking(bounded_protocol(protocol=protocol, unread_seconds=0.4))
    with ExitStack() as opened:
        opened.callback(talking.close)
        deaf = opened.enter_context(talking.ask())
        time.sleep(1)
        assert 0 < read_all(deaf) < 16 << 20
        assert read_all(opened.enter_context(talking.ask())) > 16 << 20, "who reads gets all of it"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_new_connection_waits_behind_idle_ones(protocol: type[asyncio.Protocol]) -> None:
    talking = Talking(bounded_protocol(protocol=protocol, connections=2))
    with ExitStack() as opened:
        opened.callback(talking.close)
        first = opened.enter_context(socket.create_connection(talking.address))
        second = opened.enter_context(talking.ask())
        third = opened.enter_context(talking.ask())
        assert read_all(third) > 16 << 20
        assert is_closed(first) and read_all(second) > 16 << 20
