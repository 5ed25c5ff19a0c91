"""Schemes: the kinds of identifier that a log knows a person by, each with its canonical form (formats.md §1, §2).

    {"nhs": {"pattern": "[0-9]{10}", "text": {"en": "NHS number, ten digits without spaces"}}}

A person must be found under one spelling of her identifier and no other, so a subject's value has to match the
I-Regexp of its scheme as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.core.errors import Malformed, RuleBroken
from ledger.core.iregexp import IRegexp
from ledger.core.jose import members
from ledger.core.texts import SCHEME_NAME, check_language_map


@dataclass(frozen=True, slots=True)
class Scheme:
    """A kind of identifier: the pattern its canonical form matches, and a sentence about it per language."""

    pattern: IRegexp
    text: dict[str, str]


def check_canonical(schemes: Mapping[str, Scheme], scheme: str, value: str) -> None:
    """RuleBroken unless `scheme` is one of `schemes` and `value` is in its canonical form."""
    known = schemes.get(scheme)
    if known is None:
        raise RuleBroken("subject", "its scheme is not in the charter", rule="scheme")
    if not known.pattern.matches(value):
        raise RuleBroken("subject", f"not in the canonical form of {scheme}", rule="canonical-subject")


def parse_schemes(value: Any) -> dict[str, Scheme]:
    """`schemes` of a charter: each with its compiled pattern."""
    if not isinstance(value, dict):
        raise Malformed("charter schemes", "not an object of scheme names")
    schemes = {}
    for name, content in value.items():
        if not SCHEME_NAME.fullmatch(name):
            raise Malformed("charter schemes", "a name is not 1 to 32 characters of a-z, 0-9 and -")
        where = f"charter scheme {name}"
        found = members(content, where, ("pattern", "text"))
        pattern = _pattern(found["pattern"], f"{where} pattern")
        schemes[name] = Scheme(pattern, check_language_map(found["text"], f"{where} text"))
    return schemes


def _pattern(value: Any, where: str) -> IRegexp:
    if not isinstance(value, str):
        raise Malformed(where, "not a text")
    try:
        return IRegexp(value)
    except Malformed as error:
        raise Malformed(where, f"not an I-Regexp: {error.what}") from None
