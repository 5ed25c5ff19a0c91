"""A log whose every signing key lies in a token: the whole way of an access, and what the doctor says of it."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fhirevents import r4
from wholelog import BIN, WORDS, WholeLog


def events(folder: Path, count: int, first: int) -> Path:
    """Accesses to the sample citizen's data on one day of 2025, as NDJSON."""
    path = folder / f"events-{first}.ndjson"
    people = [{"what": {"reference": "Patient/example"}}]
    lines = [
        json.dumps(r4(recorded=f"2025-05-06T10:00:{at:02}Z", entity=people))
        for at in range(first, first + count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder with its mode and the hash of what is in it."""
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mode:o} {path.stat().st_mtime_ns} "
        + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def settle(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_no_private_key_that_signs_lies_in_a_file(whole: WholeLog) -> None:
    for path in (*whole.operator.glob("keys/*.key"), *whole.department.glob("keys/*.key")):
        text = path.read_bytes()
        kept_in_file = path.name.startswith(("vrf-", "log.mldsa44"))
        assert text.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----" if kept_in_file else b"pkcs11:"), (
            path.name
        )


def test_an_access_signed_in_a_token_gets_no_receipt(whole: WholeLog, tmp_path: Path) -> None:
    before = whole.outbox()["receipts"]
    whole.source("import", "fhir", events(tmp_path, 5, 0))
    whole.source("send", "--wait")
    assert whole.outbox() == {"waiting": 0, "handed_in": 0, "refused": 0, "receipts": before + 5}
    out = tmp_path / "receipts"
    whole.source_without_keys("receipts", "--out", out, "--limit", "1")
    (receipt,) = out.iterdir()
    whole.run("glassbook-verify", "receipt", receipt, "--policy", whole.operator / "policy.txt")


def test_a_token_that_is_pulled_out_loses_an_access(whole: WholeLog, tmp_path: Path) -> None:
    before = whole.outbox()
    file = events(tmp_path, 3, 20)
    whole.source("import", "fhir", events(tmp_path, 2, 10))
    whole.token.take_away()
    try:
        failed = whole.source("import", "fhir", file, code=3)
        assert "token" in failed.stderr and "Traceback" not in failed.stderr
        # The ledger cannot promise: it asks to be left alone, and nothing is lost.
        sent = whole.source_any("send")
        assert sent.returncode == 3 and "Traceback" not in sent.stderr
        told = whole.doctor(whole.department, code=3)
        assert re.search(r"^✗ source key: key 'source' in token 'glassbook': .*To do: ", told, re.M)
    finally:
        whole.token.bring_back()
    whole.source("import", "fhir", file)
    settle(lambda: whole.source_any("send", "--wait").returncode == 0)
    assert whole.outbox() == before | {"receipts": before["receipts"] + 5}


def test_the_doctor_calls_a_log_that_runs_ill(whole: WholeLog) -> None:
    secret = ("--passphrase-file", whole.passphrase)
    told = whole.doctor(whole.operator, *secret)
    for line in (
        "✓ ledger.key: in token 'glassbook'; is the one of the charter",
        "✓ log.mldsa44.key: encrypted; is the one of the charter",
        "✓ ledger, clock: agrees within ",
        "✓ witness W1, clock: agrees within ",
        "✓ witness W1, cosignature: is on the published checkpoint, with the key in policy.txt",
        "! policy, auditor: no auditor is needed: that a list is complete rests on the log's word. To do: ",
        " to look at, 0 to mend. Nothing has to be mended.",
    ):
        assert line in told
    told = whole.doctor(whole.department, *secret)
    for line in (
        "✓ source key: in token 'glassbook'; is the one of the register",
        f"✓ VRF key of {time.gmtime().tm_year}: encrypted; is the one of the register",
        "✓ published log: ",
        "✓ outbox.sqlite: is sound",
    ):
        assert line in told


@pytest.mark.parametrize("which", ["operator", "department"])
def test_the_doctor_tells_a_secret(whole: WholeLog, which: str) -> None:
    folder: Path = getattr(whole, which)
    done = subprocess.run(
        [BIN / "glassbook", "doctor", folder, "--passphrase-file", whole.passphrase, "--json"],
        capture_output=True, text=True, env=whole.token.environment, timeout=60,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert set(found) == {"folder", "kind", "findings", "good", "look", "mend", "exit"}
    assert (found["kind"], found["exit"]) == (which, done.returncode) and done.stderr == ""
    assert all(set(one) == {"mark", "check", "says", "do"} for one in found["findings"])
    assert all(bool(one["do"]) == (one["mark"] != "good") for one in found["findings"])
    for secret in (WORDS, "pin-source", "PRIVATE KEY", "nhs:", "9990000018"):
        assert secret not in done.stdout


def test_the_doctor_changes_a_department_that_nobody_uses(whole: WholeLog) -> None:
    before = content(whole.department)
    whole.doctor(whole.department, "--passphrase-file", whole.passphrase)
    assert content(whole.department) == before
