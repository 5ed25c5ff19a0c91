"""A witness on a real socket, and the handmade log it knows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from handmade import HandmadeLog, RunningWitness
from starlette.types import ASGIApp, Receive, Scope, Send

from verifier_cli.witness import witness_app
from verifier_cli.witnessfile import WitnessFile


@pytest.fixture
def log() -> HandmadeLog:
    return HandmadeLog()


class Served:
    """A socket that answers for one witness after another: to start and to end a server takes half a second."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.app: ASGIApp | None = None
        self.client = httpx.Client(trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    bound = socket.create_server(("127.0.0.1", 0))
    served = Served(f"http://127.0.0.1:{bound.getsockname()[1]}")
    server = uvicorn.Server(uvicorn.Config(served, access_log=False, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield served
    served.client.close()
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def witness(tmp_path: Path, log: HandmadeLog, served: Served) -> Iterator[RunningWitness]:
    file = WitnessFile.create(tmp_path / "w.sqlite", "witness.example/w1")
    file.add_log(log.ed25519.vkey)
    running = RunningWitness(file, served.url, served.client)
    served.app = witness_app(file, lambda: running.now)
    yield running
    served.app = None
    file.close()
