"""The audit on logs with one thing wrong: what it finds, where, and what it still counts."""

import pytest
from logfactory import DAY, NOW, LogFactory, TestSource

from ledger.core.encoding import format_date
from ledger.core.entries import IndexRoot, decode_entry
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import EMPTY_ROOT
from ledger.core.replay import Replay, Summary, bad_signatures

STRANGER = Ed25519PrivateKey.from_seed(bytes(32))


def audit(log: LogFactory, *, batch: int = 3, ahead: int = 1) -> tuple[dict[int, str], Summary, Replay]:
    """Violations by leaf (its kind), the summary and the replay itself."""
    replay = Replay(log.origin, NOW, log.size)
    under_way = []
    for start in range(0, log.size, batch):
        under_way.append(replay.feed_many(log.entries[start : start + batch]))
        if len(under_way) > ahead:
            replay.report(bad_signatures(log.origin, under_way.pop(0)))
    for jobs in under_way:
        replay.report(bad_signatures(log.origin, jobs))
    summary = replay.finish()
    return {violation.index: violation.kind for violation in replay.violations}, summary, replay


@pytest.fixture
def log() -> LogFactory:
    return LogFactory()


@pytest.fixture
def source(log: LogFactory) -> TestSource:
    return log.add_source(seal_months=6, since=format_date(DAY))


def test_a_sound_log_has_no_violation_and_the_roots_of_its_tree(log: LogFactory, source: TestSource) -> None:
    for _ in range(5):
        log.access(source)
    log.coverage(source, DAY, 5)
    log.access(source, seal=680)
    log.seal_batch()
    found, summary, replay = audit(log)
    assert found == {}
    root = decode_entry(log.entries[-1])
    assert isinstance(root, IndexRoot)
    assert (summary.labels, summary.index_root) == (root.labels, root.index_root)
    assert (summary.size, summary.records, summary.late) == (log.size, 6, 1)
    assert replay.by_activity == {(source.number, DAY, 1): 5}
    assert replay.sealed == {(source.number, 680): 1}
    assert summary.silent == {source.number: len(range(DAY + 1, DAY + 9))}
    assert replay.silent_days_of(source.number) == list(range(DAY + 1, DAY + 9))


@pytest.mark.parametrize(("batch", "ahead"), [(1, 0), (1, 9), (4, 1), (100, 0)])
def test_a_forged_record_is_no_record_of_the_source(
    log: LogFactory, source: TestSource, batch: int, ahead: int
) -> None:
    log.access(source)
    forged = log.access(source, key=STRANGER)
    log.coverage(source, DAY, 1)  # true of what the source signed
    late = log.access(source, key=STRANGER)
    log.seal_batch()
    found, summary, replay = audit(log, batch=batch, ahead=ahead)
    assert found == {forged: "signature", late: "signature"}
    assert (summary.records, summary.late) == (1, 0)
    assert replay.by_activity == {(source.number, DAY, 1): 1}


def test_a_coverage_that_counts_a_forged_record_is_false(log: LogFactory, source: TestSource) -> None:
    forged = log.access(source, key=STRANGER)
    coverage = log.coverage(source, DAY, 1)
    log.seal_batch()
    assert audit(log)[0] == {forged: "signature", coverage: "coverage-count"}


def test_a_forged_coverage_covers_nothing(log: LogFactory, source: TestSource) -> None:
    forged = log.coverage(TestSource(source.number, STRANGER, {}), DAY, 7)
    log.access(source)
    log.seal_batch()
    found, summary, replay = audit(log)
    assert found == {forged: "signature"}
    assert summary.late == 0
    assert DAY in replay.silent_days_of(source.number)


def test_a_record_with_a_taken_label_counts_for_its_day(log: LogFactory, source: TestSource) -> None:
    log.access(source)
    source.counters.clear()
    again = log.access(source)
    log.coverage(source, DAY, 2)
    log.seal_batch()
    found, summary, _ = audit(log)
    assert found == {again: "label-taken"}
    assert summary.labels == log.size - 2


