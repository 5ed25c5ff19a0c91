"""Subjects by their form, stream keys, envelopes: near misses, and that no error names a person."""

import sys
import unicodedata

import pytest

from ledger.core.errors import GlassbookError, Malformed, ProofRefuted
from ledger.core.streams import (
    ENVELOPE_LIMIT,
    StreamKey,
    alpha,
    open_envelope,
    parse_subject,
    seal_envelope,
    stream_key,
)
from ledger.core.texts import SPACE_OR_CONTROL

STREAM = stream_key(bytes(64))
NONCE = bytes(12)

# Unicode's PropList.txt, White_Space; it has not changed since Unicode 6.3.
WHITE_SPACE = {
    *range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000,
}  # fmt: skip


def test_every_white_space_and_control_character_is_refused_and_no_other() -> None:
    for code in range(sys.maxunicode + 1):
        refused = code in WHITE_SPACE or unicodedata.category(chr(code)) == "Cc"
        assert bool(SPACE_OR_CONTROL.search(chr(code))) is refused, hex(code)


@pytest.mark.parametrize(
    ("subject", "parts"),
    [
        ("nhs:9434765919", ("nhs", "9434765919")),
        ("x:a:b", ("x", "a:b")),
        ("x::", ("x", ":")),
        ("a-0:\u00e9", ("a-0", "\u00e9")),
        ("s" * 32 + ":" + "v" * 255, ("s" * 32, "v" * 255)),
        ("-:\u200b", ("-", "\u200b")),
    ],
)
def test_subject_is_divided_at_its_first_colon(subject: str, parts: tuple[str, str]) -> None:
    assert parse_subject(subject) == parts


@pytest.mark.parametrize(
    ("subject", "what"),
    [
        ("", "scheme:value"),
        ("secret", "scheme:value"),
        (":secret", "scheme:value"),
        ("NHS:secret", "scheme:value"),
        ("n_s:secret", "scheme:value"),
        ("é:secret", "scheme:value"),
        ("²:secret", "scheme:value"),
        ("nhs :secret", "scheme:value"),
        ("s" * 33 + ":secret", "scheme:value"),
        ("nhs:", "0 bytes"),
        ("nhs:" + "secret" + "v" * 250, "256 bytes"),
        ("nhs:" + "é" * 128, "256 bytes"),
        ("nhs:secret secret", "space"),
        ("nhs:secret\u2028", "space"),
        ("nhs:\u0085secret", "space"),
        ("nhs:secret\0", "control"),
        ("nhs:secret\u0301e\u0301", "form C"),
        ("nhs:secret\u212b", "form C"),
        ("nhs:secret\ud800", "surrogate"),
    ],
)
def test_near_subject_is_refused_without_being_named(subject: str, what: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_subject(subject)
    assert caught.value.where == "subject"
    assert what in caught.value.what
    assert "secret" not in str(caught.value)
    assert not caught.value.evidence


def test_alpha_of_other_parts_is_another() -> None:
    made = {
        alpha("o", 1, 2026, 0, "a:bc"),
        alpha("o", 1, 2026, 0, "ab:c"),
        alpha("oo", 1, 2026, 0, "a:bc"),
        alpha("o", 2, 2026, 0, "a:bc"),
        alpha("o", 1, 2027, 0, "a:bc"),
        alpha("o", 1, 2026, 1, "a:bc"),
    }
    assert len(made) == 6


@pytest.mark.parametrize("n", [0, -1])
def test_records_are_counted_from_one(n: int) -> None:
    for derive in (STREAM.label, STREAM.envelope_key, STREAM.fetch_token, STREAM.deposited):
        with pytest.raises(Malformed):
            derive(n)


def test_stream_key_does_not_show_itself() -> None:
    assert STREAM.key.hex() not in repr(STREAM)
    with pytest.raises(Malformed, match="31 bytes"):
        StreamKey(bytes(31))


@pytest.mark.parametrize("length", [0, 1, 1022, 1023, 1024, 2047, 2048, 65_535])
def test_envelope_comes_back_at_every_edge_of_the_padding(length: int) -> None:
    envelope = seal_envelope(STREAM, 1, "~" * length, NONCE)
    assert len(envelope) == 29 + 1024 * (length // 1024 + 1)
    assert len(envelope) <= ENVELOPE_LIMIT
    assert open_envelope(STREAM, 1, envelope) == "~" * length


def test_envelope_that_cannot_be_is_not_sealed() -> None:
    with pytest.raises(Malformed, match="65536 bytes"):
        seal_envelope(STREAM, 1, "a" * 65_536, NONCE)
    with pytest.raises(Malformed, match="nonce"):
        seal_envelope(STREAM, 1, "a", bytes(11))
    with pytest.raises(Malformed, match="ASCII"):
        seal_envelope(STREAM, 1, "é", NONCE)


@pytest.mark.parametrize("size", [0, 1, 28, 29, 29 + 1023, 29 + 1025, 29 + 65 * 1024])
def test_bytes_of_a_size_no_envelope_has_are_malformed(size: int) -> None:
    with pytest.raises(Malformed, match=f"{size} bytes"):
        open_envelope(STREAM, 1, b"\x01" * size)


def test_envelope_of_another_record_or_stream_is_refuted() -> None:
    envelope = seal_envelope(STREAM, 1, "a", NONCE)
    for stream, n in ((STREAM, 2), (stream_key(b"\x01" * 64), 1)):
        with pytest.raises(ProofRefuted):
            open_envelope(stream, n, envelope)


def test_errors_of_envelopes_hold_nothing_of_what_is_in_them() -> None:
    for text in ("secret é", "secret" * 11_000):
        with pytest.raises(GlassbookError) as caught:
            seal_envelope(STREAM, 1, text, NONCE)
        assert "secret" not in str(caught.value)
