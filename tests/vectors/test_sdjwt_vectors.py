"""sdjwt.json: disclosures, records opened in part and in whole, and all that RFC 9901 and formats.md §3 forbid."""

import base64
from hashlib import sha256
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.encoding import b64url_encode
from ledger.core.errors import GlassbookError, RuleBroken
from ledger.core.jose import parse_jwk, thumbprint
from ledger.core.sdjwt import SdJwt, commitment, issuer, parse_sd_jwt, present

VECTORS = load("sdjwt.json")
KEY = parse_jwk(VECTORS["jwk"], "jwk")
ISSUER = issuer(VECTORS["origin"], VECTORS["source"])


def opened(case: dict[str, Any]) -> SdJwt:
    """The record, if it is one of the source that the file is about."""
    sd_jwt = parse_sd_jwt(case["sd_jwt"], KEY)
    if sd_jwt.issuer != ISSUER:
        raise RuleBroken("SD-JWT", "is of another source")
    return sd_jwt


def test_key_is_named_by_its_thumbprint() -> None:
    assert thumbprint(KEY) == VECTORS["kid"]


@pytest.mark.parametrize("case", cases(VECTORS, "disclosures"))
def test_digest_covers_the_disclosure_as_it_stands(case: dict[str, Any]) -> None:
    disclosure = case["disclosure"]
    assert base64.urlsafe_b64decode(disclosure + "=" * (-len(disclosure) % 4)).decode() == case["json"]
    assert b64url_encode(sha256(disclosure.encode()).digest()) == case["digest"]


@pytest.mark.parametrize("case", cases(VECTORS, "valid"))
def test_record_opens_to_exactly_these_claims(case: dict[str, Any]) -> None:
    sd_jwt = opened(case)
    assert sd_jwt.payload == case["payload"]
    assert sd_jwt.claims == case["claims"]
    assert commitment(sd_jwt.jwt).hex() == case["commitment"]
    assert sd_jwt.text == case["sd_jwt"]
    assert present(sd_jwt, sd_jwt.claims) == case["sd_jwt"]
    assert parse_sd_jwt(present(sd_jwt, ()), KEY).claims == {}


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_record_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        opened(case)
