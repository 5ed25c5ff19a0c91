"""The VRF beyond its vectors: keys with a small-order part, wrong lengths, outputs that are not for these inputs."""

import pytest
from nacl.bindings import crypto_core_ed25519_add

from ledger.core import vrf
from ledger.core.errors import Malformed, ProofRefuted

SEED = bytes(range(32))
OF_ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


def mixed_proof(alpha: bytes) -> tuple[bytes, bytes, bytes]:
    """A key Y + T, T of order 8, and a proof under it: the prover only has to try nonces until 8 divides c."""
    public = crypto_core_ed25519_add(vrf.public_key(SEED), OF_ORDER_8)
    x, _ = vrf._expand(SEED)
    h = vrf._encode_to_curve(public, alpha)
    gamma = vrf._multiply(x, h)
    for k in range(1, 1000):
        c = vrf._challenge(public, h, gamma, vrf._base(k), vrf._multiply(k, h))
        number = int.from_bytes(c, "little")
        if number % 8 == 0:
            s = (k + number * x) % vrf._ORDER
            return public, gamma + c + s.to_bytes(32, "little"), vrf._beta(vrf._multiply(8 * x, h))
    raise AssertionError("no challenge was divisible by 8")


def test_key_with_a_small_order_part_is_valid_as_the_rfc_has_it() -> None:
    public, pi, beta = mixed_proof(b"alpha")
    vrf.check_key(public)
    assert vrf.verify(public, b"alpha", pi) == beta


def test_challenge_is_multiplied_with_the_small_order_part_too() -> None:
    public, pi, _ = mixed_proof(b"alpha")
    prime = vrf.public_key(SEED)
    for c in range(9):
        expected = vrf._IDENTITY
        for _ in range(c):
            expected = crypto_core_ed25519_add(expected, public)
        assert vrf._multiply_key(c, public) == expected
    # The same proof says nothing under the key without that part.
    with pytest.raises(ProofRefuted):
        vrf.verify(prime, b"alpha", pi)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_private_key_of_another_length_is_refused(length: int) -> None:
    for call in (vrf.prove, vrf.evaluate):
        with pytest.raises(Malformed, match=f"{length} bytes instead of 32"):
            call(bytes(length), b"")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(Malformed, match="key"):
        vrf.check_key(bytes(length))


@pytest.mark.parametrize("length", [0, 64, 79, 81])
def test_proof_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(Malformed, match=f"{length} bytes instead of 80"):
        vrf.verify(vrf.public_key(SEED), b"", bytes(length))


def test_edge_scalars_are_no_crash() -> None:
    public = vrf.public_key(SEED)
    gamma = vrf.prove(SEED, b"")[:32]
    for c, s in ((0, 0), (0, 1), (1, 0), (2**128 - 1, vrf._ORDER - 1)):
        with pytest.raises(ProofRefuted):
            vrf.verify(public, b"", gamma + c.to_bytes(16, "little") + s.to_bytes(32, "little"))


def test_sign_bit_on_a_point_without_x_is_refused() -> None:
    # y = 1 and y = -1 have x = 0, which has no sign (RFC 8032 §5.1.3); they are of small order besides.
    for y in (1, 2**255 - 20):
        with pytest.raises(Malformed):
            vrf.check_key((y | 1 << 255).to_bytes(32, "little"))
