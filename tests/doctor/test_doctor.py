"""What the doctor finds when something is broken, and that it changes nothing while it looks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ledger.checkup import about_age, about_clock

BIN = Path(sys.executable).parent
SAMPLES = Path(__file__).parents[2] / "samples"
ORIGIN = "log.example.gov/access/ill"
NOWHERE = "127.0.0.1:9"


def glassbook(*words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    line = [str(BIN / "glassbook"), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An operator's and a department's folder that nobody runs, and the passphrase of both."""
    place = tmp_path_factory.mktemp("made")
    secret = place / "words"
    secret.write_text("the words\n")
    secret.chmod(0o600)
    glassbook(
        "init", place / "operator", "--origin", ORIGIN, "--yes", "--passphrase-file", secret,
        "--listen", NOWHERE, "--public-listen", NOWHERE,
    )  # fmt: skip
    glassbook(
        "department", "init", place / "department", "--statement", SAMPLES / "systems" / "health.toml",
        "--origin", ORIGIN, "--ledger", f"http://{NOWHERE}", "--log", f"http://{NOWHERE}",
        "--epoch", "2025", "--passphrase-file", secret,
    )  # fmt: skip
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "place")
    return tmp_path / "place"


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_operators_folder_at_rest_is_called_broken_or_is_changed(place: Path) -> None:
    before = state(place)
    told = glassbook("doctor", place / "operator", "--passphrase-file", place / "words", code=3).stdout
    assert state(place) == before
    wrong = [line.partition(":")[0] for line in told.splitlines() if line.startswith("✗")]
    assert wrong == ["✗ ledger", "✗ policy.txt"]
    assert "✓ registrar.key: encrypted; is the one of the charter" in told
    assert "run: glassbook witness add VKEY URL. To do: without a policy nothing is published" in told
    assert "the words" not in told


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[8192 : 8192 * 3] = bytes(8192 * 2)
    path.write_bytes(data)


OPERATOR: dict[str, tuple[Callable[[Path], object], str]] = {
    "a key that others read": (lambda f: (f / "keys/ledger.key").chmod(0o644), r"✗ ledger.key: .*chmod 600"),
    "a key that is gone": (
        lambda f: (f / "keys/log.mldsa44.key").unlink(),
        r"✗ log.mldsa44.key: its file is not",
    ),
    "a key of another role": (
        lambda f: shutil.copy(f / "keys/registrar.key", f / "keys/ledger.key"),
        r"✗ ledger.key: is not the one of the charter",
    ),
    "a key file of nonsense": (
        lambda f: (f / "keys/ledger.key").write_bytes(b"nonsense"),
        r"✗ ledger.key: .*not a PKCS#8 private key",
    ),
    "a token without a module": (
        lambda f: (f / "keys/ledger.key").write_text(
            "pkcs11:token=a;object=b?module-path=/nowhere.so&pin-source=/etc/pin"
        ),
        r"✗ ledger.key: key 'b' in token 'a': there is no PKCS#11 module at /nowhere.so",
    ),
    "a registrar's key kept elsewhere": (
        lambda f: (f / "keys/registrar.key").unlink(),
        r"✓ registrar.key: is kept elsewhere",
    ),
    "settings of nonsense": (
        lambda f: (f / "glassbook.toml").write_text('origin = "a.example/b"\nport = 3\n'),
        r"✗ glassbook.toml: .*port: is not a setting",
    ),
    "settings of another log": (
        lambda f: (f / "glassbook.toml").write_text('origin = "another.example/b"\n'),
        r"✗ database: the settings say origin = 'another.example/b'",
    ),
    "a database that is gone": (lambda f: (f / "ledger.sqlite").unlink(), r"✗ database: .*no database there"),
    "a database that is none": (
        lambda f: (f / "ledger.sqlite").write_bytes(b"x" * 20_000),
        r"✗ ledger.sqlite: cannot be read \(file is not a database\)",
    ),
    "a damaged database": (lambda f: _damage(f / "ledger.sqlite"), r"✗ ledger.sqlite: "),
    "a policy of nonsense": (lambda f: (f / "policy.txt").write_text("log x\n"), r"✗ policy.txt: "),
    "a memory of nonsense": (
        lambda f: (f / "keys/signed").write_text("x"),
        r"✗ keys/signed: is no checkpoint",
    ),
}


@pytest.mark.parametrize("what", OPERATOR)
def test_the_doctor_misses(place: Path, what: str) -> None:
    spoil, expected = OPERATOR[what]
    spoil(place / "operator")
    before = state(place)
    done = glassbook("doctor", place / "operator", "--passphrase-file", place / "words", code=3)
    assert re.search(f"^{expected}", done.stdout, re.M), done.stdout
    assert done.stderr == "" and "please report" not in done.stdout and state(place) == before


def test_a_wrong_passphrase_or_none_is_taken_for_a_good_one(place: Path) -> None:
    told = glassbook("doctor", place / "operator", code=3).stdout
    assert told.count("encrypted; whether it opens was not tried") == 4
    (place / "words").write_text("other words\n")
    told = glassbook("doctor", place / "operator", "--passphrase-file", place / "words", code=3).stdout
    assert told.count("or the passphrase is wrong") == 4 and "other words" not in told


