"""Crash table: each write of an auditor × {failed, failed but persisted} × {goes on, starts again}.

Whatever fails, no two cosignatures ever contradict each other, none is given for what was not audited, and the log
gets its cosignature once writing works again. And the same under real kills.
"""

from __future__ import annotations

import itertools
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from auditedlog import AuditedLog, Auditor, Clock, WitnessProcess, make_auditor
from logfactory import DAY, NOW

from ledger.core.note import Good, good_signatures, parse_lines, parse_note
from verifier_cli.auditfile import AuditFile
from verifier_cli.submission import Answer
from verifier_cli.witnessfile import WitnessFile


class Fault:
    """Which COMMIT of all connections fails, counted from 0, and whether what it wrote is there all the same."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.persisted = False
        self.seen = 0
        self.happened = False

    def plan(self, at: int | None, persisted: bool = False) -> None:
        self.at, self.persisted, self.seen, self.happened = at, persisted, 0, False


FAULT = Fault()


class FaultyConnection(sqlite3.Connection):
    """A connection whose COMMIT fails as planned."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql != "COMMIT":
            return super().execute(sql, *values)
        number, FAULT.seen = FAULT.seen, FAULT.seen + 1
        if number != FAULT.at:
            return super().execute(sql)
        FAULT.happened = True
        if FAULT.persisted:
            super().execute(sql)
        raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fault]:
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return real(*arguments, factory=FaultyConnection, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    FAULT.plan(None)
    yield FAULT
    FAULT.plan(None)


class Observer:
    """Everything that was ever cosigned, as anybody who collects cosignatures has it."""

    def __init__(self, log: AuditedLog) -> None:
        self.log = log
        self.cosigned: dict[int, tuple[str, int]] = {}
        self.newest = (0, 0)

    def take(self, file: WitnessFile, note: bytes, body: str) -> None:
        """Check one answer 200 against all before it, and against what its file says was audited."""
        text = parse_note(note).text
        lines = parse_lines(body.encode())
        (good,) = good_signatures(parse_note(text.encode() + b"\n" + body.encode()), file.vkeys)
        assert isinstance(good, Good) and good.timestamp is not None and len(lines) == 1
        size = int(text.split("\n")[1])
        assert self.cosigned.setdefault(size, (text, 0))[0] == text, "two roots cosigned for one size"
        assert size >= self.newest[0] and good.timestamp >= self.newest[1], "cosigned backwards"
        self.newest = (size, good.timestamp)
        assert text == parse_note(self.log.note_at(size)).text, "cosigned what is not the log"
        with closing(AuditFile(file.open_again())) as saved:
            assert saved.size(self.log.origin) >= size, "cosigned beyond what was audited"


def attempt(auditor: Auditor, log: AuditedLog, observer: Observer, old: int) -> Answer | None:
    """Ask once; a failed write is no answer."""
    note = log.note()
    try:
        answer = auditor.post(log.body(old))
    except sqlite3.Error:
        return None
    if answer.status == 200:
        observer.take(auditor.file, note, answer.body)
    return answer


def until_cosigned(auditor: Auditor, log: AuditedLog, observer: Observer) -> None:
    """As a publisher does: ask, and take over the size it is told."""
    old = 0
    for _ in range(6):
        answer = attempt(auditor, log, observer, old)
        if answer is not None and answer.status == 200:
            return
        if answer is not None and answer.status == 409:
            old = int(answer.body)
    raise AssertionError(f"never cosigned: {answer}")


STEPS = ("the first entries", "more entries", "the same again")


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "starts again"])
@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
@pytest.mark.parametrize("step", STEPS)
def test_no_write_that_fails_makes_it_cosign_what_it_must_not(
    tmp_path: Path, faulty: Fault, step: str, persisted: bool, goes_on: bool
) -> None:
    for at in itertools.count():
        place = tmp_path / str(at)
        place.mkdir()
        log = AuditedLog(place / "public")
        observer = Observer(log)
        clock = Clock()
        auditor = Auditor(make_auditor(place / "w.sqlite", log), clock, log.origin)
        if step != STEPS[0]:
            until_cosigned(auditor, log, observer)
        if step == STEPS[1]:
            log.grow(3)
        old = auditor.file.seen(log.origin).size
        faulty.plan(at, persisted)
        attempt(auditor, log, observer, old)
        happened = faulty.happened
        faulty.plan(None)
        if not goes_on:
            auditor.close()
            auditor = Auditor(WitnessFile(place / "w.sqlite"), clock, log.origin)
        clock.now += 1
        until_cosigned(auditor, log, observer)
        log.grow(2)
        until_cosigned(auditor, log, observer)
        auditor.close()
        if not happened:
            break
    # asked, audited, cosigned; the last again where nothing is new
    assert at >= (1 if step == STEPS[2] else 3)


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "starts again"])
@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
def test_a_violation_is_refused_whatever_write_fails(
    tmp_path: Path, faulty: Fault, persisted: bool, goes_on: bool
) -> None:
    for at in itertools.count():
        place = tmp_path / str(at)
        place.mkdir()
        log = AuditedLog(place / "public")
        observer = Observer(log)
        clock = Clock()
        auditor = Auditor(make_auditor(place / "w.sqlite", log), clock, log.origin)
        until_cosigned(auditor, log, observer)
        old = log.size
        log.factory.append(b"\x01\x07")  # of no kind
        log.grow(1)
        faulty.plan(at, persisted)
        first = attempt(auditor, log, observer, old)
        happened = faulty.happened
        faulty.plan(None)
        if not goes_on:
            auditor.close()
            auditor = Auditor(WitnessFile(place / "w.sqlite"), clock, log.origin)
        assert first is None or first.status in (422, 503)
        answer = attempt(auditor, log, observer, old)
        assert answer is not None and answer.status == 422
        assert auditor.file.seen(log.origin).size == old
        auditor.close()
        if not happened:
            break
    assert at >= 1


