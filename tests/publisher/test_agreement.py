"""Settings, keys and database of one folder have to be those of one log; otherwise nothing is started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.core.keys import Ed25519PrivateKey
from ledger.core.note import CosignatureSigner
from ledger.core.policy import parse_policy

BIN = Path(sys.executable).parent


def glassbook(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "glassbook"), *map(str, words)], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    done = glassbook("init", home, "--origin", "log.example.gov/a", "--yes", "--no-passphrase")
    assert done.returncode == 0, done.stderr
    return home


def test_another_origin_in_the_settings_is_refused_before_anything_starts(home: Path) -> None:
    settings = home / "glassbook.toml"
    settings.write_text(settings.read_text().replace("log.example.gov/a", "log.example.gov/b"))
    for command in (("up",), ("publisher", "run")):
        done = glassbook(*command, home)
        assert done.returncode == 3
        assert (
            "'log.example.gov/b'" in done.stderr and "the charter in the database is that of" in done.stderr
        )
        assert "ended at once" not in done.stderr and "Traceback" not in done.stderr


def test_keys_that_are_not_the_charters_sign_nothing(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    done = glassbook("init", other, "--origin", "log.example.gov/a", "--yes", "--no-passphrase")
    assert done.returncode == 0, done.stderr
    shutil.copyfile(other / "keys" / "log.mldsa44.key", home / "keys" / "log.mldsa44.key")
    done = glassbook("publisher", "run", home)
    assert done.returncode == 3 and "not those that its charter states" in done.stderr
    assert not (home / "keys" / "signed").exists()


def test_adding_a_witness_says_whether_an_auditor_is_needed(home: Path) -> None:
    vkeys = [
        CosignatureSigner(f"witness.example/w{n}", Ed25519PrivateKey.from_seed(bytes([n]) * 32)).vkey.text
        for n in (1, 2)
    ]
    first = glassbook("witness", "add", vkeys[0], "https://w.example/1", home)
    assert first.returncode == 0 and "No auditor stands behind the index yet" in first.stdout
    second = glassbook("witness", "add", vkeys[1], "https://w.example/2", home, "--auditor")
    assert second.returncode == 0 and "lists of accesses are proved complete" in second.stdout
    assert parse_policy((home / "policy.txt").read_bytes()).auditor_in_quorum
