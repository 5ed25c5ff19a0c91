"""`glassbook source`: every change is an entry that passes the audit, and a mistake changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from program import Run
from smallledger import statement

from ledger.core.replay import Replay, Violation, bad_signatures
from ledger.sequencer.run import Sequencer
from ledger.settings import read_settings
from ledger.store import Store, inbox, log

ORIGIN = "log.example.gov/access/2026"


@pytest.fixture
def home(glassbook: Run, tmp_path: Path) -> Path:
    """A log whose charter knows the scheme `id`, and a statement of a first source."""
    assert glassbook("init", "log", "--origin", ORIGIN, "--yes", "--no-passphrase").code == 0
    write(tmp_path, "first.json", statement("first"))
    return tmp_path / "log"


def write(folder: Path, name: str, stated: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(stated))


def sequence(home: Path) -> list[Violation]:
    """Move the inbox into the log, and audit the whole of it."""
    store = Store.open(read_settings(home).database)
    sequencer = Sequencer(store, ORIGIN)
    while sequencer.step() is not None:
        pass
    with store.read() as db:
        entries = log.read_entries(db, 0, log.read_size(db))
    store.close()
    replay = Replay(ORIGIN, 1_800_000_000)
    replay.report(bad_signatures(ORIGIN, replay.feed_many(entries)))
    replay.finish()
    return list(replay.violations)


def backlog(home: Path) -> int:
    store = Store.open(read_settings(home).database)
    with store.read() as db:
        waiting = inbox.backlog(db)
    store.close()
    return waiting


def test_a_source_lives_from_add_to_revoke(glassbook: Run, home: Path, tmp_path: Path) -> None:
    ran = glassbook("source", "show", "log")
    assert ran.out == "No source is registered yet; run: glassbook source add DIR STATEMENT.json\n"

    ran = glassbook("source", "add", "log", "first.json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "source 1 version 0: accepted; the sequencer gives it its place in the log\n"
    assert "; not sequenced yet" in glassbook("source", "show", "log").out

    anew = statement("first anew", seal_months=0)
    anew["vrf"] = {"2027": statement("next year")["vrf"]["2026"]}
    write(tmp_path, "anew.json", anew)
    ran = glassbook("source", "rotate", "log", 1, "anew.json")
    assert ran.out.startswith("source 1 version 1: accepted"), ran.err
    assert sequence(home) == []

    assert glassbook("source", "retire", "log", 1, "--on", "2026-09-01").code == 0
    assert glassbook("source", "revoke", "log", 1, "--on", "2026-08-01").code == 0
    assert sequence(home) == []
    assert glassbook("source", "show", "log").out == (
        "source 1 version 3: Department, System; revoked on 2026-08-01; since 2026-01-01; "
        "epochs 2026, 2027; 1 activities\n"
    )
    shown = json.loads(glassbook("source", "show", "log", "1", "--json").out)
    assert [version["status"] for version in shown["sources"]] == ["active", "active", "retired", "revoked"]
    assert {version["state"] for version in shown["sources"]} == {"sequenced"}
    assert shown["sources"][0]["vrf"].items() <= shown["sources"][3]["vrf"].items()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": 1}, "member source is added by the registrar"),
        ({"prev": "x"}, "member prev is added by the registrar"),
        ({"colour": "red"}, "unknown member colour"),
        ({"schemes": ["passport"]}, "schemes"),
        ({"status": "retired"}, "retired"),
        ({"seal_months": "12"}, "seal_months"),
        ({"seal_months": -1}, "seal_months"),
        ({"contact": "no URL"}, "contact"),
        ({"vrf": {"2026": "AAAA"}}, "vrf"),
        ({"activities": {"0": {}}}, "activities"),
    ],
)
def test_a_statement_with_a_fault_is_refused_and_nothing_is_entered(
    glassbook: Run, home: Path, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    write(tmp_path, "bad.json", statement("first") | changed)
    ran = glassbook("source", "add", "log", "bad.json")
    assert ran.code == 3
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert backlog(home) == 0


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", bytes(500), b'{"key": 1, "key": 2}', b"\xff", b"[" * 99_999]
)
def test_a_file_that_is_no_statement_is_refused(
    glassbook: Run, home: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    ran = glassbook("source", "add", "log", "bad.json")
    assert ran.code == 3
    assert "bad.json" in ran.err
    assert "Traceback" not in ran.err


def test_a_key_that_has_a_role_gets_no_second_one(glassbook: Run, home: Path) -> None:
    assert glassbook("source", "add", "log", "first.json").code == 0
    ran = glassbook("source", "add", "log", "first.json")
    assert ran.code == 3
    assert "key" in ran.err
    assert backlog(home) == 1


def test_changes_that_the_formats_forbid_are_refused(glassbook: Run, home: Path, tmp_path: Path) -> None:
    for words in (("retire", "log", 1, "--on", "2026-09-01"), ("rotate", "log", 1, "first.json")):
        ran = glassbook("source", *words)
        assert (ran.code, "not registered" in ran.err) == (3, True)
    glassbook("source", "add", "log", "first.json")
    write(tmp_path, "later.json", statement("first", since="2026-02-01"))
    other_vrf = statement("first") | {"vrf": statement("other")["vrf"]}
    write(tmp_path, "vrf.json", other_vrf)
    for words, said in (
        (("rotate", "log", 1, "later.json"), "since was moved later"),
        (("rotate", "log", 1, "vrf.json"), "VRF key of epoch 2026"),
        (("revoke", "log", 1, "--on", "1 September"), "--on"),
    ):
        ran = glassbook("source", *words)
        assert (ran.code, said in ran.err) == (3, True), ran.err
    assert glassbook("source", "revoke", "log", 1, "--on", "2026-08-01").code == 0
    ran = glassbook("source", "retire", "log", 1, "--on", "2026-09-01")
    assert (ran.code, "revoked before" in ran.err) == (3, True)
    assert sequence(home) == []


def test_the_registrars_key_may_lie_elsewhere_but_must_be_the_registrars(
    glassbook: Run, home: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "usb-stick.key"
    (home / "keys" / "registrar.key").rename(elsewhere)
    ran = glassbook("source", "add", "log", "first.json")
    assert (ran.code, "registrar.key" in ran.err) == (3, True)
    ran = glassbook("source", "add", "log", "first.json", "--key", home / "keys" / "ledger.key")
    assert ran.code == 3
    ran = glassbook("source", "add", "log", "first.json", "--key", home / "keys" / "log.mldsa44.key")
    assert (ran.code, "not an Ed25519 key" in ran.err) == (3, True)
    assert backlog(home) == 0
    elsewhere.chmod(0o644)
    ran = glassbook("source", "add", "log", "first.json", "--key", elsewhere)
    assert (ran.code, "chmod 600" in ran.err) == (3, True)
    elsewhere.chmod(0o400)
    assert glassbook("source", "add", "log", "first.json", "--key", elsewhere).code == 0


def test_over_http_a_ledger_that_is_away_is_said(glassbook: Run, home: Path) -> None:
    ran = glassbook("source", "add", "log", "first.json", "--ledger", "http://127.0.0.1:9")
    assert (ran.code, "does not answer" in ran.err) == (3, True)
    assert backlog(home) == 0


def test_a_full_disk_under_the_output_is_said_in_a_line(home: Path) -> None:
    command = [sys.executable, "-c", "from ledger.cli import main; main()", "source", "show", str(home)]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (3, "glassbook: output: No space left on device\n")
