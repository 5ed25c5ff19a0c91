"""Encoding: everything but the one canonical spelling is refused, with a message that says where."""

import base64
import binascii
import itertools

import pytest

from ledger.core.encoding import (
    LAST_DAY,
    Reader,
    b64decode,
    b64encode,
    b64url_decode,
    b64url_encode,
    day_of,
    format_date,
    lp,
    month_of,
    parse_date,
    parse_decimal,
    u16,
    u32,
    u64,
    year_of,
)
from ledger.core.errors import Malformed

NOT_DECIMALS = [
    "", " ", "+5", "-5", "-0", "00", "007", "5 ", " 5", "5\n", "5.0", "5e1", "0x5", "1_000", "1,000",
    "\u0665", "\uff15", "\u00b2", "\u2460", "five", "9223372036854775808", "1" * 40, "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_DECIMALS, ids=lambda text: ascii(text[:24]))
def test_other_spelling_of_a_number_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="^size: "):
        parse_decimal(text, "size")


def test_decimal_is_below_its_limit() -> None:
    assert parse_decimal("0", "n") == 0
    assert parse_decimal("9223372036854775807", "n") == 2**63 - 1
    assert parse_decimal("99", "n", 100) == 99
    for text in ("100", "101", "1000"):
        with pytest.raises(Malformed, match="not below 100"):
            parse_decimal(text, "n", 100)


NOT_BASE64 = [
    "QQ", "QQ=", "QQ===", "QR==", "QQ==\n", " QQ==", "QQ= =", "Q Q==", "QUJ=", "Q", "QUI", "=", "====",
    "QQ==QQ==", "-_8=", "QQ\u00e9=", "Q\u0661==", "QQ==!", "\x00QQ==",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_BASE64, ids=ascii)
def test_other_spelling_of_base64_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="^hash: "):
        b64decode(text, "hash")


def test_base64_that_is_taken_is_what_its_bytes_encode_to_whatever_characters_are_put_together() -> None:
    for length in range(7):
        for letters in itertools.product("AQz=+/ \n-", repeat=length):
            text = "".join(letters)
            try:
                data = base64.b64decode(text)
                canonical = base64.b64encode(data).decode() == text
            except binascii.Error:
                canonical = False
            try:
                assert b64decode(text, "x") == data and canonical, text
            except Malformed:
                assert not canonical, text


NOT_BASE64URL = [
    "QQ==",
    "QQ=",
    "QR",
    "Q",
    "QUJ",
    "+/8",
    "QQ\n",
    " QQ",
    "Q Q",
    "QQ.",
    "\u00e9A",
    "QUJDR",
    "-_9",
]


@pytest.mark.parametrize("text", NOT_BASE64URL, ids=ascii)
def test_other_spelling_of_base64url_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="^kid: "):
        b64url_decode(text, "kid")


def test_base64_of_both_kinds() -> None:
    assert b64encode(b"\xfb\xff\xfe\x00") == "+//+AA=="
    assert b64url_encode(b"\xfb\xff\xfe\x00") == "-__-AA"
    assert b64decode("+//+AA==", "x") == b64url_decode("-__-AA", "x") == b"\xfb\xff\xfe\x00"
    assert b64decode("", "x") == b64url_decode("", "x") == b""


NOT_DATES = [
    "", "2026", "2026-07", "20260702", "2026-7-2", "2026-W27-4", "2026-183", "2026-07-02T", "2026-07-02T00:00",
    "2026-13-01", "2026-02-29", "2026-00-01", "2026-01-00", "26-07-02", "2026/07/02", " 2026-07-02", "2026-07-02 ",
    "0000-01-01", "\u0662026-07-02", "12026-07-0", "+026-07-02", "2026-07-0a",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_DATES, ids=ascii)
def test_other_spelling_of_a_date_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="^since: not a date"):
        parse_date(text, "since")


def test_days_months_and_years() -> None:
    assert parse_date("1970-01-01", "d") == 0
    assert parse_date("2024-02-29", "d") == 19_782
    assert parse_date("9999-12-31", "d") == LAST_DAY == 2_932_896
    assert parse_date("1969-12-31", "d") == -1
    assert [format_date(day) for day in (-1, 0, 19_782, LAST_DAY)] == [
        "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31",
    ]  # fmt: skip
    assert (year_of(0), year_of(364), year_of(365)) == (1970, 1970, 1971)
    assert (month_of(0), month_of(30), month_of(31), month_of(365)) == (0, 0, 1, 12)
    assert (day_of(0), day_of(86_399), day_of(86_400), day_of(-1)) == (0, 0, 1, -1)


@pytest.mark.parametrize("convert", [format_date, year_of, month_of])
def test_day_beyond_the_calendar_is_refused(convert: object) -> None:
    assert callable(convert)
    for day in (LAST_DAY + 1, 2**32 - 1):
        with pytest.raises(Malformed, match="after the year 9999"):
            convert(day)


def test_length_prefix_holds_1_to_255_bytes() -> None:
    assert lp(b"a") == b"\x01a"
    assert lp(b"a" * 255) == b"\xff" + b"a" * 255
    for wrong in (b"", b"a" * 256):
        with pytest.raises(Malformed, match="not 1 to 255"):
            lp(wrong)


def test_reader_takes_fields_and_says_where_they_end() -> None:
    data = b"\x01" + u16(2) + u32(3) + u64(4) + b"rest"
    reader = Reader(data, "entry")
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64()) == (1, 2, 3, 4)
    with pytest.raises(Malformed, match="entry: 4 bytes too many after byte 15"):
        reader.end()
    with pytest.raises(Malformed, match="entry: 5 bytes due at byte 15 of 19"):
        reader.take(5)
    assert reader.rest() == b"rest"
    reader.end()
    assert reader.rest() == b""
    for take in (reader.u8, reader.u16, reader.u32, reader.u64):
        with pytest.raises(Malformed):
            take()
