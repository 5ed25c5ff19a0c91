"""Signatures judged and made many at once are what each is by itself, whichever implementation there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_add

from ledger.core.keys import Ed25519PrivateKey, verify_ed25519
from ledger.edgesignatures import ORDER, edge_cases, small_points
from ledger.vectors import Bulk, EightAtATime, Job, OneByOne, choose

AVAILABLE: list[Bulk] = list({bulk.name: bulk for bulk in (OneByOne(), choose("auto").bulk)}.values())
"""Everything this machine can do: without the library or its processor, one at a time."""

KEYS = [Ed25519PrivateKey.from_seed(bytes([number]) * 32) for number in range(3)]
every = pytest.mark.parametrize("bulk", AVAILABLE, ids=lambda bulk: bulk.name)

# RFC 8032 §7.1: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


def signed(count: int, bad: set[int]) -> list[Job]:
    """By several keys, over messages of several lengths; those numbered in `bad` are over another message."""
    made = []
    for number in range(count):
        key, message = KEYS[number % len(KEYS)], bytes([number]) * (number * 37 % 300)
        made.append((key.public, key.sign(message + b"!" if number in bad else message), message))
    return made


@every
@pytest.mark.parametrize("seed, public, message, signature", RFC_8032)
def test_the_vectors_of_rfc_8032_come_out_otherwise(
    bulk: Bulk, seed: str, public: str, message: str, signature: str
) -> None:
    key = Ed25519PrivateKey.from_seed(bytes.fromhex(seed))
    text, made = bytes.fromhex(message), bytes.fromhex(signature)
    assert key.public.hex() == public
    assert list(bulk.verify([(key.public, made, text)])) == [1]
    assert list(bulk.verify_rows(key.public, text + made, len(text) + 64)) == [1]
    if text:
        assert bulk.sign_rows(key, text, len(text)) == [made]


@every
def test_an_edge_case_is_judged_otherwise_than_by_one_verification(bulk: Bulk) -> None:
    cases = edge_cases()
    expected = [good for *_, good in cases]
    assert expected == [verify_ed25519(*case[:3]) for case in cases]
    assert [bool(good) for good in bulk.verify([case[:3] for case in cases])] == expected
    for key, signature, message, good in cases:
        assert list(bulk.verify_rows(key, (message + signature) * 9, len(message) + 64)) == [good] * 9


def test_the_edge_cases_have_lost_what_they_are_there_for() -> None:
    cases = edge_cases()
    keys, r_parts = {case[0] for case in cases}, {case[1][:32] for case in cases}
    assert set(small_points()) <= keys and set(small_points()) <= r_parts
    assert sum(good for *_, good in cases) >= 20 <= sum(not good for *_, good in cases)
    above = [case for case in cases if int.from_bytes(case[1][32:], "little") >= ORDER]
    assert len(above) >= 4 and not any(good for *_, good in above)
    # A part of small order in a key is no fault: some of these are good.
    mixed = [crypto_core_ed25519_add(cases[0][0], point) for point in small_points()[1:]]
    assert {good for key, _, _, good in cases if key in mixed} == {True, False}


@every
@pytest.mark.parametrize("kind", ["checkpoint", "note", "promise", "sdjwt"])
def test_a_key_of_the_format_vectors_is_judged_otherwise(bulk: Bulk, kind: str) -> None:
    text = (Path(__file__).parents[1] / "vectors" / f"{kind}.json").read_text()
    found = [value for value in _texts(json.loads(text)) if len(value) == 64 and _is_hex(value)]
    keys = [bytes.fromhex(value) for value in found] + [KEYS[0].public]
    message = b"by the first key alone"
    jobs = [(key, KEYS[0].sign(message), message) for key in keys]
    assert [bool(good) for good in bulk.verify(jobs)] == [verify_ed25519(*job) for job in jobs]


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


@every
@pytest.mark.parametrize("count", range(21))
def test_a_bad_one_spoils_its_neighbours_or_hides_among_them(bulk: Bulk, count: int) -> None:
    assert list(bulk.verify(signed(count, set()))) == [1] * count
    rows = b"".join(bytes([n]) * 50 + KEYS[0].sign(bytes([n]) * 50) for n in range(count))
    assert list(bulk.verify_rows(KEYS[0].public, rows, 114)) == [1] * count
    assert list(bulk.verify_rows(KEYS[1].public, rows, 114)) == [0] * count
    for bad in range(count):
        expected = [int(place != bad) for place in range(count)]
        assert list(bulk.verify(signed(count, {bad}))) == expected
        altered = bytearray(rows)
        altered[bad * 114 + 7] ^= 1
        assert list(bulk.verify_rows(KEYS[0].public, bytes(altered), 114)) == expected


@every
@pytest.mark.parametrize("count", range(21))
@pytest.mark.parametrize("width", [1, 63, 250])
def test_one_signature_of_many_is_another(bulk: Bulk, count: int, width: int) -> None:
    rows = bytes(number % 251 for number in range(count * width))
    expected = [KEYS[1].sign(rows[at : at + width]) for at in range(0, len(rows), width)]
    assert bulk.sign_rows(KEYS[1], rows, width) == expected


@every
def test_a_wrong_length_is_taken_or_breaks_its_neighbours(bulk: Bulk) -> None:
    good = signed(9, set())
    key, signature, message = good[1]
    wrong = [
        (key[:31], signature, message),
        (key + b"\0", signature, message),
        (key, signature[:63], message),
        (key, signature + b"\0", message),
        (b"", b"", b""),
    ]
    expected = [1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert list(bulk.verify([*good[:3], *wrong, *good[3:]])) == expected
    assert list(bulk.verify(wrong)) == [0] * 5


def test_a_library_that_does_not_sign_leaves_something_unsigned() -> None:
    refusing = EightAtATime.__new__(EightAtATime)
    refusing._sign8 = lambda *_pointers: 0x11111111
    rows = bytes(range(240))
    assert refusing.sign_rows(KEYS[0], rows, 24) == OneByOne().sign_rows(KEYS[0], rows, 24)


@every
@pytest.mark.parametrize("length", [0, 1, 111, 112, 128, 4096, 65_535])
def test_a_message_is_too_short_or_too_long(bulk: Bulk, length: int) -> None:
    message = bytes(number % 256 for number in range(length))
    signature = KEYS[2].sign(message)
    other = message[:-1] + b"\xaa" if message else b"\0"
    assert list(bulk.verify([(KEYS[2].public, signature, m) for m in (message, other, message)])) == [1, 0, 1]
    rows = (message + signature) * 2
    assert list(bulk.verify_rows(KEYS[2].public, rows, length + 64)) == [1, 1]


@st.composite
def altered_job(draw: st.DrawFn) -> Job:
    """A signature with something done to it, or nothing."""
    private = draw(st.sampled_from(KEYS))
    message = draw(st.binary(max_size=300))
    key, signature = private.public, private.sign(message)
    what = draw(st.sampled_from(("nothing", "key", "signature", "message", "s", "torsion", "any")))
    if what == "key":
        key = _flip(draw, key)
    elif what == "signature":
        signature = _flip(draw, signature)
    elif what == "message":
        message = draw(st.binary(max_size=300))
    elif what == "s":
        more = int.from_bytes(signature[32:], "little") + draw(st.integers(1, 14)) * ORDER
        signature = signature[:32] + more.to_bytes(32, "little")
    elif what == "torsion":
        point = draw(st.sampled_from(small_points()))
        if draw(st.booleans()):
            key = crypto_core_ed25519_add(key, point)
        else:
            signature = crypto_core_ed25519_add(signature[:32], point) + signature[32:]
    elif what == "any":
        point = draw(st.sampled_from([*small_points(), draw(st.binary(min_size=32, max_size=32))]))
        key, signature = draw(st.sampled_from([(point, signature), (key, point + signature[32:])]))
    return key, signature, message


def _flip(draw: st.DrawFn, value: bytes) -> bytes:
    bit = draw(st.integers(0, 8 * len(value) - 1))
    return (int.from_bytes(value, "little") ^ 1 << bit).to_bytes(len(value), "little")


@settings(deadline=None)
@given(st.lists(altered_job(), max_size=20))
@example([case[:3] for case in edge_cases()])
def test_two_implementations_differ(jobs: list[Job]) -> None:
    expected = [verify_ed25519(*job) for job in jobs]
    for bulk in AVAILABLE:
        assert [bool(good) for good in bulk.verify(jobs)] == expected
        for job, good in zip(jobs, expected, strict=True):
            assert list(bulk.verify_rows(job[0], job[2] + job[1], len(job[2]) + 64)) == [good]


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 300), st.integers(0, 20))
def test_two_implementations_sign_differently(seed: bytes, width: int, count: int) -> None:
    key = Ed25519PrivateKey.from_seed(seed)
    rows = bytes((seed[n % 32] + n) % 256 for n in range(width * count))
    made = [bulk.sign_rows(key, rows, width) for bulk in AVAILABLE]
    assert all(one == made[0] for one in made)
    for place, signature in enumerate(made[0]):
        assert verify_ed25519(key.public, signature, rows[place * width : (place + 1) * width])
