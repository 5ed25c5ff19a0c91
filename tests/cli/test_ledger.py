"""`glassbook ledger serve` and `glassbook ledger sequence` as processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import Run
from smallledger import statement

from ledger.settings import read_settings
from ledger.store import Store, log

ORIGIN = "log.example.gov/access/2026"


@pytest.fixture
def home(glassbook: Run, tmp_path: Path) -> Path:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ("init", "log", "--origin", ORIGIN, "--yes", "--no-passphrase", "--listen", f"127.0.0.1:{port}")
    assert glassbook(*words).code == 0
    (tmp_path / "first.json").write_text(json.dumps(statement("first")))
    return tmp_path / "log"


@pytest.fixture
def processes(home: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both processes, serving."""
    started = {
        name: subprocess.Popen(
            [sys.executable, "-c", "from ledger.cli import main; main()", "ledger", name, str(home)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("serve", "sequence")
    }
    deadline = time.monotonic() + 30
    while not _answers(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def _answers(home: Path) -> bool:
    try:
        with urllib.request.urlopen(f"{read_settings(home).ledger_url}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_source_added_over_http_is_sequenced_and_both_end_on_sigterm(
    glassbook: Run, home: Path, processes: dict[str, subprocess.Popen[str]]
) -> None:
    url = read_settings(home).ledger_url
    ran = glassbook("source", "add", "log", "first.json", "--ledger", url)
    assert (ran.code, ran.out) == (0, "source 1 version 0: accepted\n"), ran.err
    store = Store.open(read_settings(home).database)
    deadline = time.monotonic() + 10
    size = 2
    while size == 2 and time.monotonic() < deadline:
        with store.read() as db:
            size = log.read_size(db)
        time.sleep(0.02)
    store.close()
    assert size == 4
    for name, process in processes.items():
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
        assert process.returncode in (0, -signal.SIGTERM), err
        for line in err.splitlines():
            assert json.loads(line)["level"] == "info", f"{name}: {line}"


def test_an_address_in_use_is_said_with_the_setting_to_change(
    glassbook: Run, home: Path, processes: dict[str, subprocess.Popen[str]]
) -> None:
    ran = glassbook("ledger", "serve", "log")
    assert ran.code == 3
    assert "cannot listen at 127.0.0.1:" in ran.err
    assert "[ledger] listen" in ran.err
    assert "Traceback" not in ran.err


def test_a_second_sequencer_stands_by(home: Path, processes: dict[str, subprocess.Popen[str]]) -> None:
    second = subprocess.Popen(
        [sys.executable, "-c", "from ledger.cli import main; main()", "ledger", "sequence", str(home)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert second.stderr is not None
    assert "standing by" in second.stderr.readline()
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=20)
    assert second.returncode == 0
