"""The witness's file: what survives a crash, who may read it, and the command that makes it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import typer
from handmade import NOW, HandmadeLog, RunningWitness
from typer.testing import CliRunner, Result

from ledger.core.errors import Malformed
from ledger.core.note import parse_vkey
from ledger.files import FileRefused
from verifier_cli.cosigning import add_checkpoint
from verifier_cli.submission import Answer
from verifier_cli.witnesscommand import witness
from verifier_cli.witnessfile import Asked, Seen, WitnessFile

app = typer.Typer()
app.command("witness")(witness)


@pytest.fixture
def file(tmp_path: Path, log: HandmadeLog) -> WitnessFile:
    file = WitnessFile.create(tmp_path / "w.sqlite", "witness.example/w1")
    file.add_log(log.ed25519.vkey)
    file.add_log(log.mldsa.vkey)
    return file


def test_a_crash_before_the_commit_leaves_the_old_checkpoint_and_no_cosignature(
    file: WitnessFile, log: HandmadeLog
) -> None:
    assert add_checkpoint(file, log.body(0, 5), NOW).status == 200
    with pytest.raises(KeyboardInterrupt), file.replacing(log.origin) as (_, put):
        put(Seen(9, bytes(32), NOW))
        raise KeyboardInterrupt
    file.close()
    again = WitnessFile(file.path)
    assert again.seen(log.origin).size == 5
    assert add_checkpoint(again, log.body(5, 9), NOW).status == 200
    again.close()


def test_a_kill_between_check_and_commit_leaves_the_old_checkpoint(
    file: WitnessFile, log: HandmadeLog
) -> None:
    assert add_checkpoint(file, log.body(0, 5), NOW).status == 200
    file.close()
    code = (
        "import os, signal, sys; from pathlib import Path; from verifier_cli.witnessfile import Seen, WitnessFile\n"
        "file = WitnessFile(Path(sys.argv[1]))\n"
        "with file.replacing(sys.argv[2]) as (seen, put):\n"
        "    put(Seen(9, bytes(32), 1)); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(file.path), log.origin], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    again = WitnessFile(file.path)
    assert again.seen(log.origin).size == 5
    again.close()


def test_a_crash_after_the_commit_is_answered_with_the_new_size(file: WitnessFile, log: HandmadeLog) -> None:
    with file.replacing(log.origin) as (_, put):
        put(Seen(5, bytes(32), NOW))  # durable, and then the answer is lost
    assert add_checkpoint(file, log.body(0, 9), NOW) == Answer(409, "5\n", "text/x.tlog.size")
    file.close()


def test_two_processes_cannot_both_check_before_either_writes(file: WitnessFile, log: HandmadeLog) -> None:
    other = sqlite3.connect(file.path, timeout=0)
    with file.replacing(log.origin), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()
    file.close()


def test_a_disk_that_is_full_means_nothing_is_cosigned(file: WitnessFile, log: HandmadeLog) -> None:
    file._db.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.Error):
        add_checkpoint(file, log.body(0, 5), NOW)
    file._db.execute("PRAGMA query_only = OFF")
    assert file.seen(log.origin) == Seen()
    assert add_checkpoint(file, log.body(0, 5), NOW).status == 200
    file.close()


def test_a_file_that_others_may_read_is_refused(file: WitnessFile) -> None:
    file.close()
    file.path.chmod(0o640)
    with pytest.raises(FileRefused, match="chmod 600"):
        WitnessFile(file.path)


def test_nothing_in_the_folder_is_open_to_others(file: WitnessFile, log: HandmadeLog) -> None:
    assert add_checkpoint(file, log.body(0, 5), NOW).status == 200
    for found in file.path.parent.iterdir():
        assert found.stat().st_mode & 0o077 == 0, found.name
    file.close()


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 4096, b"not a database, and long enough to be looked at" * 9]
)
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(FileRefused, match="not the file of a witness"):
        WitnessFile(path)
    assert path.read_bytes() == content


def test_a_second_key_is_never_made_over_the_first(file: WitnessFile) -> None:
    with pytest.raises(FileRefused, match="exists already"):
        WitnessFile.create(file.path, "witness.example/w1")
    file.close()


def test_init_prints_a_vkey_that_policies_take(tmp_path: Path, log: HandmadeLog) -> None:
    path = tmp_path / "w.sqlite"
    arguments = [str(path), "--plain", "--init", "--name", "witness.example/w1"]
    result = CliRunner().invoke(app, [*arguments, "--log-vkey", log.ed25519.vkey.text])
    assert result.exit_code == 0, result.output
    vkey = parse_vkey(result.stdout.strip())
    opened = WitnessFile(path)
    assert (vkey.name, vkey.kind) == ("witness.example/w1", 4) and vkey == opened.vkeys[0]
    assert opened.origins() == [log.origin]
    opened.close()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["w.sqlite"], 2),
        (["w.sqlite", "--plain"], 2),
        (["w.sqlite", "--plain", "--init"], 2),
        (["w.sqlite", "--plain", "--init", "--name", "with space"], 3),
        (["w.sqlite", "--plain", "--init", "--name", "w", "--log-vkey", "no+vkey"], 3),
        (["w.sqlite", "--plain", "--listen", "127.0.0.1"], 2),
        (["w.sqlite", "--plain", "--listen", "127.0.0.1:8100"], 3),
    ],
)
def test_a_wrong_call_says_so_and_makes_nothing(tmp_path: Path, arguments: list[str], code: int) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / arguments[0]), *arguments[1:]])
    assert result.exit_code == code
    assert result.stderr.startswith("witness: ")
    assert not (tmp_path / "w.sqlite").exists()


def called(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_init_prints_every_vkey_and_the_lines_that_take_it_up(tmp_path: Path, log: HandmadeLog) -> None:
    path = tmp_path / "w.sqlite"
    made = called("--init", path, "--name", "a.example/1", "--keys", "both", "--url", "https://a.example/")
    assert made.exit_code == 0, made.output
    vkeys = [parse_vkey(line) for line in made.stdout.splitlines()]
    assert [vkey.kind for vkey in vkeys] == [4, 6] and {vkey.name for vkey in vkeys} == {"a.example/1"}
    for vkey in vkeys:
        assert f"glassbook witness add '{vkey.text}' https://a.example/ --auditor" in made.stderr
    assert f"glassbook-verify witness {path} --listen" in made.stderr


def test_a_plain_witness_is_not_called_an_auditor(tmp_path: Path) -> None:
    made = called("--init", tmp_path / "w.sqlite", "--name", "w.example/1", "--plain")
    assert "--auditor" not in made.stderr and "reads no entries" in made.stderr


def test_an_auditor_cannot_be_served_as_a_plain_witness(tmp_path: Path) -> None:
    path = tmp_path / "w.sqlite"
    assert called("--init", path, "--name", "a.example/1").exit_code == 0
    refused = called(path, "--plain", "--listen", "127.0.0.1:0")
    assert refused.exit_code == 2 and "cannot be --plain" in refused.stderr


def test_an_auditor_without_a_place_to_read_the_log_is_not_served(tmp_path: Path, log: HandmadeLog) -> None:
    path = tmp_path / "w.sqlite"
    assert called("--init", path, "--name", "a.example/1", "--log-vkey", log.ed25519.vkey.text).exit_code == 0
    refused = called(path, "--listen", "127.0.0.1:0")
    assert refused.exit_code == 2 and "--log" in refused.stderr


def test_a_plain_witness_takes_no_place_to_read(tmp_path: Path) -> None:
    path = tmp_path / "w.sqlite"
    assert called("--init", path, "--name", "w.example/1", "--plain").exit_code == 0
    assert called(path, "--log", str(tmp_path)).exit_code == 2


def test_status_says_which_logs_and_what_is_wrong(tmp_path: Path, log: HandmadeLog) -> None:
    path = tmp_path / "w.sqlite"
    vkey = ["--log-vkey", log.ed25519.vkey.text]
    assert called("--init", path, "--name", "a.example/1", *vkey, "--log", tmp_path).exit_code == 0
    file = WitnessFile(path)
    with file.replacing(log.origin) as (_, put):
        put(Seen(5, bytes(32), NOW, b""))
    file.set_asked(log.origin, Asked(9, b"", NOW))
    file.put_alarm(log.origin, "unreadable", "the log cannot be read", NOW)
    file.close()
    told = called(path, "--status")
    assert told.exit_code == 0
    for words in (
        "an auditor",
        log.origin,
        "size 5",
        "behind by 9 entries",
        "ALARM unreadable",
        str(tmp_path),
    ):
        assert words in told.stdout, words


def test_a_key_that_signs_no_log_is_refused(file: WitnessFile) -> None:
    with pytest.raises(Malformed, match="signs no log"):
        file.add_log(file.vkeys[0])
    file.close()


def test_a_log_is_not_its_own_witness(tmp_path: Path, log: HandmadeLog) -> None:
    file = WitnessFile.create(tmp_path / "own.sqlite", log.origin)
    with pytest.raises(Malformed, match="not its own witness"):
        file.add_log(log.ed25519.vkey)
    file.close()


def test_an_alarm_of_one_kind_is_kept_once_however_often_it_comes(
    file: WitnessFile, log: HandmadeLog
) -> None:
    for second in range(200):
        file.put_alarm(log.origin, "ahead", "an entry", NOW + second)
    (alarm,) = file.alarms(log.origin)
    assert (alarm.first, alarm.last, alarm.ended) == (NOW, NOW + 199, None)
    file.end_alarms(log.origin, ["ahead"], NOW + 1_000)
    file.put_alarm(log.origin, "ahead", "another entry", NOW + 2_000)
    (alarm,) = file.alarms(log.origin)
    assert (alarm.first, alarm.text, alarm.ended) == (NOW + 2_000, "another entry", None)
    file.close()


def test_a_full_disk_is_answered_with_503_and_nothing_is_cosigned(
    witness: RunningWitness, log: HandmadeLog
) -> None:
    db = witness.file._db
    logs = [HandmadeLog(f"log.example.gov/{'x' * 200}/{number}") for number in range(40)]
    for other in logs:
        witness.file.add_log(other.ed25519.vkey)
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite says then is what it says of a full disk
    answers = []
    for other in logs:
        answers.append(witness.post(other.body(0, 5)).status_code)
        assert witness.file.seen(other.origin).size == (5 if answers[-1] == 200 else 0)
    assert set(answers) == {200, 503}
    db.execute("PRAGMA max_page_count = 100000")
    assert witness.post(log.body(0, 5)).status_code == 200


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, log: HandmadeLog) -> None:
    path = tmp_path / "w.sqlite"
    code = "import typer; from verifier_cli.witnesscommand import witness; typer.run(witness)"
    arguments = ["--plain", "--init", "--name", "w.example/1", "--log-vkey", log.ed25519.vkey.text]
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), *arguments, "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stderr is not None and process.stdout is not None
        line = process.stderr.readline()
        while "http://" not in line:
            assert line
            line = process.stderr.readline()
        url = line.rsplit(" at ", 1)[1].strip()
        assert httpx.post(f"{url}/add-checkpoint", content=log.body(0, 5), trust_env=False).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
