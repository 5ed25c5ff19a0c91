"""What `audit` keeps, where it goes on, what it reads from, and how it is stopped."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, LogFactory
from logserver import Handler, LogServer
from ran import Run

from ledger.core import replay
from ledger.core.tiles import encode_bundle
from verifier_cli import signedtree
from verifier_cli.auditprogress import LARGE, AuditProgress


@pytest.fixture
def log() -> LogFactory:
    """Some 5,000 entries, nearly all coverages of days long past: quickly made, and each of them signed."""
    log = LogFactory()
    health = log.add_source()
    log.access(health)
    for day in range(DAY - 5_000, DAY - 31):
        log.coverage(health, day, 0)
    return log


def _audit(run: Run, *more: object) -> Any:
    return run("audit", "--policy", "policy.txt", "--jobs", "1", "--json", *more)


def _audited(ran: Any) -> tuple[int, int]:
    audited = ran.json["result"]["audited"]
    return audited["resumed_at"], audited["to"]


def test_a_log_audited_whole_is_read_whole_again(run: Run, files: Path, log: LogFactory) -> None:
    first = _audit(run, "--log", "public")
    assert (first.exit, _audited(first)) == (0, (0, log.size))
    assert first.json["result"]["audited"]["kept_in"] is None
    assert not list((files / "data").rglob("*.sqlite*"))
    bundle = files / "public/tile/entries/000"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    assert _audit(run, "--log", "public").exit == 1


def test_an_audit_that_is_kept_goes_on_where_it_ended(run: Run, files: Path, log: LogFactory) -> None:
    before = log.size
    first = _audit(run, "--log", "public", "--audit", "kept.sqlite")
    assert (first.exit, _audited(first)) == (0, (0, before))
    assert first.json["result"]["audited"]["kept_in"] == "kept.sqlite"
    log.access(log.sources[0])
    log.publish(files / "public")
    second = _audit(run, "--log", "public", "--audit", "kept.sqlite")
    assert (second.exit, _audited(second)) == (0, (before, log.size))
    assert second.json["result"]["counts"]["records"] == 2
    third = _audit(run, "--log", "public", "--audit", "kept.sqlite", "--fresh")
    assert (third.exit, _audited(third)) == (0, (0, log.size))
    text = run("audit", "--policy", "policy.txt", "--log", "public", "--audit", "kept.sqlite")
    assert f"Entries below {log.size} were audited by an earlier run; --fresh reads them again." in text.out
    assert "Kept in kept.sqlite: the next audit goes on from here." in text.out


def test_a_violation_found_once_is_found_by_every_later_audit_with_its_evidence(
    run: Run, files: Path, log: LogFactory
) -> None:
    index = log.append(log.entries[2])
    log.publish(files / "public")
    first, second = (_audit(run, "--log", "public", "--audit", "kept.sqlite") for _ in range(2))
    for ran in (first, second):
        assert ran.exit == 1
        [violation] = ran.json["result"]["violations"]
        assert (violation["index"], violation["kind"]) == (index, "label-taken")
        assert run("violation", violation["evidence"], "--policy", "policy.txt").exit == 1
    assert _audited(second)[0] == log.size


def test_only_so_many_violations_get_a_file_and_all_are_listed(
    run: Run, files: Path, log: LogFactory
) -> None:
    for _ in range(30):
        log.append(b"\x01\x09")
    log.publish(files / "public")
    ran = _audit(run, "--log", "public")
    listed = ran.json["result"]["violations"]
    assert (ran.exit, len(listed)) == (1, 30)
    assert sum(one["evidence"] is not None for one in listed) == 20
    assert len(list(files.glob("violation-*.json"))) == 20


def test_violations_and_false_entries_that_are_too_many_to_tell_are_counted(
    run: Run, files: Path, log: LogFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(30):
        log.append(b"\x01\x09")
    log.publish(files / "public")
    monkeypatch.setattr(replay, "VIOLATIONS", 11)
    ran = _audit(run, "--log", "public")
    result = ran.json["result"]
    assert (ran.exit, len(result["violations"]), result["violations_left_out"]) == (1, 11, 19)
    assert ran.json["message"].startswith("30 violations, ")
    assert json.loads(Path(ran.json["evidence_file"]).read_bytes())["evidence"]["violations_left_out"] == 19
    assert (
        "and 19 more, which were only counted"
        in run("audit", "--policy", "policy.txt", "--log", "public").out
    )
    monkeypatch.setattr(signedtree, "FALSE_TOLD", 3)
    first = log.size // 256 * 256
    bundle = next((files / "public/tile/entries").glob(f"*.p/{log.size - first}"))
    bundle.write_bytes(encode_bundle([b"another"] * (log.size - first)))
    ran = _audit(run, "--log", "public")
    assert ran.json["result"]["violations_left_out"] == log.size - first - 3
    false = f"{log.size - first} things are false in it, the first at entry {first}: "
    assert false in ran.json["message"]


def test_a_log_that_does_not_begin_with_what_was_audited_is_refuted(
    run: Run, files: Path, log: LogFactory
) -> None:
    assert _audit(run, "--log", "public", "--audit", "kept.sqlite").exit == 0
    shutil.rmtree(files / "public")
    other = LogFactory()
    for _ in range(3):
        other.add_source()
    while other.size < log.size + 1:
        other.append(b"\x01\x04" + bytes(82))
    other.publish(files / "public")
    ran = _audit(run, "--log", "public", "--audit", "kept.sqlite")
    assert ran.exit == 1 and ran.json["evidence_file"]
    assert "audited before" in ran.json["message"]


def test_an_older_copy_is_audited_by_itself_and_says_so(run: Run, files: Path, log: LogFactory) -> None:
    shutil.copytree(files / "public", files / "old")
    log.access(log.sources[0])
    log.publish(files / "public")
    assert _audit(run, "--log", "public", "--audit", "kept.sqlite").exit == 0
    ran = _audit(run, "--log", "old", "--audit", "kept.sqlite")
    assert (ran.exit, _audited(ran)[0]) == (0, 0)
    assert "older state" in ran.json["result"]["warnings"][0]


def test_only_the_first_entries_are_audited_if_asked_for(run: Run, files: Path, log: LogFactory) -> None:
    bad = log.append(b"\x01\x09")
    log.publish(files / "public")
    for size in (1, 2, 300, 2048, bad):
        ran = _audit(run, "--log", "public", "--to", size)
        assert (ran.exit, _audited(ran)) == (0, (0, size)), ran.json["message"]
        assert f"the first {size} entries" in ran.json["message"]
    assert _audit(run, "--log", "public", "--to", bad + 1).exit == 1
    assert _audit(run, "--log", "public", "--to", log.size + 1).exit == 3


def test_a_tar_and_mirrors_are_audited_and_a_false_copy_is_named(
    run: Run, files: Path, log: LogFactory
) -> None:
    subprocess.run(["tar", "-czf", "log.tar.gz", "public"], cwd=files, check=True)
    assert _audit(run, "--log", "log.tar.gz").exit == 0
    bundle = files / "public/tile/entries/003"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    assert _audit(run, "--log", "public").exit == 1
    ran = _audit(run, "--log", "public", "--log", "log.tar.gz")
    assert ran.exit == 0
    assert "public is left aside: public tile/entries/003" in ran.err
    assert ran.json["result"]["log"]["left_aside"] != []


def test_a_file_that_is_no_audit_is_named(run: Run, files: Path, log: LogFactory) -> None:
    Path("no.sqlite").write_bytes(b"no database at all" * 100)
    ran = _audit(run, "--log", "public", "--audit", "no.sqlite")
    assert ran.exit == 3 and "no.sqlite" in ran.json["message"]


def test_where_nothing_can_be_kept_the_log_is_audited_all_the_same(
    run: Run, files: Path, log: LogFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "data").write_text("a file where the folder should be")
    ran = _audit(run, "--log", "public")
    assert ran.exit == 0 and ran.json["result"]["audited"]["kept_in"] is None
    assert "cannot be kept" in ran.json["result"]["warnings"][0]


# -- real processes --------------------------------------------------------------------------------------


@pytest.fixture
def server(log: LogFactory) -> Iterator[LogServer]:
    with LogServer(log) as server:
        yield server


def _process(
    folder: Path, url: str, *more: str, program: tuple[str, ...] = ("-m", "verifier_cli")
) -> "subprocess.Popen[str]":
    environment = os.environ | {"XDG_DATA_HOME": str(folder / "data")}
    command = [sys.executable, *program, "audit", "--policy", "policy.txt", "--log", url]
    return subprocess.Popen(
        [*command, "--jobs", "1", *more], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _wait_until_idle(pid: int) -> None:
    """Until it uses no processor for a second: all that it was given is replayed."""
    used, since = "", time.monotonic()
    while time.monotonic() - since < 1:
        ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
        if str(ticks) != used:
            used, since = str(ticks), time.monotonic()
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on_and_the_next_run_does(
    files: Path, log: LogFactory, server: LogServer, how: signal.Signals
) -> None:
    # The third part of the entries is held back until the signal is sent.
    asked, release = threading.Event(), threading.Event()
    path = "tile/entries/018"

    def held(handler: Handler) -> None:
        asked.set()
        release.wait(30)
        handler.send(server.files[path])

    server.wrong[path] = held
    process = _process(files, server.url)
    assert asked.wait(30)
    _wait_until_idle(process.pid)
    process.send_signal(how)
    release.set()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, out + err
    assert "Traceback" not in err and "stopped at entry" in err
    assert "the same command goes on from there" in err
    del server.wrong[path]
    process = _process(files, server.url)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "were audited by an earlier run" in out


EAGER = "from verifier_cli import auditing, cli; auditing.SAVE_SECONDS = 0; cli.main()"
"""The program, saving after every part: what a longer audit does every half minute."""


def test_an_audit_that_was_killed_goes_on_from_what_it_had_saved(
    files: Path, log: LogFactory, server: LogServer
) -> None:
    asked, release = threading.Event(), threading.Event()
    path = "tile/entries/018"

    def held(handler: Handler) -> None:
        asked.set()
        release.wait(30)

    server.wrong[path] = held
    process = _process(files, server.url, program=("-c", EAGER))
    assert asked.wait(30)
    _wait_until_idle(process.pid)
    process.kill()
    process.communicate()
    release.set()
    del server.wrong[path]
    process = _process(files, server.url, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    audited = json.loads(out)["result"]["audited"]
    assert audited["resumed_at"] == 4096 and audited["to"] == log.size
    assert not list((files / "data").rglob("*.sqlite*"))


# -- progress --------------------------------------------------------------------------------------------


def test_a_large_log_is_told_in_lines_where_there_is_no_terminal() -> None:
    now, out = [0.0], io.StringIO()
    progress = AuditProgress(clock=lambda: now[0], out=out)
    with progress:
        for done in range(0, 2 * LARGE + 1, LARGE // 10):
            progress(done, 2 * LARGE)
            now[0] += 1
    lines = out.getvalue().splitlines()
    assert lines[0] == "auditing: 25 % done, 50,000 of 200,000 entries, 10,000 a second, 15 s left"
    assert len(lines) == 4


def test_the_rate_is_of_this_run_alone() -> None:
    now, out = [0.0], io.StringIO()
    progress = AuditProgress(clock=lambda: now[0], out=out)
    progress(1_000_000, 2_000_000)
    now[0] = 10
    progress(1_001_000, 2_000_000)
    assert "100 a second, 2 h 46 min left" in out.getvalue()


@pytest.mark.parametrize(("quiet", "total"), [(True, 10 * LARGE), (False, LARGE - 1)])
def test_nothing_is_told_with_json_or_of_a_small_log(quiet: bool, total: int) -> None:
    now, out = [0.0], io.StringIO()
    progress = AuditProgress(quiet, clock=lambda: now[0], out=out)
    for done in range(0, total, total // 10):
        progress(done, total)
        now[0] += 10
    assert out.getvalue() == ""
