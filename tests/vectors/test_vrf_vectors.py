"""vrf.json: the examples of RFC 9381 and more; proofs and keys to refuse."""

from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core import vrf
from ledger.core.errors import GlassbookError, Malformed

VECTORS = load("vrf.json")


@pytest.mark.parametrize("case", cases(VECTORS, "valid"))
def test_proof_and_output_are_those_of_the_rfc(case: dict[str, Any]) -> None:
    public, alpha, pi = (bytes.fromhex(case[name]) for name in ("public_key", "alpha", "pi"))
    assert vrf.verify(public, alpha, pi).hex() == case["beta"]
    assert vrf.beta_of(pi).hex() == case["beta"]
    if case.get("seed"):  # a proof under a key that no seed gives has none
        seed = bytes.fromhex(case["seed"])
        assert vrf.public_key(seed) == public
        assert vrf.prove(seed, alpha) == pi
        assert vrf.evaluate(seed, alpha).hex() == case["beta"]


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_proof_is_refused(case: dict[str, Any]) -> None:
    public, alpha, pi = (bytes.fromhex(case[name]) for name in ("public_key", "alpha", "pi"))
    with pytest.raises(GlassbookError):
        vrf.verify(public, alpha, pi)
    if case["name"].startswith("key"):
        with pytest.raises(Malformed):
            vrf.check_key(public)
