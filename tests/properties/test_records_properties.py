"""Entries, subjects, streams, envelopes and SD-JWTs: what is written is what is read, for any content."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core import vrf
from ledger.core.encoding import LAST_DAY, b64url_encode, format_date, month_of, year_of
from ledger.core.entries import Coverage, IndexRoot, Record, Registry, decode_entry
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.sdjwt import CLAIMS, issue, parse_sd_jwt, present
from ledger.core.streams import alpha, open_envelope, parse_subject, seal_envelope, stream_key

u16s, u32s, u64s = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
hashes = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
entries = st.one_of(
    st.builds(Record, u32s, u16s, u32s, u16s, u32s, hashes, hashes, signatures),
    st.builds(Coverage, u32s, u16s, u32s, u64s, signatures),
    st.builds(IndexRoot, u64s, hashes, hashes, u64s),
    st.builds(Registry, u32s, u32s, st.binary(min_size=1, max_size=200)),
)
KEY = Ed25519PrivateKey.from_seed(bytes(32))
ascii_text = st.text(st.characters(max_codepoint=127), max_size=3000)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in ("_sd", "...")),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(entries)
def test_entry_comes_back_from_its_bytes(entry: Record | Coverage | IndexRoot | Registry) -> None:
    raw = entry.encode()
    back = decode_entry(raw)
    assert type(back) is type(entry)
    assert back == entry
    assert back.encode() == raw


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_malformed_and_one_spelling_alone_is_read(data: bytes) -> None:
    for raw in (data, b"\x01" + data, b"\x01\x01" + data, b"\x01\x02" + data, b"\x01\x04" + data):
        try:
            entry = decode_entry(raw)
        except Malformed:
            continue
        assert entry.encode() == raw


@given(st.integers(0, LAST_DAY))
def test_year_and_month_of_a_day_are_those_of_its_date(day: int) -> None:
    date = format_date(day)
    assert int(date[:4]) == year_of(day)
    assert divmod(month_of(day), 12) == (int(date[:4]) - 1970, int(date[5:7]) - 1)


@given(st.text())
def test_any_text_is_a_subject_or_malformed(text: str) -> None:
    for subject in (text, "x:" + text):
        try:
            scheme, value = parse_subject(subject)
        except Malformed:
            continue
        assert f"{scheme}:{value}" == subject


subjects = st.builds(
    "{}:{}".format,
    st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60),
)
streams = st.tuples(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40),
    u32s,
    u16s,
    u16s,
    subjects,
)


@given(streams, streams)
def test_alpha_is_the_same_for_the_same_stream_alone(one: Any, other: Any) -> None:
    assert (alpha(*one) == alpha(*other)) is (one == other)


@given(hashes, st.binary(max_size=100))
def test_output_is_proven_and_is_the_one_that_evaluation_gives(seed: bytes, data: bytes) -> None:
    public = vrf.public_key(seed)
    pi = vrf.prove(seed, data)
    assert vrf.verify(public, data, pi) == vrf.evaluate(seed, data) == vrf.beta_of(pi)


@given(st.binary(min_size=80, max_size=80))
def test_any_80_bytes_are_no_proof(pi: bytes) -> None:
    with pytest.raises(GlassbookError):
        vrf.verify(vrf.public_key(bytes(32)), b"", pi)


@given(
    st.binary(min_size=64, max_size=64),
    st.integers(1, 2**64 - 1),
    ascii_text,
    st.binary(min_size=12, max_size=12),
)
def test_envelope_opens_to_what_was_sealed(beta: bytes, n: int, text: str, nonce: bytes) -> None:
    stream = stream_key(beta)
    envelope = seal_envelope(stream, n, text, nonce)
    assert (len(envelope) - 29) % 1024 == 0
    assert open_envelope(stream, n, envelope) == text


@given(st.dictionaries(st.sampled_from(CLAIMS), json_values), st.sets(st.sampled_from(CLAIMS)))
def test_claims_come_back_as_issued_and_in_part_as_presented(claims: dict[str, Any], shown: set[str]) -> None:
    sd_jwt = parse_sd_jwt(issue("log.example.gov/1", 1, 2026, claims, KEY), KEY.public)
    assert sd_jwt.claims == claims
    part = parse_sd_jwt(present(sd_jwt, shown & claims.keys()), KEY.public)
    assert part.claims == {name: value for name, value in claims.items() if name in shown}
    assert part.jwt == sd_jwt.jwt


@given(st.text(st.characters(max_codepoint=127), max_size=80))
def test_any_text_is_an_sd_jwt_or_refused(text: str) -> None:
    for attempt in (text, f"{text}~", f"{b64url_encode(b'{}')}.{text}.AA~"):
        with pytest.raises(GlassbookError):
            parse_sd_jwt(attempt, KEY.public)
