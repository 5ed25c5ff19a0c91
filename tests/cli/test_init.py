"""`glassbook init`: what it leaves behind, what it refuses, and that nothing half-made can be used."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from program import Run

from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.note import parse_vkey
from ledger.core.replay import Replay, bad_signatures
from ledger.core.statements import parse_charter
from ledger.files import FileRefused
from ledger.keyfiles import read_key, read_passphrase
from ledger.settings import SettingsRefused, parse_settings, read_settings
from ledger.store import Store, log

ORIGIN = "log.example.gov/access/2026"
BIN = Path(sys.executable).parent
PLAIN = ("--yes", "--no-passphrase")


@pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
@pytest.mark.parametrize("kib", [0, 8], ids=["at the first key", "in the database"])
def test_a_full_disk_leaves_nothing_that_hinders_the_next_try(tmp_path: Path, kib: int, there: bool) -> None:
    home = tmp_path / "log"
    if there:
        home.mkdir()
    command = f"ulimit -f {kib}; exec {BIN / 'glassbook'} init log --origin {ORIGIN} --yes --no-passphrase"
    failed = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 3 and "Traceback" not in failed.stderr, failed.stderr
    assert home.is_dir() == there and (not there or list(home.iterdir()) == [])
    words = [str(BIN / "glassbook"), "init", "log", "--origin", ORIGIN, *PLAIN]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=60).returncode == 0


def test_a_new_log_has_four_keys_two_leaves_and_its_settings(glassbook: Run, tmp_path: Path) -> None:
    ran = glassbook("init", "log", "--origin", ORIGIN, *PLAIN)
    assert (ran.code, ran.err) == (0, "")
    home = tmp_path / "log"
    names = {path.name for path in (home / "keys").iterdir()}
    assert names == {"log.ed25519.key", "log.mldsa44.key", "ledger.key", "registrar.key"}
    for path in (home / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings = read_settings(home)
    assert (settings.origin, settings.public) == (ORIGIN, home / "public")
    store = Store.open(settings.database)
    with store.read() as db:
        entries = log.read_entries(db, 0, log.read_size(db))
    store.close()
    assert len(entries) == 2
    replay = Replay(ORIGIN, 1_800_000_000)
    replay.report(bad_signatures(ORIGIN, replay.feed_many(entries)))
    replay.finish()
    assert replay.violations == []
    charter = parse_charter(entries[0], ORIGIN)
    held = {name: read_key(home / "keys" / name) for name in names}
    assert (
        isinstance(held["registrar.key"], Ed25519PrivateKey)
        and held["registrar.key"].public == charter.registrar
    )
    assert isinstance(held["ledger.key"], Ed25519PrivateKey) and held["ledger.key"].public == charter.ledger
    assert {key.public for name, key in held.items() if name.startswith("log.")} == {
        vkey.key for vkey in charter.log_vkeys
    }
    assert isinstance(held["log.mldsa44.key"], MLDSA44PrivateKey)
    lines = (home / "log-vkeys.txt").read_text().splitlines()
    assert [parse_vkey(line) for line in lines] == list(charter.log_vkeys)


def test_the_transcript_shows_the_charter_and_what_to_do_next(glassbook: Run) -> None:
    out = glassbook("init", "log", "--origin", ORIGIN, *PLAIN).out
    assert out.startswith("The charter of this log, which can never be changed:\n")
    shown = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert shown["origin"] == ORIGIN and shown["spec"] == "glassbook/v1"
    assert "log: the log begins with its charter and an index root: size 2, not yet published.\n" in out
    assert out.endswith("Next: glassbook witness add VKEY URL log; then: glassbook up log\n")


CHARTER = """\
merge_delay_s = 60
claims = ["subject", "purpose"]

[schemes.nhs]
pattern = "[0-9]{10}"
text = { en = "your NHS number", cy = "eich rhif GIG" }

[predecessor]
origin = "log.example.gov/access/2025"
size = 10
root = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""


