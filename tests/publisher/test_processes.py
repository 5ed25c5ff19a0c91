"""The real processes: `glassbook init`, `witness --init`, `witness add`, `up`; published within a second;
ended by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from engines import ENGINES
from runninglog import BIN, Running, free_port, run
from smalllog import walk

from ledger.core.policy import parse_policy


@pytest.fixture(params=ENGINES)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path, engine=request.param)
    yield running
    running.close()


def test_published_within_a_second_and_still_there_after_every_kind_of_end(running: Running) -> None:
    waited = []
    size = 2
    for count in (1, 10, 300, 1, 50):
        before = time.monotonic()
        running.accept(count)
        size += count + 1
        running.wait_for(size)
        waited.append(time.monotonic() - before)
    # From acceptance on, and the machine may be busy with other tests: the bound must hold as a rule.
    assert sorted(waited)[len(waited) // 2] <= 1.0, waited

    killed = set()
    for _ in range(2):  # the second time it has only just started: still no part that cannot start
        publisher = running.children()[-1]
        killed.add(publisher)
        os.kill(publisher, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while len(running.children()) < 3 or running.children()[-1] in killed:
            assert time.monotonic() < deadline and running.up.poll() is None
            time.sleep(0.05)
    running.accept(20)
    running.wait_for(size + 21)
    assert not killed & set(running.children())

    children = running.children()
    running.up.send_signal(signal.SIGTERM)
    assert running.up.wait(40) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in children), "the parts end with the whole"
    policy = parse_policy((running.home / "policy.txt").read_bytes())
    assert len(walk(running.home / "public", policy, int(time.time()))) == size + 21


def test_without_its_witness_nothing_is_published_until_it_is_back(running: Running) -> None:
    running.witness.terminate()
    running.witness.wait(20)
    running.accept(5)
    deadline = time.monotonic() + 20
    while (answer := httpx.get(f"{running.url}/readyz", trust_env=False)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.json()["state"] == "waiting for witnesses"
    assert "witness W1 is missing since" in answer.json()["reasons"][0]
    assert running.size() == 2
    running.start("glassbook-verify", "witness", "--plain", running.file, *running.listen)
    running.wait_for(8)


def test_a_part_that_cannot_start_ends_all_with_its_code(tmp_path: Path) -> None:
    home = tmp_path / "home"
    port = free_port()
    run(
        "glassbook", "init", home, "--origin", "log.example.gov/a", "--yes", "--no-passphrase",
        "--listen", f"127.0.0.1:{free_port()}", "--public-listen", f"127.0.0.1:{port}",
    )  # fmt: skip
    (home / "keys" / "log.ed25519.key").chmod(0o644)
    done = subprocess.run(
        [str(BIN / "glassbook"), "up", str(home)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert "chmod 600" in done.stderr and "publisher run ended at once with code 3" in done.stderr