DEPARTMENT: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing is registered": (lambda f: None, r"! register: was not read here yet"),
    "no policy": (lambda f: None, r"✗ policy: .*policy.txt: not there"),
    "this year has no key": (
        lambda f: None,
        rf"✗ VRF key of {time.gmtime().tm_year}: is not named .*glassbook department epochs",
    ),
    "no outbox": (lambda f: None, r"✓ outbox: there is none yet"),
    "a key that is gone": (
        lambda f: (f / "keys/vrf-2025.key").unlink(),
        r"✗ VRF key of 2025: its file is not there",
    ),
    "a VRF key in a token": (
        lambda f: (f / "keys/vrf-2025.key").write_text("pkcs11:token=a;object=b?module-path=/x.so"),
        r"✗ VRF key of 2025: .*has to be in a file",
    ),
    "an outbox of nonsense": (
        lambda f: (f / "outbox.sqlite").write_bytes(b"x" * 9000),
        r"✗ outbox.sqlite: cannot be read",
    ),
    "an outbox of another release": (
        lambda f: (f / "outbox.sqlite").write_bytes(b""),
        r"✗ outbox: .*has format 0",
    ),
    "settings of nonsense": (
        lambda f: (f / "department.toml").write_text("x = 1\n"),
        r"✗ department.toml: ",
    ),
}


@pytest.mark.parametrize("what", DEPARTMENT)
def test_the_doctor_misses_at_a_department(place: Path, what: str) -> None:
    spoil, expected = DEPARTMENT[what]
    spoil(place / "department")
    before = state(place)
    done = glassbook("doctor", place / "department", "--passphrase-file", place / "words", code=3)
    assert re.search(f"^{expected}", done.stdout, re.M), done.stdout
    assert done.stderr == "" and "please report" not in done.stdout and state(place) == before


def test_a_folder_of_neither_kind_is_looked_at(place: Path) -> None:
    assert "name the folder" in glassbook("doctor", place, code=2).stderr
    assert glassbook("doctor", place / "operator", "--passphrase-file", place / "no", code=2).stdout == ""
    shutil.copy(place / "department" / "department.toml", place / "operator")
    glassbook("doctor", place / "operator", code=2)


def test_json_says_another_thing_than_the_lines(place: Path) -> None:
    found = json.loads(glassbook("doctor", place / "operator", "--json", code=3).stdout)
    lines = glassbook("doctor", place / "operator", code=3).stdout.splitlines()
    assert len(found["findings"]) == len(lines) - 1
    assert found["exit"] == 3 and found["good"] + found["look"] + found["mend"] == len(lines) - 1


class _Clock(BaseHTTPRequestHandler):
    off = 0.0
    date = True

    def do_GET(self) -> None:
        self.send_response_only(200)
        if self.date:
            self.send_header("Date", formatdate(time.time() + self.off, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def clock() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Clock)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("off", "mark", "says"),
    [
        (0, "good", "agrees"),
        (20, "good", "agrees"),
        (-20, "good", "agrees"),
        (60, "look", "behind"),
        (-60, "look", "ahead of"),
        (400, "mend", "behind"),
        (-400, "mend", "ahead of"),
    ],
)
def test_a_clock_that_is_off_is_not_noticed(
    clock: str, monkeypatch: pytest.MonkeyPatch, off: float, mark: str, says: str
) -> None:
    monkeypatch.setattr(_Clock, "off", off)
    answers, time_told = about_clock("ledger", clock, (200,))
    assert answers.mark == "good"
    assert (time_told.mark, says in time_told.says) == (mark, True)


def test_a_server_without_a_date_or_of_another_status_is_well(
    clock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Clock, "date", False)
    assert [one.mark for one in about_clock("ledger", clock, (204,))] == ["mend", "look"]


def test_a_checkpoint_of_another_time_is_taken_for_new() -> None:
    marks = [about_age("c", newest, 10_000, 600).mark for newest in (10_000, 9_500, 9_399, 10_301, None)]
    assert marks == ["good", "good", "mend", "mend", "look"]


def test_new_keys_without_a_passphrase_are_unencrypted(tmp_path: Path) -> None:
    words = (
        "department", "init", tmp_path / "d", "--statement", SAMPLES / "systems" / "health.toml",
        "--origin", ORIGIN, "--ledger", f"http://{NOWHERE}", "--log", f"http://{NOWHERE}",
    )  # fmt: skip
    done = glassbook(*words, code=2)
    assert "--passphrase-file FILE or --no-passphrase" in done.stderr and not (tmp_path / "d").exists()
    (tmp_path / "words").write_text("the words\n")
    (tmp_path / "words").chmod(0o644)
    assert "chmod 600" in glassbook(*words, "--passphrase-file", tmp_path / "words", code=3).stderr
    (tmp_path / "words").chmod(0o600)
    both = glassbook(*words, "--passphrase-file", tmp_path / "words", "--no-passphrase", code=2)
    assert "exclude each other" in both.stderr and not (tmp_path / "d").exists()
    glassbook(*words, "--passphrase-file", tmp_path / "words")
    for path in (tmp_path / "d" / "keys").iterdir():
        assert b"ENCRYPTED" in path.read_bytes() and path.stat().st_mode & 0o777 == 0o600
