"""Ed25519 in its strictest reading, through both libraries; ML-DSA-44; private keys as files."""

import hashlib
from collections.abc import Callable

import pytest
from nacl import bindings

from ledger.core import keys
from ledger.core.errors import Malformed
from ledger.core.keys import (
    Ed25519PrivateKey,
    MLDSA44PrivateKey,
    PrivateKey,
    check_ed25519_key,
    format_private_key,
    parse_private_key,
    verify_ed25519,
    verify_mldsa44,
)

L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
IDENTITY = (1).to_bytes(32, "little")
SCALAR = 0x1234567890ABCDEF1234567890ABCDEF1234567890ABCDEF


def encode(value: int) -> bytes:
    return value.to_bytes(32, "little")


def times_base(scalar: int) -> bytes:
    return bindings.crypto_scalarmult_ed25519_base_noclamp(encode(scalar % L))


def add(one: bytes, other: bytes) -> bytes:
    return bindings.crypto_core_ed25519_add(one, other)


def challenge(r: bytes, a: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + a + message).digest(), "little") % L


def multiples_of_order_8() -> list[bytes]:
    points = [IDENTITY]
    for _ in range(7):
        points.append(add(points[-1], ORDER_8))
    return points


def signed(torsion_a: int, torsion_r: int, message: bytes, nonce: int = 77) -> tuple[bytes, bytes]:
    """Key and signature made with known scalars, with points of small order added to A and R."""
    points = multiples_of_order_8()
    a, r = times_base(SCALAR), times_base(nonce)
    a = add(a, points[torsion_a]) if torsion_a else a
    r = add(r, points[torsion_r]) if torsion_r else r
    return a, r + encode((nonce + challenge(r, a, message) * SCALAR) % L)


Verify = Callable[[bytes, bytes, bytes], bool]
both = pytest.mark.parametrize("verify", [keys._verify_libsodium, keys._verify_openssl])


@both
def test_honest_signature_holds_and_each_flipped_bit_breaks_it(verify: Verify) -> None:
    key, signature = signed(0, 0, b"message")
    assert verify(key, signature, b"message")
    assert not verify(key, signature, b"message.")
    for bit in range(512):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not verify(key, bytes(flipped), b"message"), f"bit {bit}"


@both
def test_s_at_or_above_the_group_order_is_refused(verify: Verify) -> None:
    key, signature = signed(0, 0, b"message")
    s = int.from_bytes(signature[32:], "little")
    for other in range(s + L, 2**256, L):
        assert not verify(key, signature[:32] + encode(other), b"message")


@both
def test_equation_that_holds_only_with_the_cofactor_is_refused(verify: Verify) -> None:
    for torsion in range(1, 8):
        key, signature = signed(0, torsion, b"message")
        assert not verify(key, signature, b"message")
    assert not verify(keys._COFACTOR_KEY, keys._COFACTOR_SIGNATURE, keys._COFACTOR_MESSAGE)


@both
def test_key_of_mixed_order_counts_when_the_equation_holds_without_the_cofactor(verify: Verify) -> None:
    answers = set()
    for number in range(64):
        message = b"message %d" % number
        key, signature = signed(1, 0, message)
        holds = challenge(signature[:32], key, message) % 8 == 0
        assert verify(key, signature, message) is holds
        answers.add(holds)
    assert answers == {True, False}


@both
def test_r_of_small_order_is_refused_in_either_encoding(verify: Verify) -> None:
    key = times_base(SCALAR)
    for r in multiples_of_order_8():
        for nonce in (r, encode((int.from_bytes(r, "little") + P) % 2**256)):
            s = challenge(nonce, key, b"message") * SCALAR % L
            assert not verify(key, nonce + encode(s), b"message")


@both
def test_under_a_key_of_small_order_nothing_holds(verify: Verify) -> None:
    for key in multiples_of_order_8():
        for number in range(16):
            message = b"message %d" % number
            assert not verify(key, times_base(5) + encode(5), message)


def test_signatures_and_keys_of_wrong_length_are_false_not_a_crash() -> None:
    key, signature = signed(0, 0, b"message")
    for wrong in (b"", signature[:63], signature + b"\0"):
        assert not verify_ed25519(key, wrong, b"message")
    for wrong in (b"", key[:31], key + b"\0"):
        assert not verify_ed25519(wrong, signature, b"message")
    assert verify_ed25519(key, signature, b"message")


