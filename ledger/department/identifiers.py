"""Canonical forms and check digits of identifiers: one person, one spelling (docs/formats.md §1).

    nhs    NHS number, England and Wales    10 digits, the last by modulus 11        9434765919
    nino   National Insurance number, GB    two letters, 6 digits, a letter A to D   QQ123456C is no real one
    bsn    Burgerservicenummer, NL          9 digits that pass the 11-test           111222333
    ee     isikukood, Estonia               11 digits, a date, modulus 11 in two     37605030299
    crn    Customer Reference Number,       9 digits and a letter by modulus 11      000000000X
           Services Australia (Centrelink)
    id     a department's own identifier    as it is, in Unicode's normal form C

Forms are named as the schemes that use them; a scheme of another name is an `id`, unless `[identifiers]` in
department.toml says which form it has.  A canonical form is its own canonical form.  Whether the charter's pattern
takes it is for the charter (`Charter.check_subject`).  Nothing here ever puts an identifier in an error.

What check digits promise: in nhs, bsn and crn the weights differ modulo 11, a prime, so every wrong digit and every two
digits that changed places are found.  In ee a few of either pass, where one number is decided by the first row of
weights and the other by the second.  nino has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Final
from unicodedata import normalize

from ledger.core.errors import GlassbookError
from ledger.core.streams import parse_subject

ID: Final = "id"

_SEPARATORS: Final = str.maketrans("", "", " -")
# HMRC's National Insurance Manual, NIM39110: letters not used, prefixes not used, and the suffixes.
_NINO: Final = re.compile(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z][0-9]{6}[A-D]")
_CRN: Final = re.compile(r"[0-9]{9}[XVTSLKJHCBA]")
_CRN_LETTERS: Final = "XVTSLKJHCBA"


class NotCanonical(GlassbookError):
    """A value that is no identifier of the form it should have; the message says what is wrong, never the value."""


def canonical(form: str, value: str) -> str:
    """The canonical spelling of an identifier; spaces and hyphens between its parts and small letters are mended.

    `form` is one of `FORMS`.  Raises NotCanonical when the value is none of the form.
    """
    return FORMS[form](value)


def form_of(scheme: str, forms: Mapping[str, str]) -> str:
    """The form of a scheme: what `forms` ([identifiers]) says, else the one of its name, else `id`."""
    return forms.get(scheme) or (scheme if scheme in FORMS else ID)


def canonical_subject(subject: str, forms: Mapping[str, str]) -> str:
    """`scheme:value` with the value as its scheme's form has it.  Raises NotCanonical or Malformed."""
    scheme, _, value = subject.partition(":")
    written = f"{scheme}:{canonical(form_of(scheme, forms), value)}"
    parse_subject(written)
    return written


def check_form(subject: str, forms: Mapping[str, str]) -> None:
    """NotCanonical or Malformed unless `scheme:value` is as its scheme's form has it, check digit included."""
    if canonical_subject(subject, forms) != subject:
        form = form_of(subject.partition(":")[0], forms)
        raise NotCanonical(
            "identifier", f"is not written as the form {form} has it, without spaces and hyphens"
        )


def _nhs(value: str) -> str:
    digits = _digits(value, 10, "an NHS number")
    # NHS Data Dictionary, "NHS Number": weights 10 to 2, and 11 minus the remainder, of which 10 is never used.
    if sum(weight * int(digit) for weight, digit in zip(range(10, 0, -1), digits, strict=True)) % 11:
        raise _check_digit("an NHS number")
    return digits


def _bsn(value: str) -> str:
    digits = _digits(value, 9, "a BSN")
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    if digits == "000000000" or sum(w * int(d) for w, d in zip(weights, digits, strict=True)) % 11:
        raise _check_digit("a BSN")
    return digits


def _ee(value: str) -> str:
    digits = _digits(value, 11, "an isikukood")
    numbers = [int(digit) for digit in digits]
    # The first digit is sex and century: 1 and 2 the 19th, 3 and 4 the 20th, 5 and 6 the 21st, 7 and 8 the 22nd.
    century = 1800 + (numbers[0] - 1) // 2 * 100
    try:
        date(century + int(digits[1:3]), int(digits[3:5]), int(digits[5:7]))
    except ValueError:
        raise NotCanonical("identifier", "an isikukood with a date of birth that does not exist") from None
    if not 1 <= numbers[0] <= 8:
        raise NotCanonical("identifier", "an isikukood begins with a digit from 1 to 8")
    for weights in ((1, 2, 3, 4, 5, 6, 7, 8, 9, 1), (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)):
        check = sum(w * n for w, n in zip(weights, numbers, strict=False)) % 11
        if check < 10:
            break
    if check % 10 != numbers[10]:
        raise _check_digit("an isikukood")
    return digits


def _nino(value: str) -> str:
    written = _capitals(value)
    if not _NINO.fullmatch(written):
        raise NotCanonical(
            "identifier",
            "not a National Insurance number: two letters of those in use, six digits, a letter A to D",
        )
    return written


def _crn(value: str) -> str:
    written = _capitals(value)
    if not _CRN.fullmatch(written):
        raise NotCanonical("identifier", "not a Customer Reference Number: nine digits and a letter")
    total = sum((1 << (9 - place)) * int(digit) for place, digit in enumerate(written[:9]))
    if _CRN_LETTERS[total % 11] != written[9]:
        raise _check_digit("a Customer Reference Number")
    return written


def _id(value: str) -> str:
    written = normalize("NFC", value)
    parse_subject(f"{ID}:{written}")
    return written


def _digits(value: str, count: int, what: str) -> str:
    digits = value.translate(_SEPARATORS)
    if not re.fullmatch(f"[0-9]{{{count}}}", digits):
        raise NotCanonical("identifier", f"not {what}, which has {count} digits")
    return digits


def _capitals(value: str) -> str:
    # Only what is ASCII: the capital of the long s is an S.
    written = value.translate(_SEPARATORS)
    return written.upper() if written.isascii() else written


def _check_digit(what: str) -> NotCanonical:
    return NotCanonical("identifier", f"{what} whose check digit is wrong; look for a slip of the pen")


FORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "nhs": _nhs,
    "nino": _nino,
    "bsn": _bsn,
    "ee": _ee,
    "crn": _crn,
    ID: _id,
}
"""Every form by its name."""
