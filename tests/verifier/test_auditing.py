"""The engine of audits: stopped, killed, cut off and gone on with, it finds what one run finds."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from logfactory import DAY, NOW, LogFactory

from ledger.client.folderlog import FolderLog
from ledger.client.publiclog import Unreachable
from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.entries import sign_record
from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.note import parse_note
from ledger.core.replay import Replay, Summary, Violation
from ledger.core.tiles import ENTRIES, Tile
from verifier_cli import auditing
from verifier_cli.auditfile import AuditFile
from verifier_cli.auditing import Advanced, Auditor, Stopped, advance

STRANGER = Ed25519PrivateKey.from_seed(bytes(32))


@pytest.fixture
def log() -> LogFactory:
    """Twelve bundles, with index roots, late and sealed records, and rules broken here and there."""
    log = LogFactory()
    health = log.add_source(seal_months=6)
    for number in range(2900):
        if number == 1500:
            log.coverage(health, DAY, 1499)  # counts the two forged ones as well
        else:
            key = STRANGER if number % 701 == 700 else health.key
            seal = 0 if number % 397 else 680
            log.append(
                sign_record(
                    log.origin, key, source=1, day=DAY, seal=seal, activity=0 if seal else 1,
                    label=number.to_bytes(32, "big"), commitment=bytes(32),
                )
            )  # fmt: skip
        if number % 100 == 99:
            log.seal_batch()
    return log


class Counting(FolderLog):
    """A folder that gives so many files and then is gone."""

    left = 1 << 30

    def tile(self, tile: Tile) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise Unreachable(tile.path, "gone")
        return super().tile(tile)


def opened(folder: Path) -> tuple[Counting, Checkpoint]:
    log = Counting(folder)
    return log, parse_checkpoint(parse_note(log.checkpoint()).text)


def found(replay: Replay, advanced: Advanced) -> tuple[list[Violation], Summary | None]:
    assert advanced.of_copy == []
    return replay.violations, advanced.summary


def in_one_run(folder: Path) -> tuple[list[Violation], Summary | None]:
    log, checkpoint = opened(folder)
    replay = Replay(checkpoint.origin, NOW, checkpoint.size)
    return found(replay, advance(log, replay, checkpoint, jobs=1))


def test_a_log_audited_checkpoint_by_checkpoint_is_audited_as_in_one_run(tmp_path: Path) -> None:
    log = LogFactory()
    source = log.add_source()
    folder = log.publish(tmp_path / "public")
    replay = Replay(log.origin, NOW)
    new: list[Violation] = []
    with Auditor(FolderLog(folder), log.origin, 1) as auditor:
        for number in range(40):
            for _ in range(number):
                log.access(source, key=STRANGER if number % 13 == 12 else None)
            log.publish(folder)
            checkpoint = opened(folder)[1]
            advanced = auditor.advance(replay, checkpoint)
            assert advanced.size == log.size
            new += advanced.of_log
    assert new == replay.violations
    assert {violation.kind for violation in new} == {"signature"} and len(new) == 12 + 25 + 38
    assert (replay.violations, advanced.summary) == in_one_run(folder)
    # Nothing new: the same again.
    again = advance(FolderLog(folder), replay, checkpoint, jobs=1)
    assert again == Advanced(log.size, [], [], advanced.summary)


@pytest.mark.parametrize("files", [0, 1, 2, 7, 11, 20, 24])
def test_a_log_that_stops_answering_is_gone_on_with_from_there(
    tmp_path: Path, log: LogFactory, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "BUNDLES_AT_ONCE", 2)
    folder = log.publish(tmp_path / "public")
    path = tmp_path / "audit.sqlite"
    source, checkpoint = opened(folder)
    source.left = files
    with closing(AuditFile.open(path)) as file:
        with pytest.raises(Unreachable):
            advance(source, file.load(log.origin, NOW), checkpoint, jobs=1, save=file.save)
        size = file.size(log.origin)
    if files == 24:
        assert size > 0
    with closing(AuditFile.open(path)) as file:
        replay = file.load(log.origin, NOW)
        assert replay.size == size
        source.left = 1 << 30
        assert found(replay, advance(source, replay, checkpoint, jobs=1, save=file.save)) == in_one_run(
            folder
        )
        assert file.size(log.origin) == log.size


def test_a_stopped_audit_is_saved_and_goes_on(
    tmp_path: Path, log: LogFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "BUNDLES_AT_ONCE", 1)
    folder = log.publish(tmp_path / "public")
    source, checkpoint = opened(folder)
    stop = threading.Event()
    sizes = []

    def progress(done: int, size: int) -> None:
        sizes.append((done, size))
        if done > 1000:
            stop.set()

    with closing(AuditFile.open(tmp_path / "audit.sqlite")) as file:
        replay = file.load(log.origin, NOW)
        with pytest.raises(Stopped):
            advance(source, replay, checkpoint, jobs=1, save=file.save, progress=progress, stop=stop)
        assert file.size(log.origin) == replay.size == 1024
        assert sizes == [(256, log.size), (512, log.size), (768, log.size), (1024, log.size)]
        assert found(replay, advance(source, replay, checkpoint, jobs=1, save=file.save)) == in_one_run(
            folder
        )


def test_it_is_saved_on_the_way(tmp_path: Path, log: LogFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "BUNDLES_AT_ONCE", 1)
    monkeypatch.setattr(auditing, "SAVE_ENTRIES", 1000)
    folder = log.publish(tmp_path / "public")
    source, checkpoint = opened(folder)
    saved: list[int] = []
    replay = Replay(log.origin, NOW)
    advance(source, replay, checkpoint, jobs=1, save=lambda replay: saved.append(replay.size))
    assert saved == [1024, 2048, log.size]
    monkeypatch.setattr(auditing, "SAVE_SECONDS", 0.0)
    del saved[:]
    advance(
        source, Replay(log.origin, NOW), checkpoint, jobs=1, save=lambda replay: saved.append(replay.size)
    )
    assert len(saved) == 13


def test_another_log_than_the_one_audited_before_is_refuted(tmp_path: Path, log: LogFactory) -> None:
    """The frontier saved must lead into the tree of the new checkpoint."""
    folder = log.publish(tmp_path / "public")
    source, checkpoint = opened(folder)
    with closing(AuditFile.open(tmp_path / "audit.sqlite")) as file:
        advance(source, file.load(log.origin, NOW), checkpoint, jobs=1, save=file.save)
        log.entries[700] = log.entries[701]
        log.access(log.sources[0])
        log._frontier = Frontier()
        log._frontier.extend(map(leaf_hash, log.entries))
        forked, other = opened(log.publish(tmp_path / "forked"))
        with pytest.raises(ProofRefuted, match="not those that were audited before"):
            advance(forked, file.load(log.origin, NOW), other, jobs=1, save=file.save)
        assert file.size(log.origin) == checkpoint.size
        smaller = Checkpoint(log.origin, 100, bytes(32))
        with pytest.raises(Malformed, match="audited before"):
            advance(forked, file.load(log.origin, NOW), smaller, jobs=1)


def test_nothing_behind_a_false_bundle_is_saved(tmp_path: Path, log: LogFactory) -> None:
    folder = log.publish(tmp_path / "public")
    source, checkpoint = opened(folder)
    bundle = folder / Tile(ENTRIES, 9).path
    honest = bundle.read_bytes()
    bundle.write_bytes(honest[:500] + bytes((honest[500] ^ 1,)) + honest[501:])
    with closing(AuditFile.open(tmp_path / "audit.sqlite")) as file:
        replay = file.load(log.origin, NOW)
        advanced = advance(source, replay, checkpoint, jobs=1, save=file.save)
        assert [(one.index, one.kind) for one in advanced.of_copy] == [(9 * 256 + 3, "bundle")]
        assert advanced.summary is None
        # Rules are checked as far as what is missing has no say in them: forged records before it, none after.
        assert [one.kind for one in advanced.of_log] == [
            "signature", "signature", "coverage-count", "signature",
        ]  # fmt: skip
        size = file.size(log.origin)
        assert 0 < size <= 9 * 256
        with pytest.raises(ValueError, match="not seen every entry"):
            file.save(replay)
        bundle.write_bytes(honest)
        replay = file.load(log.origin, NOW)
        assert found(replay, advance(source, replay, checkpoint, jobs=1, save=file.save)) == in_one_run(
            folder
        )


def test_a_root_that_nothing_leads_to_is_one_finding(tmp_path: Path, log: LogFactory) -> None:
    source, checkpoint = opened(log.publish(tmp_path / "public"))
    false = Checkpoint(log.origin, checkpoint.size, bytes(32))
    advanced = advance(source, Replay(log.origin, NOW), false, jobs=1)
    assert [(one.index, one.kind) for one in advanced.violations] == [(log.size - 1, "root")]
    assert advanced.summary is None


KILLED = """
import sys
from verifier_cli import auditing, cli, commandline
auditing.BUNDLES_AT_ONCE, auditing.SAVE_ENTRIES = 1, 300
commandline.clock = lambda: {now}
cli.main()
"""


def test_an_audit_killed_again_and_again_finds_what_one_run_finds(tmp_path: Path, log: LogFactory) -> None:
    """SIGKILL just after it got a little further, at another moment each time, until a run comes to its end."""
    log.publish(tmp_path / "public")
    (tmp_path / "policy.txt").write_text(log.policy_text())
    found = None
    kills = 0
    while found is None:
        assert kills < 20
        found = _run(tmp_path, "killed", kill_after=500, wait=0.003 * kills)
        kills += found is None
    assert kills > 1
    assert found == _run(tmp_path, "once")


def _run(folder: Path, data: str, kill_after: int | None = None, wait: float = 0.0) -> list[str] | None:
    """What an audit says; None when it was killed, once it had saved so many entries more than there were."""
    command = [
        sys.executable,
        "-c",
        KILLED.format(now=NOW),
        "audit",
        "--log",
        "public",
        "--policy",
        "policy.txt",
    ]
    process = subprocess.Popen(
        [*command, "--jobs", "1"], cwd=folder, env={**os.environ, "XDG_DATA_HOME": str(folder / data)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    before = _saved(folder / data)
    while kill_after is not None and process.poll() is None:
        if _saved(folder / data) >= before + kill_after:
            time.sleep(wait)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return None
        time.sleep(0.01)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    return [line for line in out.splitlines() if line.startswith(("entry ", "REFUTED"))]


def _saved(data: Path) -> int:
    for path in data.rglob("*.sqlite"):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                row = db.execute("SELECT size FROM audit_log").fetchone()
                return int(row[0]) if row else 0
        except sqlite3.Error:
            pass  # it is being made
    return 0