@pytest.mark.parametrize("goes_on", [True, False], ids=["goes on", "starts again"])
@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
def test_an_entry_ahead_is_never_persisted_whatever_write_fails(
    tmp_path: Path, faulty: Fault, persisted: bool, goes_on: bool
) -> None:
    for at in itertools.count():
        place = tmp_path / str(at)
        place.mkdir()
        log = AuditedLog(place / "public")
        observer = Observer(log)
        clock = Clock()
        auditor = Auditor(make_auditor(place / "w.sqlite", log), clock, log.origin)
        until_cosigned(auditor, log, observer)
        old = log.size
        log.grow(1, day=NOW // 86_400 + 1)
        faulty.plan(at, persisted)
        attempt(auditor, log, observer, old)
        happened = faulty.happened
        faulty.plan(None)
        if not goes_on:
            auditor.close()
            auditor = Auditor(WitnessFile(place / "w.sqlite"), clock, log.origin)
        with closing(AuditFile(auditor.file.open_again())) as saved:
            assert saved.size(log.origin) == old
        answer = attempt(auditor, log, observer, old)
        assert answer is not None and answer.status == 503
        clock.now += 86_400
        until_cosigned(auditor, log, observer)
        auditor.close()
        if not happened:
            break


def test_kills_at_any_moment_leave_one_line_of_history(tmp_path: Path) -> None:
    log = AuditedLog(tmp_path / "public")
    path = tmp_path / "w.sqlite"
    make_auditor(path, log).close()
    observer = Observer(log)
    chance = random.Random(7)
    for number in range(4):
        with WitnessProcess(path) as witness:
            killer = threading.Timer(chance.uniform(0.05, 0.5), witness.process.kill)
            started = number % 2 == 0  # or else once it has cosigned something, however slow this machine is
            if started:
                killer.start()
            old = 0
            while witness.process.poll() is None:
                note = log.note()
                try:
                    answer = witness.post(log.body(old))
                except httpx.HTTPError:
                    continue
                file = WitnessFile(path)
                if answer.status_code == 200:
                    observer.take(file, note, answer.text)
                    log.grow(2, day=DAY)
                    if not started:
                        started = True
                        killer.start()
                elif answer.status_code == 409:
                    old = int(answer.text)
                old = file.seen(log.origin).size
                file.close()
            killer.join()
    assert len(observer.cosigned) >= 2
    with WitnessProcess(path) as witness:
        file = WitnessFile(path)
        note = log.note()
        answer = witness.post(log.body(file.seen(log.origin).size))
        assert answer.status_code == 200, answer.text
        observer.take(file, note, answer.text)
        file.close()
        began = time.monotonic()
        assert witness.end(signal.SIGTERM) == 0 and time.monotonic() - began < 10
