"""Texts that a statement may hold: origins, language maps, URLs and IRIs; the form of each, not its truth.

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
# RFC 3986 §3.1 and §2: a scheme, a colon, and characters a URI may have; RFC 3987 adds those beyond ASCII.
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*:(?:[a-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9a-f]{2})+", re.I | re.A)
_IRI: Final = re.compile(
    r"[a-z][a-z0-9+.-]*:(?:[a-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9a-f]{2}|[\u00a0-\U0010ffff])+", re.I | re.A
)


def check_origin(value: Any, where: str) -> str:
    """`value`, if it may name a log: 1 to 255 bytes of UTF-8 without space, plus or control character."""
    if not isinstance(value, str):
        raise Malformed(where, "origin is not a text")
    if not 1 <= len(value.encode("utf-8")) <= 255:
        raise Malformed(where, "origin is not 1 to 255 bytes long")
    if "+" in value or SPACE_OR_CONTROL.search(value):
        raise Malformed(where, "origin has a space, a plus or a control character in it")
    return value


def is_language_tag(tag: str) -> bool:
    """Whether `tag` is well-formed by BCP 47 (RFC 5646 §2.2.9), not whether there is such a language."""
    return _LANGUAGE_TAG.fullmatch(tag) is not None or tag.lower() in _IRREGULAR_TAGS


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
    """`value`, if it is a URL with its scheme (RFC 3986)."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        raise Malformed(where, "not a URL with a scheme, like https://… or mailto:…")
    return value


def check_iris(value: Any, where: str) -> tuple[str, ...]:
    """`value`, if it is a list of IRIs (RFC 3987)."""
    if not isinstance(value, list):
        raise Malformed(where, "not a list of IRIs")
    for item in value:
        if not isinstance(item, str) or not _IRI.fullmatch(item) or SPACE_OR_CONTROL.search(item):
            raise Malformed(where, "an item is not an IRI with a scheme, like https://w3id.org/dpv#…")
    return tuple(value)


def check_names(value: Any, known: Container[str], where: str, kind: str) -> tuple[str, ...]:
    """`value`, if it is a list of names that are all known and each there once."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise Malformed(where, "not a list of names")
    if not all(name in known for name in value):
        raise RuleBroken(where, f"a name is no {kind}", rule="name")
    if len(set(value)) != len(value):
        raise Malformed(where, "a name stands twice")
    return tuple(value)
