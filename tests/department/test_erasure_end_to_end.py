"""Details erased beside the real ledger, publisher and witness: what is gone, what holds, and kill -9 in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_end_to_end import CITIZEN, Operator, department, events, run

KILLED = """
import os, signal, sys
from ledger.department import handin
real = handin.LedgerClient.erase
def erase(self, jws):
    real(self, jws)
    os.kill(os.getpid(), signal.SIGKILL)
handin.LedgerClient.erase = erase
from ledger.department.cli import app
app(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(tmp_path_factory.mktemp("operator"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def health(operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = operator.department(tmp_path_factory.mktemp("departments") / "health", "health")
    department("import", home, "fhir", events(home, 4))
    department("send", home, "--wait")
    return home


def keys(health: Path, path: Path) -> Path:
    department("keys", health, "--subject", CITIZEN, "--out", path)
    return path


def mine(operator: Operator, file: Path, *words: str | Path) -> Any:
    policy = operator.home / "policy.txt"
    log = f"http://{operator.log}"
    return run("glassbook-verify", "mine", file, "--log", log, "--policy", policy, *words)


def details(operator: Operator, file: Path) -> list[tuple[str, bool]]:
    """Of each access the state of its details, and whether the source says that it erased them."""
    found = json.loads(mine(operator, file, "--json").stdout)["result"]["sources"]
    return [(one["details"], one["erased_on"] is not None) for source in found for one in source["accesses"]]


def standing(health: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(department("status", health, "--json").stdout)["erasure"]["details"]
    return found


def test_erased_details_are_given_out_or_take_a_proof_with_them(
    operator: Operator, health: Path, tmp_path: Path
) -> None:
    before = keys(health, tmp_path / "before.json")
    mine(operator, before, "--evidence", tmp_path / "evidence")
    assert details(operator, before) == [("opened", False)] * 4
    shown = json.loads(mine(operator, before, "--json").stdout)["result"]["sources"]
    index = next(source["accesses"][0]["index"] for source in shown if source["accesses"])
    department("erase", health, "--record", str(index))
    assert standing(health) == {"kept": 3, "to_erase": 0, "erased": 1}
    assert sorted(details(operator, before)) == [("missing", False)] + [("opened", False)] * 3
    after = keys(health, tmp_path / "after.json")
    assert sorted(details(operator, after)) == [("missing", True)] + [("opened", False)] * 3
    assert "the department says that it had them erased on" in mine(operator, after).stdout

    words = [sys.executable, "-c", KILLED, "erase", "--dir", str(health), "--before", "2026-01-01"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert standing(health) == {
        "kept": 0,
        "to_erase": 3,
        "erased": 1,
    }  # the operator has, the department not yet
    assert details(operator, before) == [("missing", False)] * 4
    department("erase", health)
    assert standing(health) == {"kept": 0, "to_erase": 0, "erased": 4}

    policy = operator.home / "policy.txt"
    evidence = sorted((tmp_path / "evidence").iterdir())
    assert len(evidence) == 4
    run("glassbook-verify", "evidence", evidence[0], "--policy", policy)
    department("receipts", health, "--out", tmp_path / "receipts")
    for receipt in (tmp_path / "receipts").iterdir():
        run("glassbook-verify", "receipt", receipt, "--policy", policy)
    run("glassbook-verify", "audit", "--log", f"http://{operator.log}", "--policy", policy)
