"""Integers, length prefixes, decimals, base64, dates: what parses is written back byte for byte the same.

Python's own int(), b64decode() and fromisoformat() accept far more than one spelling of a value
(" +1_0", "QR==", "20260102"). What has two spellings can be altered without its meaning changing,
so here everything but the one canonical spelling is `Malformed`.
"""

import binascii
import hashlib
from datetime import date

from ledger.core.errors import Malformed

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
SECONDS_PER_DAY = 86_400
LAST_DAY = date(9999, 12, 31).toordinal() - EPOCH_ORDINAL
"""Days since 1970-01-01 of 9999-12-31, the last day of docs/formats.md §1: 2,932,896."""

_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")


def sha256(data: bytes) -> bytes:
    """SHA-256 of data: 32 bytes (FIPS 180-4)."""
    return hashlib.sha256(data).digest()


def u16(value: int) -> bytes:
    """2 bytes, big-endian; OverflowError outside 0 … 2^16 − 1."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """4 bytes, big-endian; OverflowError outside 0 … 2^32 − 1."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """8 bytes, big-endian; OverflowError outside 0 … 2^64 − 1."""
    return value.to_bytes(8, "big")


def lp(data: bytes) -> bytes:
    """One length byte, then data of 1 to 255 bytes (docs/formats.md, first paragraph)."""
    if not 1 <= len(data) <= 255:
        raise Malformed("length prefix", f"{len(data)} bytes, not 1 to 255")
    return bytes((len(data),)) + data


class Reader:
    """Takes big-endian fields off the front of data; Malformed when data ends early or late."""

    __slots__ = ("data", "offset", "where")

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.where = where
        self.offset = 0

    def take(self, n: int) -> bytes:
        """The next n bytes."""
        end = self.offset + n
        if end > len(self.data):
            raise Malformed(self.where, f"{n} bytes due at byte {self.offset} of {len(self.data)}")
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def rest(self) -> bytes:
        """Everything that is left, possibly nothing."""
        return self.take(len(self.data) - self.offset)

    def end(self) -> None:
        """Malformed unless everything was taken."""
        if self.offset != len(self.data):
            over = len(self.data) - self.offset
            raise Malformed(self.where, f"{over} bytes too many after byte {self.offset}")


def parse_decimal(text: str, where: str, limit: int = 2**63) -> int:
    """ASCII decimal without sign or leading zero, below limit."""
    # isdecimal() alone would let Arabic-Indic and fullwidth digits through.
    if not (text.isascii() and text.isdecimal()) or (text[0] == "0" and text != "0"):
        raise Malformed(where, "not a decimal number without sign and leading zeros")
    # The length first: int() of a million digits takes seconds.
    if len(text) > len(str(limit)) or int(text) >= limit:
        raise Malformed(where, f"number is not below {limit}")
    return int(text)


def b64encode(data: bytes) -> str:
    """RFC 4648 §4, with padding."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def b64decode(text: str, where: str) -> bytes:
    """The bytes of canonical RFC 4648 §4 base64 with padding; the empty text is the empty string of bytes."""
    raw = _ascii(text, where)
    try:
        data = binascii.a2b_base64(raw)
    except binascii.Error:
        raise Malformed(where, "not base64 with padding") from None
    # Each character is six bits of data only if none was skipped: the lengths say so. Then only bits that the last
    # block of four has to spare can differ.
    whole, spare = divmod(len(data), 3)
    if len(raw) != 4 * (whole + (spare > 0)) or (
        spare and binascii.b2a_base64(data[-spare:], newline=False) != raw[-4:]
    ):
        raise Malformed(where, "base64 is not canonical")
    return data


def b64url_encode(data: bytes) -> str:
    """RFC 4648 §5, without padding, as JOSE uses it (RFC 7515 §2)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def b64url_blocks(data: bytes) -> bytes:
    """The same of whole blocks of three bytes, in ASCII: four characters each, and no padding comes into it."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL)


def b64url_decode(text: str, where: str) -> bytes:
    """The bytes of canonical RFC 4648 §5 base64url without padding."""
    raw = _ascii(text, where)
    try:
        data = binascii.a2b_base64(raw.translate(_TO_STANDARD) + b"=" * (-len(raw) % 4))
    except binascii.Error:
        raise Malformed(where, "not base64url without padding") from None
    if binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=") != raw:
        raise Malformed(where, "base64url is not canonical, or padded")
    return data


def _ascii(text: str, where: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise Malformed(where, "a character that base64 does not have") from None


def parse_date(text: str, where: str) -> int:
    """Days since 1970-01-01 of a date written YYYY-MM-DD; negative before 1970."""
    # The length keeps out the other spellings that fromisoformat takes (20260102, 2026-W01-5).
    if len(text) == 10 and text.isascii() and text[4] == text[7] == "-":
        try:
            day = date.fromisoformat(text).toordinal() - EPOCH_ORDINAL
        except ValueError:
            pass
        else:
            if format_date(day) == text:
                return day
    raise Malformed(where, "not a date, YYYY-MM-DD")


def format_date(day: int) -> str:
    """YYYY-MM-DD of a day since 1970-01-01, at most LAST_DAY."""
    return _date(day).isoformat()


def year_of(day: int) -> int:
    """The UTC year of a day since 1970-01-01."""
    return _date(day).year


def month_of(day: int) -> int:
    """Months since 1970-01 of the month that holds a day since 1970-01-01."""
    found = _date(day)
    return (found.year - 1970) * 12 + found.month - 1


def day_of(unix_seconds: int) -> int:
    """The UTC day, since 1970-01-01, of a time in Unix seconds (no leap seconds)."""
    return unix_seconds // SECONDS_PER_DAY


def _date(day: int) -> date:
    if day > LAST_DAY:
        raise Malformed("day", f"{day} is after the year 9999")
    return date.fromordinal(day + EPOCH_ORDINAL)
