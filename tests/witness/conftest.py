"""A witness on a real socket, and the handmade log it knows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from handmade import HandmadeLog, RunningWitness

from verifier_cli.witness import witness_app
from verifier_cli.witnessfile import WitnessFile


@pytest.fixture
def log() -> HandmadeLog:
    return HandmadeLog()


@pytest.fixture
def witness(tmp_path: Path, log: HandmadeLog) -> Iterator[RunningWitness]:
    file = WitnessFile.create(tmp_path / "w.sqlite", "witness.example/w1")
    file.add_log(log.ed25519.vkey)
    bound = socket.create_server(("127.0.0.1", 0))
    running = RunningWitness(file, f"http://127.0.0.1:{bound.getsockname()[1]}")
    config = uvicorn.Config(
        witness_app(file, lambda: running.now), access_log=False, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    yield running
    server.should_exit = True
    thread.join(10)
    running.client.close()
    file.close()