def test_records_before_a_revocation_are_suspect_and_later_ones_violations(
    log: LogFactory, source: TestSource
) -> None:
    log.access(source, day=DAY - 1)
    log.access(source, day=DAY)
    log.access(source, day=DAY + 1)
    log.access(source, day=DAY + 1, key=STRANGER)
    forged = log.size - 1
    log.change_source(source, status="revoked", revoked=format_date(DAY))
    after = log.access(source)
    forged_after = log.access(source, key=STRANGER)
    log.seal_batch()
    found, summary, _ = audit(log)
    assert found == {forged: "signature", after: "source-revoked", forged_after: "signature"}
    assert summary.suspect == 2


def test_a_second_revocation_reaches_back_beyond_the_first(log: LogFactory, source: TestSource) -> None:
    log.access(source, day=DAY - 1)
    log.access(source, day=DAY)
    log.change_source(source, status="revoked", revoked=format_date(DAY))
    between = [log.access(source, day=DAY - 2), log.access(source, day=DAY - 1)]
    forged = log.access(source, day=DAY - 1, key=STRANGER)
    log.change_source(source, revoked=format_date(DAY - 1))
    after = log.access(source, day=DAY)
    log.seal_batch()
    found, summary, _ = audit(log)
    assert found == dict.fromkeys([*between, after], "source-revoked") | {forged: "signature"}
    assert summary.suspect == 3


def test_a_log_that_does_not_end_in_an_index_root(log: LogFactory, source: TestSource) -> None:
    log.seal_batch()
    last = log.access(source)
    assert audit(log)[0] == {last: "last-leaf"}


def test_a_log_without_a_charter(source: TestSource, log: LogFactory) -> None:
    log.access(source)
    del log.entries[0]
    log.entries[-1:] = [log.entries[-1], b"", b"\1\7"]
    assert audit(log)[0] == {0: "charter", 1: "source-unknown", 2: "malformed", 3: "malformed"}


def test_an_index_root_in_the_place_of_the_charter(log: LogFactory) -> None:
    charter = log.entries.pop()
    replay = Replay(log.origin, NOW)
    replay.feed_many([IndexRoot(0, EMPTY_ROOT, bytes(32), 0).encode(), charter])
    replay.report([])
    assert [(violation.index, violation.kind) for violation in replay.violations] == [
        (0, "charter"),
        (1, "charter"),
    ]


def test_the_charter_of_another_log(log: LogFactory) -> None:
    log.seal_batch()
    replay = Replay("log.example.gov/other", NOW)
    replay.feed_many(log.entries)
    replay.report([])
    replay.finish()
    assert [(violation.index, violation.kind) for violation in replay.violations] == [(0, "origin")]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"covers": 2}, "index-covers"),
        ({"log_root": bytes(32)}, "log-root"),
        ({"index_root": bytes(32)}, "index-root"),
        ({"labels": 9}, "index-labels"),
    ],
)
def test_an_index_root_with_one_false_field(
    log: LogFactory, source: TestSource, change: dict[str, object], kind: str
) -> None:
    log.access(source)
    place = log.seal_batch()
    root = decode_entry(log.entries[place])
    assert isinstance(root, IndexRoot)
    log.entries[place] = root._replace(**change).encode()  # type: ignore[arg-type]
    assert audit(log)[0] == {place: kind}


def test_an_index_that_leaves_a_record_out(log: LogFactory, source: TestSource) -> None:
    hidden = log.access(source)
    honest = log._index
    log._index = PrefixTree(MemoryRows(4), 4)
    labels = [decode_entry(entry).index_label for entry in log.entries]
    log._index.insert_many(
        (label, index) for index, label in enumerate(labels) if label is not None and index != hidden
    )
    place = log.seal_batch()
    found, summary, _ = audit(log)
    assert found == {place: "index-root"}
    assert summary.index_root == honest.root


def test_finishing_with_signatures_outstanding_is_refused(log: LogFactory) -> None:
    replay = Replay(log.origin, NOW)
    replay.feed_many(log.entries)
    with pytest.raises(ValueError, match="not been reported"):
        replay.finish()


def test_a_violation_says_where_what_and_which_rule(log: LogFactory, source: TestSource) -> None:
    place = log.access(source, activity=7)
    log.seal_batch()
    _, _, replay = audit(log)
    (violation,) = replay.violations
    assert (violation.index, violation.kind, violation.rule) == (place, "activity", "§2")
    assert "activity is not registered" in violation.detail