def test_a_library_that_multiplies_by_the_cofactor_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert keys._libsodium_is_strict()
    monkeypatch.setattr(keys, "_verify_libsodium", lambda key, signature, message: True)
    assert not keys._libsodium_is_strict()


NOT_KEYS = {
    "empty": b"",
    "31 bytes": times_base(5)[:31],
    "33 bytes": times_base(5) + b"\0",
    "y is p": encode(P),
    "y is p + 3": encode(P + 3),
    "y is 2^255 - 1": encode(2**255 - 1),
    "identity with a sign": encode(1 + 2**255),
    "minus one with a sign": encode(P - 1 + 2**255),
    "no point": encode(2),
    "zeros": bytes(32),
} | {f"small order {i}": point for i, point in enumerate(multiples_of_order_8())}


@pytest.mark.parametrize("name", NOT_KEYS)
def test_unsound_public_key_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="^source key: Ed25519 key"):
        check_ed25519_key(NOT_KEYS[name], "source key")


def test_check_of_keys_agrees_with_libsodium_on_random_encodings() -> None:
    accepted = 0
    for number in range(400):
        encoded = hashlib.sha256(b"%d" % number).digest()
        try:
            check_ed25519_key(encoded, "key")
            sound = True
        except Malformed:
            sound = False
        # Adding the identity fails exactly when libsodium cannot decode the point.
        try:
            add(encoded, IDENTITY)
            decodes = True
        except Exception:
            decodes = False
        assert sound is decodes
        accepted += sound
    assert 150 < accepted < 250, "about half of all encodings are points"


def test_ml_dsa_signature_holds_and_flipped_bits_break_it() -> None:
    key = MLDSA44PrivateKey(bytes(32))
    signature = key.sign(b"message")
    assert (len(key.public), len(signature)) == (1312, 2420)
    assert verify_mldsa44(key.public, signature, b"message")
    assert not verify_mldsa44(key.public, signature, b"message.")
    for bit in range(0, 8 * 2420, 977):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not verify_mldsa44(key.public, bytes(flipped), b"message")
    for wrong in (b"", signature[:-1], signature + b"\0"):
        assert not verify_mldsa44(key.public, wrong, b"message")
    assert not verify_mldsa44(key.public[:-1], signature, b"message")


PRIVATE: list[PrivateKey] = [Ed25519PrivateKey(b"\x01" * 32), MLDSA44PrivateKey(b"\x02" * 32)]


@pytest.mark.parametrize("key", PRIVATE, ids=lambda key: type(key).__name__)
@pytest.mark.parametrize("passphrase", [None, b"correct horse"], ids=["plain", "encrypted"])
def test_private_key_file_gives_the_key_back(key: PrivateKey, passphrase: bytes | None) -> None:
    pem = format_private_key(key, passphrase)
    read = parse_private_key(pem, passphrase, "log.key")
    assert type(read) is type(key)
    assert (read.seed, read.public) == (key.seed, key.public)
    assert key.seed not in pem


@pytest.mark.parametrize("key", PRIVATE, ids=lambda key: type(key).__name__)
def test_wrong_passphrase_is_named_as_the_cause_and_never_shown(key: PrivateKey) -> None:
    plain, encrypted = format_private_key(key, None), format_private_key(key, b"secret")
    for pem, passphrase, what in [
        (plain, b"hush", "not encrypted"),
        (encrypted, None, "needs its passphrase"),
        (encrypted, b"hush", "the passphrase is wrong"),
    ]:
        with pytest.raises(Malformed, match=f"^log.key: .*{what}") as caught:
            parse_private_key(pem, passphrase, "log.key")
        assert "hush" not in str(caught.value) and not caught.value.evidence


def test_other_private_key_files_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    p256 = ec.generate_private_key(ec.SECP256R1())
    pem = p256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(Malformed, match="neither Ed25519 nor ML-DSA-44"):
        parse_private_key(pem, None, "log.key")
    for junk in (b"", bytes(100), b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(Malformed, match="not a PKCS#8 private key"):
            parse_private_key(junk, None, "log.key")
    with pytest.raises(Malformed, match="passphrase: is empty"):
        format_private_key(PRIVATE[0], b"")
    for make in (Ed25519PrivateKey, MLDSA44PrivateKey):
        with pytest.raises(Malformed, match="seed of 31 bytes"):
            make(bytes(31))


def test_generated_keys_differ() -> None:
    assert Ed25519PrivateKey.generate().seed != Ed25519PrivateKey.generate().seed
    assert MLDSA44PrivateKey.generate().seed != MLDSA44PrivateKey.generate().seed
