"""Any one bit flipped in an entry, a VRF proof, an envelope, an SD-JWT or a signed statement is noticed."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logfactory import DAY, LogFactory, TestSource

from ledger.core import vrf
from ledger.core.entries import Coverage, Record, decode_entry, signed_message
from ledger.core.errors import GlassbookError, ProofRefuted
from ledger.core.keys import verify_ed25519
from ledger.core.sdjwt import parse_sd_jwt
from ledger.core.statements import parse_charter, parse_source
from ledger.core.streams import open_envelope, seal_envelope, stream_key

LOG = LogFactory()
SOURCE: TestSource = LOG.add_source()
RECORD = LOG.entries[LOG.access(SOURCE)]
COVERAGE = LOG.entries[LOG.coverage(SOURCE, DAY, 1)]
ALPHA = b"one stream"
SEED = SOURCE.vrf_seeds[2026]


def flips(data: bytes) -> Iterator[bytes]:
    """`data` with each of its bits flipped in turn."""
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def signed_entry_holds(raw: bytes) -> bool:
    """Whether `raw` is a record or coverage under the key of its source."""
    try:
        entry = decode_entry(raw)
        if not isinstance(entry, Record | Coverage):
            return False
        key = LOG.register.signer(entry).key
    except GlassbookError:
        return False
    return verify_ed25519(key, entry.signature, signed_message(LOG.origin, raw))


@pytest.mark.parametrize("raw", [RECORD, COVERAGE], ids=["record", "coverage"])
def test_every_bit_of_a_signed_entry_matters(raw: bytes) -> None:
    assert signed_entry_holds(raw)
    assert not any(signed_entry_holds(flipped) for flipped in flips(raw))


def test_every_bit_of_a_vrf_proof_matters() -> None:
    public, pi = vrf.public_key(SEED), vrf.prove(SEED, ALPHA)
    vrf.verify(public, ALPHA, pi)
    for flipped in flips(pi):
        with pytest.raises(ProofRefuted):
            vrf.verify(public, ALPHA, flipped)


def test_every_bit_of_a_vrf_key_matters() -> None:
    pi = vrf.prove(SEED, ALPHA)
    for flipped in flips(vrf.public_key(SEED)):
        with pytest.raises(GlassbookError):
            vrf.verify(flipped, ALPHA, pi)


def test_every_bit_of_an_envelope_matters() -> None:
    stream = stream_key(bytes(64))
    envelope = seal_envelope(stream, 3, "an SD-JWT~", bytes(12))
    for flipped in flips(envelope):
        with pytest.raises(GlassbookError):
            open_envelope(stream, 3, flipped)


@given(st.data())
def test_any_bit_of_an_sd_jwt_matters(data: st.DataObject) -> None:
    text = LOG.sd_jwts[2]
    key = SOURCE.key.public
    parse_sd_jwt(text, key)
    place = data.draw(st.integers(0, len(text) * 7 - 1))
    changed = bytearray(text.encode("ascii"))
    changed[place // 7] ^= 1 << place % 7
    with pytest.raises(GlassbookError):
        parse_sd_jwt(changed.decode("ascii"), key)


@given(st.sampled_from([0, 1]), st.data())
def test_any_bit_of_a_signed_statement_matters(index: int, data: st.DataObject) -> None:
    raw = LOG.entries[index]
    place = data.draw(st.integers(0, len(raw) * 8 - 1))
    changed = bytearray(raw)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(GlassbookError):
        if index == 0:
            parse_charter(bytes(changed), LOG.origin)
        else:
            parse_source(bytes(changed), 1, LOG.register.charter)


def test_envelope_cut_or_extended_anywhere_is_refused() -> None:
    stream = stream_key(bytes(64))
    envelope = seal_envelope(stream, 3, "a" * 1024, bytes(12))
    for size in range(len(envelope)):
        with pytest.raises(GlassbookError):
            open_envelope(stream, 3, envelope[:size])
    for extra in (b"\0", b"\x80", bytes(1024)):
        with pytest.raises(GlassbookError):
            open_envelope(stream, 3, envelope + extra)


def test_entry_cut_anywhere_is_refused() -> None:
    for raw in (RECORD, COVERAGE):
        assert not any(signed_entry_holds(raw[:size]) for size in range(len(raw)))
        assert not signed_entry_holds(raw + b"\0")


def test_labels_of_one_stream_are_all_different() -> None:
    stream = stream_key(vrf.evaluate(SEED, ALPHA))
    derived = [
        derive(n) for n in range(1, 400) for derive in (stream.label, stream.envelope_key, stream.fetch_token)
    ]
    assert all(one < other for one, other in pairwise(sorted(derived)))
