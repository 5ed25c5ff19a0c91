"""Whose keys a token asks for, and who asks: the person herself, or somebody acting for her (RFC 8693 §4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.core.errors import GlassbookError
from ledger.core.notices import LONGEST_NAME, MOST_DELEGATES
from ledger.department.identifiers import canonical_subject
from ledger.department.keyservice.problems import Refused
from ledger.department.keyservice.settings import KeyServiceSettings


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """`subjects` are her `scheme:value`, each once; `delegates` those who act for her, the one who asks first."""

    subjects: tuple[str, ...]
    delegates: tuple[str, ...]


def person_of(claims: Mapping[str, Any], settings: KeyServiceSettings, forms: Mapping[str, str]) -> Person:
    """The person in the claims of a checked token.  Raises Refused, without anything that the claims say."""
    delegates = _delegates(claims.get("act")) if "act" in claims else ()
    if delegates and not settings.delegates:
        raise Refused(
            "delegate-refused", "this service gives keys to the person herself alone; she has to ask"
        )
    subjects = []
    for claim, scheme in settings.claims.items():
        value = claims.get(claim)
        if value is None:
            continue
        if not isinstance(value, str):
            raise _malformed(scheme)
        try:
            subjects.append(canonical_subject(f"{scheme}:{value}", forms))
        except GlassbookError:
            raise _malformed(scheme) from None
    if not subjects:
        raise Refused(
            "identifier-missing",
            "the token has none of the identifiers by which this department knows people; "
            "ask the provider for them, or ask the department",
        )
    return Person(tuple(dict.fromkeys(subjects)), delegates)


def _malformed(scheme: str) -> Refused:
    return Refused(
        "identifier-malformed",
        f"what the token has as an identifier of kind {scheme} is none; tell the identity provider",
    )


def _delegates(act: Any) -> tuple[str, ...]:
    found: list[str] = []
    while act is not None:
        sub = act.get("sub") if isinstance(act, dict) else None
        named = isinstance(sub, str) and 1 <= len(sub) <= LONGEST_NAME and sub.isprintable()
        if not named or len(found) == MOST_DELEGATES:
            raise Refused(
                "delegate-refused", "the token's act does not say who acts for the person, in plain text"
            )
        found.append(str(sub))
        act = act.get("act")
    if not found:
        raise Refused(
            "delegate-refused", "the token's act does not say who acts for the person, in plain text"
        )
    return tuple(found)
