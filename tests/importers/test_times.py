"""Moments as logs write them, and none that is guessed at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.claims import utc_day
from ledger.core.errors import Malformed
from ledger.department.importers.fields.times import Times, read_times
from ledger.department.importers.fields.values import Lookups
from ledger.department.strict_toml import parse_toml


def times(lines: str) -> Times:
    return read_times(parse_toml(f'from = "at"\n{lines}'.encode(), "map.toml"), Lookups())


READ: dict[str, tuple[str, object, str]] = {
    "iso": ("", "2026-02-28T10:03:00Z", "2026-02-28T10:03:00Z"),
    "iso with offset": ("", "2026-02-28T23:30:00-05:30", "2026-02-28T23:30:00-05:30"),
    "iso, short offset, comma": ("", "2026-02-28 10:03:00,5+01", "2026-02-28T10:03:00.5+01:00"),
    "iso, nine digits": ("", "2026-02-28T10:03:00.123456789Z", "2026-02-28T10:03:00.123456789Z"),
    "iso, no seconds": ("", "2026-02-28T10:03Z", "2026-02-28T10:03:00Z"),
    "iso, local": ('zone = "Europe/Tallinn"', "2026-07-01T00:30:00", "2026-07-01T00:30:00+03:00"),
    "postgres, utc": ('format = "postgres"', "2026-02-28 10:03:00.123 UTC", "2026-02-28T10:03:00.123Z"),
    "postgres, name": (
        'format = "postgres"\nzone = "Europe/Berlin"', "2026-07-01 10:03:00 CEST", "2026-07-01T10:03:00+02:00",
    ),
    "postgres, name tells which hour": (
        'format = "postgres"\nzone = "Europe/Berlin"', "2025-10-26 02:30:00 CET", "2025-10-26T02:30:00+01:00",
    ),
    "unix": ('format = "unix"', "1772269405", "2026-02-28T09:03:25Z"),
    "unix with fraction": ('format = "unix"', "1772269405.250", "2026-02-28T09:03:25.25Z"),
    "unix-ms": ('format = "unix-ms"', 1772269405123, "2026-02-28T09:03:25.123Z"),
    "unix-us": ('format = "unix-us"', "1772269405123456", "2026-02-28T09:03:25.123456Z"),
    "unix-ns": ('format = "unix-ns"', "1772269405123456789", "2026-02-28T09:03:25.123456789Z"),
    "own": ('format = "%d/%m/%Y %I:%M %p"\nzone = "UTC"', "28/02/2026 10:03 PM", "2026-02-28T22:03:00Z"),
    "own with zone": ('format = "%Y%m%d%H%M%S%z"', "20260228100300+0100", "2026-02-28T10:03:00+01:00"),
    "twice, the first": (
        'zone = "Europe/Berlin"\nambiguous = "first"', "2025-10-26T02:30:00", "2025-10-26T02:30:00+02:00",
    ),
    "twice, the second": (
        'zone = "Europe/Berlin"\nambiguous = "second"', "2025-10-26T02:30:00", "2025-10-26T02:30:00+01:00",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_moment_is_moved_on_the_way(case: str) -> None:
    lines, text, expected = READ[case]
    at, day = times(lines).moment({"at": text})
    assert at == expected
    assert day == utc_day(at, "at")


REJECTED: dict[str, tuple[str, object, str]] = {
    "nothing": ("", "", "holds no time"),
    "null": ("", None, "holds no time"),
    "no zone": ("", "2026-02-28T10:03:00", "give `zone`"),
    "a name is no zone": ("", "2026-02-28T10:03:00 CET", "give `zone`"),
    "another zone's name": ('zone = "Europe/Berlin"', "2026-02-28 10:03:00 EST", "is no time in the zone"),
    "no such hour": ('zone = "Europe/Berlin"', "2026-03-29T02:30:00", "is no time in the zone"),
    "twice": ('zone = "Europe/Berlin"', "2025-10-26T02:30:00", "was twice"),
    "a date": ("", "2026-02-28", "no time that exists"),
    "leap second": ("", "2016-12-31T23:59:60Z", "no time that exists"),
    "before 1970": ("", "1969-12-31T23:59:59Z", "before 1970"),
    "year 0": ("", "0000-01-01T00:00:00Z", "no time that exists"),
    "year 9999 and later": ("", "9999-12-31T23:59:59-10:00", "no time that exists"),
    "offset of 15 hours": ("", "2026-02-28T10:03:00+15:00", "no time that exists"),
    "other digits": ("", "２０２６-02-28T10:03:00Z", "no time that exists"),
    "negative": ('format = "unix"', "-5", "no time that exists"),
    "far": ('format = "unix"', "9" * 18, "no time that exists"),
    "fraction of a unit": ('format = "unix-ms"', "1772269405123.5", "no time that exists"),
    "own, other": ('format = "%d/%m/%Y %H:%M"\nzone = "UTC"', "02/28/2026 10:03", "no time that exists"),
    "a list": ("", [["2026-02-28T10:03:00Z"]], "is a list where one value is due"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_moment_that_is_none_is_recorded(case: str) -> None:
    lines, text, fault = REJECTED[case]
    with pytest.raises(Malformed) as caught:
        times(lines).moment({"at": text})
    assert fault in caught.value.what and caught.value.where == "at"


REFUSED: dict[str, tuple[str, str]] = {
    "no year": ('format = "%d/%m %H:%M"\nzone = "UTC"', "does not tell year"),
    "no minute": ('format = "%d/%m/%Y %H"\nzone = "UTC"', "does not tell year"),
    "12 hours without half": ('format = "%d/%m/%Y %I:%M"\nzone = "UTC"', "does not tell year"),
    "no strptime": ('format = "dd/mm/yyyy"\nzone = "UTC"', "must be one of iso"),
    "zone names": ('format = "%d/%m/%Y %H:%M %Z"', "mean many zones"),
    "no zone at all": ('format = "%d/%m/%Y %H:%M"', "zone: missing"),
    "no such zone": ('zone = "Europe/Bruxelles"', "no zone known"),
    "a path as zone": ('zone = "../../etc/passwd"', "no zone known"),
    "ambiguous": ('ambiguous = "third"', "must be one of reject, first, second"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_section_that_cannot_tell_a_moment_is_taken(case: str) -> None:
    lines, fault = REFUSED[case]
    with pytest.raises(Malformed, match=fault):
        times(lines)


@given(
    st.text(max_size=30) | st.integers() | st.floats() | st.none() | st.lists(st.text(max_size=3), max_size=2)
)
def test_some_value_as_time_raises_otherwise(value: object) -> None:
    for lines in ('zone = "Europe/London"', 'format = "unix-ms"', 'format = "%d.%m.%Y %H:%M"\nzone = "UTC"'):
        try:
            at, day = times(lines).moment({"at": value})
        except Malformed:
            continue
        assert day == utc_day(at, "at")
