"""A log altered in one byte before it was signed: one finding at that entry, whatever else the byte makes wrong."""

import pytest
from logfactory import DAY, NOW, ORIGIN, LogFactory

from ledger.core.entries import INDEX_ROOT
from ledger.core.replay import Replay, Violation, bad_signatures

SEALED = (2026 - 1970) * 12 + 8


@pytest.fixture(scope="module")
def log() -> LogFactory:
    log = LogFactory()
    health = log.add_source(seal_months=3)
    log.access(health)
    log.coverage(health, DAY - 1, 0)
    log.access(health, seal=SEALED)
    log.change_source(health, contact="https://example.gov/other")
    log.seal_batch()
    return log


def _altered(log: LogFactory, index: int, raw: bytes) -> list[Violation]:
    """What is wrong with the log when `raw` stands at `index` and all index roots but that are made for it."""
    made = LogFactory()
    for place, entry in enumerate(log.entries[1:], 1):
        if place == index:
            made.append(raw)
        elif entry[1] == INDEX_ROOT:
            made.seal_batch()
        else:
            made.append(entry)
    replay = Replay(ORIGIN, NOW, made.size)
    replay.report(bad_signatures(ORIGIN, replay.feed_many(made.entries)))
    replay.finish()
    return replay.violations


def test_the_log_is_sound_before(log: LogFactory) -> None:
    assert _altered(log, 2, log.entries[2]) == []


@pytest.mark.parametrize("index", range(2, 7))
def test_one_altered_byte_is_one_finding(log: LogFactory, index: int) -> None:
    raw = log.entries[index]
    fields = (0, 1, 2, 5, 6, 7, 8, 11, 12, 13, 14, 17, 18, 19, 20, 49, 50, 74, 81)
    for at in sorted({*(at for at in fields if at < len(raw)), *range(20, len(raw), 29), len(raw) - 1}):
        for bit in (0x01, 0x80):
            altered = bytearray(raw)
            altered[at] ^= bit
            found = _altered(log, index, bytes(altered))
            assert [violation.index for violation in found] == [index], (at, bit, found)


@pytest.mark.parametrize(("at", "field"), [(7, "epoch"), (9, "day"), (13, "seal"), (17, "activity")])
def test_a_record_that_its_source_did_not_sign_is_forged_and_no_fault_of_the_source(
    log: LogFactory, at: int, field: str
) -> None:
    altered = bytearray(log.entries[2])
    altered[at] ^= 0x40
    assert [violation.kind for violation in _altered(log, 2, bytes(altered))] == ["signature"], field
