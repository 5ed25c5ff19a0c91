"""envelope.json: sealed and opened at every edge of the padding."""

import base64
import re
from hashlib import sha256
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.errors import GlassbookError
from ledger.core.streams import StreamKey, open_envelope, seal_envelope

VECTORS = load("envelope.json")
STREAM = StreamKey(bytes.fromhex(VECTORS["stream_key"]))


def plaintext_of(case: dict[str, Any]) -> str:
    if "plaintext" in case:
        return str(case["plaintext"])
    # Too long to stand in the file: the letter a 65535 times
    said = re.fullmatch(r"the letter (.) (\d+) times", case["plaintext_is"])
    assert said, f"this test cannot make {case['plaintext_is']}"
    return said[1] * int(said[2])


@pytest.mark.parametrize("case", cases(VECTORS, "valid"))
def test_envelope_is_these_bytes(case: dict[str, Any]) -> None:
    n, plaintext = int(case["n"]), plaintext_of(case)
    envelope = seal_envelope(STREAM, n, plaintext, bytes.fromhex(case["nonce"]))
    assert len(envelope) == case["length"]
    assert base64.b64encode(envelope).decode() == case.get("envelope", base64.b64encode(envelope).decode())
    assert sha256(envelope).hexdigest() == case.get("envelope_sha256", sha256(envelope).hexdigest())
    assert "envelope" in case or "envelope_sha256" in case
    assert open_envelope(STREAM, n, envelope) == plaintext


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_envelope_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        open_envelope(STREAM, int(case["n"]), base64.b64decode(case["envelope"], validate=True))
