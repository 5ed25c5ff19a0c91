"""What a source may record: epoch, seal and activity of a record, the year of a coverage, the form of a subject."""

from dataclasses import replace

import pytest
from logfactory import LogFactory

from ledger.core.encoding import LAST_DAY, parse_date
from ledger.core.entries import Coverage, Record
from ledger.core.errors import RuleBroken

LOG = LogFactory()
LOG.add_source(seal_months=12)
CHARTER = LOG.register.charter
VERSION = LOG.version(LOG.sources[0])
RECORD = Record(1, 2026, 20512, 0, 1, bytes(32), bytes(32), bytes(64))
MONTH = 56 * 12 + 1  # 20512 is 2026-02-28


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        RECORD._replace(day=20454),
        RECORD._replace(day=20818),
        RECORD._replace(seal=MONTH + 1, activity=0),
        RECORD._replace(seal=MONTH + 12, activity=0),
        RECORD._replace(day=20453, epoch=2025),
    ],
)
def test_record_within_the_rules_is_accepted(record: Record) -> None:
    VERSION.check_record(record)


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        (RECORD._replace(day=20453), "epoch"),
        (RECORD._replace(day=20819), "epoch"),
        (RECORD._replace(day=2_932_897), "day"),
        (RECORD._replace(day=2**32 - 1), "day"),
        (RECORD._replace(day=20819, epoch=2027), "vrf-key"),
        (RECORD._replace(activity=0), "activity"),
        (RECORD._replace(activity=2), "activity"),
        (RECORD._replace(seal=MONTH + 1), "activity"),
        (RECORD._replace(seal=MONTH, activity=0), "seal"),
        (RECORD._replace(seal=1, activity=0), "seal"),
        (RECORD._replace(seal=MONTH + 13, activity=0), "seal"),
        (RECORD._replace(seal=65_535, activity=0), "seal"),
    ],
)
def test_record_outside_the_rules_is_refused_by_name(record: Record, rule: str) -> None:
    with pytest.raises(RuleBroken) as caught:
        VERSION.check_record(record)
    assert caught.value.evidence["rule"] == rule


WIDE = replace(VERSION, vrf={1970: b"a", 2026: b"b", 7431: b"c", 9999: b"d"}, seal_months=2**53 - 1)
LAST_SEALABLE = parse_date("7431-03-31", "day")  # its month is 65,534, and a seal a u16


@pytest.mark.parametrize(
    ("day", "epoch", "seals", "not_seals"),
    [
        (0, 1970, (0, 1, 65_535), ()),
        (30, 1970, (1,), ()),
        (31, 1970, (2,), (1,)),
        (20818, 2026, (0, MONTH + 11, 65_535), (MONTH + 10, 1)),
        (LAST_SEALABLE, 7431, (0, 65_535), (65_534,)),
        (LAST_SEALABLE + 1, 7431, (0,), (65_535,)),
        (LAST_DAY, 9999, (0,), (1, 65_535)),
    ],
)
def test_seals_at_the_ends_of_the_calendar(
    day: int, epoch: int, seals: tuple[int, ...], not_seals: tuple[int, ...]
) -> None:
    def record(seal: int) -> Record:
        return RECORD._replace(day=day, epoch=epoch, seal=seal, activity=0 if seal else 1)

    for seal in seals:
        WIDE.check_record(record(seal))
    for seal in not_seals:
        with pytest.raises(RuleBroken, match="seal month"):
            WIDE.check_record(record(seal))


@pytest.mark.parametrize(
    ("day", "epoch"), [(0, 1970), (364, 1970), (365, 1971), (20818, 2026), (20819, 2027), (LAST_DAY, 9999)]
)
def test_coverage_is_of_the_year_of_its_day(day: int, epoch: int) -> None:
    coverage = Coverage(1, epoch, day, 0, bytes(64))
    VERSION.check_coverage(coverage)
    for wrong in (epoch - 1, epoch + 1):
        with pytest.raises(RuleBroken, match="epoch"):
            VERSION.check_coverage(coverage._replace(epoch=wrong))
    with pytest.raises(RuleBroken, match="after the year 9999"):
        VERSION.check_coverage(coverage._replace(day=LAST_DAY + 1))


def test_subject_in_another_form_is_refused_without_being_named() -> None:
    CHARTER.check_subject("nhs", "9434765919")
    for scheme, value in (("nhs", "94347659190"), ("nhs", "secret"), ("passport", "secret")):
        with pytest.raises(RuleBroken) as caught:
            CHARTER.check_subject(scheme, value)
        assert value not in str(caught.value)
