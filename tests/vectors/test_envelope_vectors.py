"""envelope.json: sealed and opened at every edge of the padding."""

import base64
from hashlib import sha256
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.streams import StreamKey, open_envelope, seal_envelope

VECTORS = load("envelope.json")
STREAM = StreamKey(bytes.fromhex(VECTORS["stream_key"]))


@pytest.mark.parametrize("case", cases(VECTORS["valid"]))
def test_envelope_is_these_bytes(case: dict[str, Any]) -> None:
    plaintext = case.get("plaintext", "a" * 65_535)
    envelope = seal_envelope(STREAM, case["n"], plaintext, bytes.fromhex(case["nonce"]))
    assert len(envelope) == case["length"]
    if "envelope" in case:
        assert base64.b64encode(envelope).decode() == case["envelope"]
    else:
        assert sha256(envelope).hexdigest() == case["envelope_sha256"]
    assert open_envelope(STREAM, case["n"], envelope) == plaintext


@pytest.mark.parametrize("case", cases(VECTORS["refused"]))
def test_envelope_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises((Malformed, ProofRefuted)):
        open_envelope(STREAM, case["n"], base64.b64decode(case["envelope"]))
