"""Texts of statements and files: origins, language maps, URLs and IRIs; the form of each, not its truth.

    {"en": "Driving licences", "cy": "Trwyddedau gyrru"}     a language map: BCP 47 tag → text
    https://keys.example.gov/   mailto:dpo@example.gov         URLs, with their scheme

Whoever shows them has to escape them; here nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any, Final

from ledger.core.errors import Malformed, RuleBroken

SPACE_OR_CONTROL: Final = re.compile(
    "[\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
)
"""Unicode's White_Space property and general category Cc, written out: isspace() differs from both."""

SCHEME_NAME: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
"""The name of a kind of identifier, the part of a subject before its first colon."""

# RFC 5646 §2.1, "langtag" and "privateuse"; the regular grandfathered tags are of the same form.
_LANGUAGE_TAG: Final = re.compile(
    r"""
      (?: [a-z]{2,3} (?:-[a-z]{3}){0,3} | [a-z]{4} | [a-z]{5,8} )   # language, extlang
      (?: -[a-z]{4} )?                                            # script
      (?: -(?:[a-z]{2}|[0-9]{3}) )?                               # region
      (?: -(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}) )*                  # variants
      (?: -[0-9a-wy-z] (?:-[a-z0-9]{2,8})+ )*                     # extensions
      (?: -x (?:-[a-z0-9]{1,8})+ )?                               # private use
    | x (?:-[a-z0-9]{1,8})+
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_IRREGULAR_TAGS: Final = frozenset(
    (
        "en-gb-oed", "i-ami", "i-bnn", "i-default", "i-enochian", "i-hak", "i-klingon", "i-lux", "i-mingo",
        "i-navajo", "i-pwn", "i-tao", "i-tay", "i-tsu", "sgn-be-fr", "sgn-be-nl", "sgn-ch-de",
    )
)  # fmt: skip
# RFC 3986 §3.1: a scheme and a colon; formats §1 asks for no more. What follows is left to who opens it, as long as
# it cannot be taken for two words.
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:.+", re.IGNORECASE | re.ASCII | re.DOTALL)


def check_origin(value: Any, where: str) -> str:
    """`value`, if it may name a log: a URL without scheme, 1 to 255 bytes without space, plus or control character."""
    if not isinstance(value, str):
        raise Malformed(where, "origin is not a text")
    try:
        length = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise Malformed(where, "origin is not UTF-8") from None
    if not 1 <= length <= 255:
        raise Malformed(where, "origin is not 1 to 255 bytes long")
    if "+" in value or SPACE_OR_CONTROL.search(value):
        raise Malformed(where, "origin has a space, a plus or a control character in it")
    if "://" in value:
        raise Malformed(where, "origin has a scheme in it")
    return value


def is_language_tag(tag: str) -> bool:
    """Whether `tag` is well-formed by BCP 47 (RFC 5646 §2.2.9), not whether there is such a language."""
    lower = tag.lower()
    if lower in _IRREGULAR_TAGS:
        return True
    return _LANGUAGE_TAG.fullmatch(tag) is not None and not _repeats_singleton(lower)


def _repeats_singleton(tag: str) -> bool:
    """Whether two extensions have the same letter, which RFC 5646 §2.2.9 forbids; private use is no extension."""
    subtags = f"-{tag}".partition("-x-")[0].split("-")
    singletons = [subtag for subtag in subtags if len(subtag) == 1]
    return len(set(singletons)) < len(singletons)


def check_language_map(value: Any, where: str) -> dict[str, str]:
    """`value`, if it is an object of at least one language tag, each with a text that is not empty."""
    if not isinstance(value, dict) or not value:
        raise Malformed(where, 'not an object of language and text, like {"en": "Licences"}')
    for tag, text in value.items():
        if not is_language_tag(tag):
            raise Malformed(where, "a member's name is not a language tag of BCP 47")
        if not isinstance(text, str) or not text:
            raise Malformed(where, f"{tag} has no text")
    return value


def check_url(value: Any, where: str) -> str:
    """`value`, if it is a URL with its scheme."""
    if not _has_scheme(value):
        raise Malformed(where, "not a URL with a scheme, like https://… or mailto:…")
    return str(value)


def check_iris(value: Any, where: str) -> tuple[str, ...]:
    """`value`, if it is a list of IRIs, each with its scheme; the list may be empty."""
    if not isinstance(value, list):
        raise Malformed(where, "not a list of IRIs")
    if not all(_has_scheme(item) for item in value):
        raise Malformed(where, "an item is not an IRI with a scheme, like https://w3id.org/dpv#…")
    return tuple(value)


def _has_scheme(value: Any) -> bool:
    return isinstance(value, str) and bool(_URL.fullmatch(value)) and not SPACE_OR_CONTROL.search(value)


def check_names(value: Any, known: Container[str], where: str, kind: str) -> tuple[str, ...]:
    """`value`, if it is a list of names that are all known and each there once."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Malformed(where, "not a list of names")
    if not all(name in known for name in value):
        raise RuleBroken(where, f"a name is no {kind}", rule="name")
    if len(set(value)) != len(value):
        raise Malformed(where, "a name stands twice")
    return tuple(value)