def test_a_charter_file_decides_what_the_charter_says(glassbook: Run, tmp_path: Path) -> None:
    (tmp_path / "CHARTER.toml").write_text(CHARTER)
    ran = glassbook("init", "log", "--origin", ORIGIN, "--charter", "CHARTER.toml", *PLAIN)
    assert ran.code == 0, ran.err
    store = Store.open(read_settings(tmp_path / "log").database)
    with store.read() as db:
        charter = parse_charter(log.read_charter_entry(db))
    store.close()
    assert (charter.merge_delay_s, charter.claims) == (60, ("subject", "purpose"))
    assert charter.schemes["nhs"].pattern.matches("9434765919")
    assert charter.predecessor is not None and charter.predecessor.size == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("merge_delay = 5", "merge_delay: is no member of a charter"),
        ('merge_delay_s = "5"', "merge_delay_s: must be a whole number"),
        ("merge_delay_s = true", "merge_delay_s: must be a whole number"),
        ("merge_delay_s = -1", "merge_delay_s"),
        ('claims = ["name"]', "claims"),
        ('claims = ["subject", "subject"]', "claims"),
        ("[schemes.NHS]\npattern = 'x'\ntext = {en = 'x'}", "schemes"),
        ("[schemes.nhs]\npattern = '('\ntext = {en = 'x'}", "pattern"),
        ("[schemes.nhs]\npattern = 'x'\ntext = {}", "text"),
        ("[predecessor]\norigin = 'log.example.gov/access/2026'\nsize = 9\nroot = 'A'", "predecessor"),
        ("merge_delay_s = 5\nmerge_delay_s = 6", "not TOML"),
        ("\0\0\0", "not TOML"),
    ],
)
def test_a_charter_file_with_a_fault_is_refused_and_nothing_is_made(
    glassbook: Run, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "CHARTER.toml").write_text(text)
    ran = glassbook("init", "log", "--origin", ORIGIN, "--charter", "CHARTER.toml", *PLAIN)
    assert ran.code == 3
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    "origin", ["", "https://log.example", "log example", "log+example", "x" * 256, "log\tx"]
)
def test_an_origin_that_no_log_can_have_is_refused(glassbook: Run, tmp_path: Path, origin: str) -> None:
    ran = glassbook("init", "log", "--origin", origin, *PLAIN)
    assert ran.code in (2, 3)
    assert "Traceback" not in ran.err
    assert not (tmp_path / "log").exists()


def test_a_folder_in_use_is_left_alone(glassbook: Run, tmp_path: Path) -> None:
    assert glassbook("init", "log", "--origin", ORIGIN, *PLAIN).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file()}
    ran = glassbook("init", "log", "--origin", "another.example/log", *PLAIN)
    assert ran.code == 2
    assert "not an empty folder" in ran.err
    assert {path: path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file()} == before


def test_without_a_terminal_charter_and_passphrase_have_to_be_decided_by_options(
    glassbook: Run, tmp_path: Path
) -> None:
    ran = glassbook("init", "log", "--origin", ORIGIN, "--no-passphrase")
    assert (ran.code, "--yes" in ran.err) == (2, True)
    ran = glassbook("init", "log", "--origin", ORIGIN, "--yes")
    assert (ran.code, "--passphrase-file" in ran.err) == (2, True)
    (tmp_path / "secret").write_text("x")
    ran = glassbook("init", "log", "--origin", ORIGIN, *PLAIN, "--passphrase-file", "secret")
    assert (ran.code, "exclude each other" in ran.err) == (2, True)
    assert not (tmp_path / "log").exists()


def test_keys_are_encrypted_with_the_passphrase_in_a_private_file(glassbook: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o644)
    ran = glassbook("init", "log", "--origin", ORIGIN, "--yes", "--passphrase-file", "secret")
    assert (ran.code, "chmod 600" in ran.err) == (3, True)
    assert not (tmp_path / "log").exists()
    secret.chmod(0o600)
    ran = glassbook("init", "log", "--origin", ORIGIN, "--yes", "--passphrase-file", "secret")
    assert ran.code == 0, ran.err
    assert "correct horse" not in ran.out + ran.err
    for path in (tmp_path / "log" / "keys").iterdir():
        assert b"ENCRYPTED" in path.read_bytes()
        assert read_key(path, read_passphrase(secret))


