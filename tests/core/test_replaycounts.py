"""What an audit counts and calls no violation: late and suspect records, silent days, seals that are due, statuses."""

import json

import pytest
from logfactory import DAY, NOW, LogFactory

from ledger.core import replay as replaying
from ledger.core.encoding import format_date
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.replay import Replay, Summary, bad_signatures
from ledger.core.replaycounts import DayCount

STRANGER = Ed25519PrivateKey.from_seed(bytes(32))
JULY_2026 = 678  # months since 1970-01


def audited(log: LogFactory, newest: int = NOW) -> tuple[Replay, Summary]:
    replay = Replay(log.origin, newest, log.size)
    replay.report(bad_signatures(log.origin, replay.feed_many(log.entries)))
    return replay, replay.finish()


def test_seals_are_due_from_their_month_on() -> None:
    log = LogFactory()
    health, tax = log.add_source(seal_months=12), log.add_source("Tax office", seal_months=12)
    for seal in (JULY_2026, JULY_2026, JULY_2026 + 1):
        log.access(health, seal=seal)
    log.access(tax, seal=JULY_2026)
    log.access(tax, seal=JULY_2026, key=STRANGER)  # not the source's, so not counted
    log.seal_batch()
    replay, summary = audited(log)
    assert replay.sealed == {(1, JULY_2026): 2, (1, JULY_2026 + 1): 1, (2, JULY_2026): 1}
    assert summary.seals_due == {(1, JULY_2026): 2, (2, JULY_2026): 1}
    month_before = NOW - 3 * 86_400
    assert audited(log, month_before)[1].seals_due == {}
    assert audited(log, NOW + 31 * 86_400)[1].seals_due == replay.sealed


def test_sources_are_retired_or_revoked_by_their_newest_version() -> None:
    log = LogFactory()
    kept, retired, revoked, both = (log.add_source(f"Department {number}") for number in range(4))
    today = format_date(DAY)
    log.change_source(retired, status="retired", retired=today)
    log.change_source(revoked, status="revoked", revoked=today)
    log.change_source(both, status="retired", retired=today)
    before = {name: value for name, value in log.version(both).statement.items() if name != "retired"}
    log.version(both).statement.clear()
    log.version(both).statement.update(before)
    log.change_source(both, status="revoked", revoked=today)
    log.seal_batch()
    replay, summary = audited(log)
    assert replay.violations == []
    assert (summary.retired, summary.revoked) == ([retired.number], [revoked.number, both.number])
    assert kept.number not in summary.retired + summary.revoked


def test_suspect_records_are_told_by_source_and_day() -> None:
    log = LogFactory()
    source = log.add_source()
    for day in (DAY - 2, DAY, DAY, DAY + 1):
        log.access(source, day=day)
    log.change_source(source, status="revoked", revoked=format_date(DAY))
    log.seal_batch()
    replay, summary = audited(log)
    by_day = {day.day: replay.counts.suspect_on(day, replay.register) for day in replay.counts}
    assert by_day == {DAY - 2: 0, DAY: 2, DAY + 1: 1}
    assert replay.counts.suspect(replay.register) == {source.number: 3}
    assert summary.suspect == 3


def test_the_counts_of_a_day_are_read_back_as_they_were() -> None:
    log = LogFactory()
    source = log.add_source(seal_months=12)
    log.access(source)
    log.access(source, seal=JULY_2026)
    log.coverage(source, DAY, 2)
    log.access(source)
    log.seal_batch()
    (day,) = audited(log)[0].counts
    day.touched = False
    assert (day.records, day.late) == (3, 1)
    assert DayCount.from_plain(day.source, day.day, json.loads(json.dumps(day.to_plain()))) == day


def test_violations_beyond_those_that_are_kept_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "VIOLATIONS", 10)
    log = LogFactory()
    for _ in range(25):
        log.append(b"\1\7")
    log.seal_batch()
    replay, summary = audited(log)
    assert [violation.index for violation in replay.violations] == list(range(1, 11))
    assert summary.left_out == 15


def test_a_log_without_index_roots_does_not_pile_up_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "PENDING_LABELS", 4)
    log = LogFactory()
    source = log.add_source()
    for _ in range(9):
        log.access(source)
    log.append(log.entries[2])
    replay = Replay(log.origin, NOW, log.size)
    for raw in log.entries:
        replay.report(bad_signatures(log.origin, replay.feed_many([raw])))
        assert len(replay._pending) < 4
    replay.finish()
    assert [(one.index, one.kind) for one in replay.violations] == [
        (log.size - 1, "label-taken"),
        (log.size - 1, "last-leaf"),
    ]
