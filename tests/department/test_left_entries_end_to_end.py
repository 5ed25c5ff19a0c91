"""`glassbook up` with keep_days = 0: entries leave the database at once, and nobody notices but the operator."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_end_to_end import CITIZEN, Operator, department, events, run

from ledger.settings import read_settings
from ledger.store import Store
from ledger.store.log import read_size
from ledger.store.retention import first_leaf_held


class Forgetful(Operator):
    """An operator that keeps no published entry in its database."""

    def start(self, *words: str | Path):  # type: ignore[no-untyped-def]
        if words[:2] == ("glassbook", "up"):
            path = self.home / "glassbook.toml"
            text, found = re.subn(r"(?m)^\[sequencer\]$", "[sequencer]\nkeep_days = 0", path.read_text())
            assert found == 1
            path.write_text(text)
        return super().start(*words)

    def held(self) -> tuple[int, int]:
        """The first leaf whose entry is in the database, and the log's size."""
        store = Store.open(read_settings(self.home).database)
        try:
            with store.read() as db:
                return first_leaf_held(db), read_size(db)
        finally:
            store.close()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forgetful]:
    running = Forgetful(tmp_path_factory.mktemp("operator"))
    try:
        yield running
    finally:
        running.stop()


def test_a_log_that_keeps_nothing_cannot_be_audited_read_or_recovered_from(
    operator: Forgetful, tmp_path: Path
) -> None:
    health = operator.department(tmp_path / "health", "health")
    policy = ("--policy", operator.home / "policy.txt")
    for batch in range(3):
        department("import", health, "fhir", events(tmp_path, 200, batch * 200))
        department("send", health, "--wait")
    deadline = time.monotonic() + 60
    while operator.held()[0] < 512:
        assert time.monotonic() < deadline, operator.held()
        time.sleep(0.2)
    held, size = operator.held()
    assert held == 512 < size
    said = run("glassbook", "doctor", operator.home).stdout
    assert "those below 512 in the public files alone" in said
    audit = run("glassbook-verify", "audit", "--json", "--log", f"http://{operator.log}", *policy)
    assert json.loads(audit.stdout)["verdict"] == "holds"

    # The outbox is lost: all is handed in again under labels found in the log.
    for path in health.glob("outbox.sqlite*"):
        path.unlink()
    department("recover", health, "--nothing-waits")
    department("import", health, "fhir", events(tmp_path, 9, 800))
    department("send", health, "--wait")
    keys = tmp_path / "citizen.keys.json"
    department("keys", health, "--subject", CITIZEN, "--out", keys)
    mine = run("glassbook-verify", "mine", keys, "--log", f"http://{operator.log}", *policy)
    assert "609 accesses" in mine.stdout