def test_a_key_file_that_others_can_read_is_refused_with_the_line_to_type(
    glassbook: Run, tmp_path: Path
) -> None:
    glassbook("init", "log", "--origin", ORIGIN, *PLAIN)
    path = tmp_path / "log" / "keys" / "registrar.key"
    for mode in (0o640, 0o604, 0o660, 0o601):
        path.chmod(mode)
        with pytest.raises(FileRefused, match=f"chmod 600 {path}"):
            read_key(path)


def test_settings_written_by_init_are_the_defaults(glassbook: Run, tmp_path: Path) -> None:
    glassbook("init", "log", "--origin", ORIGIN, *PLAIN)
    home = tmp_path / "log"
    assert read_settings(home) == parse_settings(f'origin = "{ORIGIN}"'.encode(), home)
    assert tomllib.loads((home / "glassbook.toml").read_text())["origin"] == ORIGIN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "origin: is missing"),
        ("origin = 5", "origin: must be a text"),
        ('origin = "x"\norigen = "y"', "origen: is not a setting"),
        ('origin = "x"\n[ledger]\nlisten = "8101"', r"\[ledger\] listen: must be"),
        ('origin = "x"\n[ledger]\nlisten = "127.0.0.1:99999"', r"\[ledger\] listen: must be"),
        ('origin = "x"\n[ledger]\ninbox_limit = true', "inbox_limit: must be a whole number"),
        ('origin = "x"\n[ledger]\ninbox_limit = 99999999999999999999', "inbox_limit: must be a whole number"),
        ('origin = "x"\n[ledger]\npublic_url = "ftp://x"', "public_url: must be an http"),
        ('origin = "x"\n[ledger]\nvectors = "on"', r"\[ledger\] vectors: must be"),
        ('origin = "x"\n[ledger]\nvectors = "lib/libcrypto_mb.so"', r"\[ledger\] vectors: must be"),
        ('origin = "x"\n[ledger]\nvectors = true', r"\[ledger\] vectors: must be"),
        ('origin = "x"\n[sequencer]\nbatch = 0', "batch: must be a whole number"),
        ('origin = "x"\n[sequencer]\nkeep_days = -1', "keep_days: must be a whole number from 0 to 36500"),
        ('origin = "x"\n[sequencer]\nkeep_days = "30"', "keep_days: must be a whole number"),
        ('origin = "x"\n[sequencer]\nkeep_days = false', "keep_days: must be a whole number"),
        ('origin = "x"\nledger = 5', "ledger: must be a table"),
        ('origin = "x', "not TOML"),
    ],
)
def test_settings_with_a_fault_name_the_member(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsRefused, match=said):
        parse_settings(text.encode(), tmp_path)


@pytest.mark.parametrize(("line", "days"), [("", None), ("keep_days = 0", 0), ("keep_days = 30", 30)])
def test_entries_leave_where_the_settings_do_not_say_so(tmp_path: Path, line: str, days: int | None) -> None:
    settings = parse_settings(f'origin = "{ORIGIN}"\n[sequencer]\n{line}'.encode(), tmp_path)
    assert settings.keep_days == days


def test_a_command_in_a_folder_without_a_log_says_what_to_run(glassbook: Run, tmp_path: Path) -> None:
    for words in (("ledger", "serve"), ("ledger", "sequence"), ("source", "show")):
        ran = glassbook(*words, tmp_path / "nothing")
        assert ran.code == 3
        assert "glassbook init" in ran.err
        assert "Traceback" not in ran.err


def test_what_a_missing_extra_would_need_is_named(glassbook: Run) -> None:
    ran = glassbook("no-such-command")
    assert ran.code == 2


def test_the_same_leaf_is_never_made_twice(glassbook: Run, tmp_path: Path) -> None:
    leaves = set()
    for name in ("a", "b"):
        glassbook("init", name, "--origin", ORIGIN, *PLAIN)
        store = Store.open(read_settings(tmp_path / name).database)
        with store.read() as db:
            leaves.add(leaf_hash(log.read_charter_entry(db)))
        store.close()
    assert len(leaves) == 2
