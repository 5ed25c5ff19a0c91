"""Whatever a parser accepts is written back byte for byte the same; whatever is written is parsed to the same."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.encoding import (
    b64decode,
    b64encode,
    b64url_decode,
    b64url_encode,
    format_date,
    parse_date,
    parse_decimal,
)
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.jose import parse_json, sign_jws, verify_jws
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.note import (
    COSIGNATURE,
    ED25519,
    CosignatureSigner,
    SignatureLine,
    VerifierKey,
    format_note,
    open_note,
    parse_note,
    parse_vkey,
)
from ledger.core.policy import parse_policy
from ledger.core.tiles import parse_path
from ledger.core.tlogproof import format_tlog_proof, parse_tlog_proof

hashes = st.binary(min_size=32, max_size=32)
name_characters = st.characters(blacklist_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], blacklist_characters="+")
names = st.text(name_characters, min_size=1, max_size=20)
seeds = st.binary(min_size=32, max_size=32)
near_numbers = st.text(st.sampled_from("0123456789+-_ .e\n\u0661\uff11"), max_size=21)
near_base64 = st.text(st.sampled_from("AQgwBZ09+/-_=\n "), max_size=12)
near_dates = st.text(st.sampled_from("0129-T"), min_size=8, max_size=11)


@given(near_numbers)
def test_accepted_number_is_canonical(text: str) -> None:
    try:
        value = parse_decimal(text, "n")
    except Malformed:
        return
    assert str(value) == text


@given(near_base64)
def test_accepted_base64_is_canonical(text: str) -> None:
    for decode, encode in ((b64decode, b64encode), (b64url_decode, b64url_encode)):
        try:
            value = decode(text, "b64")
        except Malformed:
            continue
        assert encode(value) == text


@given(st.binary(max_size=100), st.integers(-700_000, 2_932_896), st.integers(0, 2**63 - 1))
def test_written_values_are_read_back(data: bytes, day: int, number: int) -> None:
    assert b64decode(b64encode(data), "x") == data
    assert b64url_decode(b64url_encode(data), "x") == data
    assert parse_date(format_date(day), "x") == day
    assert parse_decimal(str(number), "x") == number


@given(near_dates)
@example("2000-02-30")
def test_accepted_date_is_canonical(text: str) -> None:
    try:
        day = parse_date(text, "d")
    except Malformed:
        return
    assert format_date(day) == text


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(1 - 2**53, 2**53 - 1)
    | st.text(st.characters(blacklist_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


@given(json_values, st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(value: Any, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert parse_json(text, "x") == parse_json(text.encode("utf-8"), "x") == value


@given(st.text(st.sampled_from('{}[]",:0123456789.-+eEntfaulrs\\u d8cdNI'), max_size=40))
@settings(max_examples=500)
def test_strict_json_accepts_only_what_the_standard_library_accepts(text: str) -> None:
    try:
        value = parse_json(text, "x")
    except Malformed:
        return
    assert json.loads(text) == value


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4), seeds)
def test_signed_object_gives_its_payload_back(payload: dict[str, Any], seed: bytes) -> None:
    key = Ed25519PrivateKey(seed)
    assert verify_jws(sign_jws(payload, "t", key), key.public, "t", "jws") == payload


@given(names, seeds, st.sampled_from([ED25519, COSIGNATURE]))
def test_vkey_gives_itself_back(name: str, seed: bytes, kind: int) -> None:
    vkey = VerifierKey(name, kind, Ed25519PrivateKey(seed).public)
    assert parse_vkey(vkey.text) == vkey


lines = st.builds(SignatureLine, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))
texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=30).map(lambda text: text + "\n")


@given(st.lists(texts, min_size=1, max_size=5).map("".join), st.lists(lines, min_size=1, max_size=5))
def test_note_gives_text_and_lines_back(text: str, signatures: list[SignatureLine]) -> None:
    data = format_note(text, signatures)
    note = parse_note(data)
    assert (note.text, list(note.lines)) == (text, signatures)
    assert format_note(note.text, note.lines) == data


@given(st.integers(2, 2**63 - 1), hashes, st.integers(1, 2**63 - 1), seeds)
def test_checkpoint_and_cosignature_give_themselves_back(
    size: int, root: bytes, time: int, seed: bytes
) -> None:
    checkpoint = Checkpoint("log.example/x", size, root)
    assert parse_checkpoint(checkpoint.text) == checkpoint
    witness = CosignatureSigner("witness.example/w", Ed25519PrivateKey(seed))
    note = format_note(checkpoint.text, [witness.sign(checkpoint.text, time)])
    text, good = open_note(note, [witness.vkey])
    assert (text, good[0].timestamp) == (checkpoint.text, time)


@given(
    st.integers(0, 2**63 - 1),
    st.lists(hashes, max_size=63),
    st.binary(max_size=50),
    st.none() | st.binary(max_size=50),
)
def test_proof_file_gives_its_parts_back(
    index: int, proof: list[bytes], checkpoint: bytes, extra: bytes | None
) -> None:
    data = format_tlog_proof(index, proof, checkpoint, extra)
    parsed = parse_tlog_proof(data)
    assert (parsed.index, list(parsed.hashes), parsed.checkpoint, parsed.extra) == (
        index,
        proof,
        checkpoint,
        extra,
    )


PROOF = format_tlog_proof(17, [bytes(32), b"\xff" * 32], b"log.example/x\n", b"extra")


@given(st.integers(0, len(PROOF) - 1), st.integers(0, 255))
def test_accepted_proof_file_is_canonical(at: int, byte: int) -> None:
    data = PROOF[:at] + bytes([byte]) + PROOF[at + 1 :]
    try:
        parsed = parse_tlog_proof(data)
    except Malformed:
        return
    assert format_tlog_proof(parsed.index, parsed.hashes, parsed.checkpoint, parsed.extra) == data


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_no_parser_fails_on_junk_but_by_its_own_errors(data: bytes) -> None:
    for parse in (parse_note, parse_tlog_proof, parse_policy):
        try:
            parse(data)
        except GlassbookError as error:
            assert str(error)
    text = data.decode("latin-1")
    for parse_text in (parse_vkey, parse_checkpoint, parse_path):
        try:
            parse_text(text)
        except GlassbookError as error:
            assert str(error)
