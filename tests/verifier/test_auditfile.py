"""What an audit file gives back is the audit that was saved, whatever happened in between."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from logfactory import DAY, NOW, LogFactory

from ledger.core.errors import Malformed
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.replay import Replay, Summary, Violation, bad_signatures
from verifier_cli import auditfile
from verifier_cli.auditfile import AuditFile

STRANGER = Ed25519PrivateKey.from_seed(bytes(32))
Found = tuple[list[Violation], Summary, dict[tuple[int, int], int]]


@pytest.fixture
def log() -> LogFactory:
    """Two hundred entries with everything in them that an audit remembers, and a few broken rules."""
    log = LogFactory()
    health = log.add_source(seal_months=12)
    tax = log.add_source("Tax office")
    for number in range(120):
        log.access(tax if number % 4 else health, day=DAY + number % 3)
        if number % 7 == 0:
            log.access(health, day=DAY, seal=678 + number % 2)
        if number % 25 == 24:
            log.seal_batch()
    log.coverage(tax, DAY, 30)
    log.access(tax, day=DAY)
    log.access(tax, key=STRANGER)
    log.append(log.entries[7])
    log.seal_batch()
    log.change_source(tax, status="revoked", revoked="2026-06-22")
    log.access(tax)
    log.append(log.entries[2])
    log.append(b"\1\7 garbage")
    log.coverage(health, DAY + 1, 1)
    log.seal_batch()
    return log


def feed(replay: Replay, log: LogFactory, stop: int) -> None:
    jobs = replay.feed_many(log.entries[replay.size : stop])
    replay.report(bad_signatures(log.origin, jobs))


def found(replay: Replay) -> Found:
    summary = replay.finish()
    return replay.violations, summary, replay.sealed


def in_one_run(log: LogFactory) -> Found:
    replay = Replay(log.origin, NOW, log.size)
    feed(replay, log, log.size)
    return found(replay)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[AuditFile]:
    with closing(AuditFile.open(tmp_path / "state" / "audit.sqlite")) as file:
        yield file


@pytest.mark.parametrize("recent", [1_000_000, 60])
@pytest.mark.parametrize("step", [1, 9, 64])
def test_an_audit_saved_and_loaded_at_every_step_finds_what_one_run_finds(
    tmp_path: Path, log: LogFactory, step: int, recent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditfile, "RECENT_LABELS", recent)
    path = tmp_path / "audit.sqlite"
    for stop in range(step, log.size + step, step):
        with closing(AuditFile.open(path)) as file:
            replay = file.load(log.origin, NOW)
            feed(replay, log, min(stop, log.size))
            file.save(replay)
    with closing(AuditFile.open(path)) as file:
        assert file.size(log.origin) == log.size
        replay = file.load(log.origin, NOW)
        assert found(replay) == in_one_run(log)
        assert replay.by_activity


def test_what_was_not_saved_is_done_again(file: AuditFile, log: LogFactory) -> None:
    replay = file.load(log.origin, NOW)
    feed(replay, log, 50)
    file.save(replay)
    feed(replay, log, 120)
    again = file.load(log.origin, NOW)
    assert again.size == 50
    feed(again, log, log.size)
    assert found(again) == in_one_run(log)
    with pytest.raises(ValueError, match="not loaded"):
        file.save(replay)


def test_a_save_that_fails_leaves_the_one_before(tmp_path: Path, log: LogFactory) -> None:
    path = tmp_path / "audit.sqlite"
    statements = 0
    # Crash table: the connection is cut at each statement of the second save in turn.
    for crash in range(1, 100):
        path.unlink(missing_ok=True)
        with closing(AuditFile.open(path)) as file:
            replay = file.load(log.origin, NOW)
            feed(replay, log, 50)
            file.save(replay)
            feed(replay, log, 130)
            statements = 0

            def count(*_: object, crash: int = crash) -> int:
                nonlocal statements
                statements += 1
                return sqlite3.SQLITE_DENY if statements == crash else sqlite3.SQLITE_OK

            file._db.set_authorizer(count)
            try:
                file.save(replay)
                failed = False
            except sqlite3.DatabaseError:
                failed = True
            file._db.set_authorizer(None)
        with closing(AuditFile.open(path)) as file:
            assert file.size(log.origin) == (50 if failed else 130)
            replay = file.load(log.origin, NOW)
            feed(replay, log, log.size)
            assert found(replay) == in_one_run(log)
        if not failed:
            break
    assert crash > 5


def test_two_audits_in_one_file_do_not_mix(tmp_path: Path, file: AuditFile, log: LogFactory) -> None:
    other = LogFactory("log.example.gov/other")
    other.add_source()
    other.seal_batch()
    for one in (log, other):
        replay = file.load(one.origin, NOW)
        feed(replay, one, one.size)
        file.save(replay)
    file.forget(log.origin)
    assert (file.size(log.origin), file.size(other.origin)) == (0, other.size)
    assert found(file.load(other.origin, NOW)) == in_one_run(other)


def test_another_program_that_saved_meanwhile_is_not_overwritten(
    tmp_path: Path, file: AuditFile, log: LogFactory
) -> None:
    ours = file.load(log.origin, NOW)
    with closing(AuditFile.open(tmp_path / "state" / "audit.sqlite")) as theirs:
        replay = theirs.load(log.origin, NOW)
        feed(replay, log, 40)
        theirs.save(replay)
    feed(ours, log, 20)
    with pytest.raises(Malformed, match="another program"):
        file.save(ours)
    assert file.size(log.origin) == 40


def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, log: LogFactory) -> None:
    path = tmp_path / "audit.sqlite"
    path.write_bytes(b"this is not a database, it only is in its place" * 100)
    with pytest.raises(Malformed, match="remove it"):
        AuditFile.open(path)
    path.unlink()
    for damage in (
        "UPDATE audit_day SET counts = '[1]'",
        "UPDATE audit_day SET counts = '{'",
        "DELETE FROM audit_recent",
        "DELETE FROM audit_stated WHERE leaf = 1",
        "UPDATE audit_log SET frontier = x'00'",
    ):
        path.unlink(missing_ok=True)
        with closing(AuditFile.open(path)) as file:
            replay = file.load(log.origin, NOW)
            feed(replay, log, log.size)
            file.save(replay)
            file._db.execute(damage)
            with pytest.raises(Malformed, match="remove it"):
                file.load(log.origin, NOW)
