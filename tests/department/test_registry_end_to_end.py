"""The register's operations with real processes: a key rotated, a year added, a revocation; and what readers see."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_end_to_end import CITIZEN, Operator, department, events, run

from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey
from ledger.keyfiles import write_key


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(tmp_path_factory.mktemp("operator"))
    try:
        yield running
    finally:
        running.stop()


def wait_for(seen: Callable[[], bool], what: str) -> None:
    """Until the change is published."""
    deadline = time.monotonic() + 90
    while not seen():
        assert time.monotonic() < deadline, f"not published: {what}"
        time.sleep(0.3)


def record(home: Path, folder: Path, first: int) -> None:
    department("import", home, "fhir", events(folder, 2, first))
    department("send", home, "--wait")


def new_key(home: Path) -> Path:
    """A new signing key beside the old one, and the statement that names it."""
    key = Ed25519PrivateKey.generate()
    write_key(home / "keys" / "source-2.key", key, None)
    statement = json.loads((home / "statement.json").read_text()) | {"key": jwk(key.public)}
    path = home / "statement-2.json"
    path.write_text(json.dumps(statement))
    return path


def test_a_source_is_rotated_gets_a_year_and_is_revoked_and_every_reader_can_tell(
    operator: Operator, tmp_path: Path
) -> None:
    home = operator.department(tmp_path / "health", "health")
    policy = ("--policy", operator.home / "policy.txt")
    log = ("--log", f"http://{operator.log}")
    record(home, tmp_path, 0)

    run("glassbook", "source", "rotate", operator.home, "1", new_key(home))
    asked = ("keys", home, "--subject", CITIZEN, "--out", tmp_path / "k")
    wait_for(lambda: department(*asked, code=None).returncode == 3, "the new key")
    assert "names another key for source 1 since entry" in department(*asked, code=3).stderr
    settings = home / "department.toml"
    settings.write_text(settings.read_text().replace("keys/source.key", "keys/source-2.key"))
    record(home, tmp_path, 10)

    year = str(time.gmtime().tm_year + 1)
    department("epochs", home, year, "--no-passphrase")
    run("glassbook", "source", "rotate", operator.home, "1", home / "statement.json")
    registered = "These epochs are registered already."
    wait_for(lambda: registered in department("epochs", home, year, code=None).stdout, f"the year {year}")
    record(home, tmp_path, 20)
    assert run("glassbook-verify", "audit", *policy, *log, "--jobs", "1").returncode == 0

    run("glassbook", "source", "revoke", operator.home, "1", "--on", "2025-05-06")
    refused = run("glassbook", "source", "retire", operator.home, "1", "--on", "2025-05-07", code=3)
    assert "was revoked before" in refused.stderr
    more = events(tmp_path, 1, 30)
    imported = ("import", home, "fhir", "--strict", more)
    wait_for(lambda: department(*imported, code=None).returncode == 3, "the revocation")

    audited = json.loads(run("glassbook-verify", "audit", *policy, *log, "--jobs", "1", "--json").stdout)
    assert audited["result"]["violations"] == []
    assert audited["result"]["counts"]["suspect"] == 6
    keys = tmp_path / "citizen.keys.json"
    department("keys", home, "--subject", CITIZEN, "--out", keys)
    out = tmp_path / "evidence"
    mine = run("glassbook-verify", "mine", keys, *policy, *log, "--evidence", out).stdout
    assert "(key revoked): 6 accesses" in mine
    assert mine.count("Suspect: ") == 6
    assert "6 May 2025 or later is marked as suspect" in mine
    files = sorted(out.iterdir(), key=lambda path: int(path.name.split(".")[0]))
    assert len(files) == 6
    for path in files[::2]:  # one under each of the three versions
        shown = run("glassbook-verify", "evidence", path, *policy).stdout
        assert "The source's registration changed after this record" in shown
