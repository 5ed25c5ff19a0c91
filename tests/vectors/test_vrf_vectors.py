"""vrf.json: the examples of RFC 9381 and more; proofs and keys to refuse."""

from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core import vrf
from ledger.core.errors import Malformed, ProofRefuted

VECTORS = load("vrf.json")


@pytest.mark.parametrize("case", cases(VECTORS["valid"]))
def test_proof_and_output_are_those_of_the_rfc(case: dict[str, Any]) -> None:
    seed, alpha, pi = (bytes.fromhex(case[name]) for name in ("seed", "alpha", "pi"))
    public = vrf.public_key(seed)
    assert public.hex() == case["public_key"]
    assert vrf.prove(seed, alpha) == pi
    assert vrf.evaluate(seed, alpha).hex() == case["beta"]
    assert vrf.beta_of(pi).hex() == case["beta"]
    assert vrf.verify(public, alpha, pi).hex() == case["beta"]


@pytest.mark.parametrize("case", cases(VECTORS["refused"]))
def test_proof_is_refused(case: dict[str, Any]) -> None:
    public, alpha, pi = (bytes.fromhex(case[name]) for name in ("public_key", "alpha", "pi"))
    with pytest.raises((Malformed, ProofRefuted)):
        vrf.verify(public, alpha, pi)


@pytest.mark.parametrize("case", cases([c for c in VECTORS["refused"] if c["name"].startswith("key")]))
def test_key_that_validates_nothing_is_refused_by_itself(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        vrf.check_key(bytes.fromhex(case["public_key"]))
