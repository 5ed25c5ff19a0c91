"""Notes, verifier keys, checkpoints and proof files: near-valid spellings are refused with what and where."""

import pytest

from ledger.core.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from ledger.core.encoding import b64encode
from ledger.core.errors import BadSignature, GlassbookError, Malformed, Refuted
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import (
    COSIGNATURE,
    CosignatureSigner,
    Ed25519Signer,
    Good,
    MLDSASigner,
    SignatureLine,
    VerifierKey,
    format_note,
    open_note,
    parse_lines,
    parse_note,
    parse_vkey,
    subtree_message,
)
from ledger.core.tlogproof import format_tlog_proof, parse_tlog_proof

LOG = Ed25519Signer("log.example/x", Ed25519PrivateKey(b"\x01" * 32))
PQ = MLDSASigner("log.example/x", MLDSA44PrivateKey(b"\x02" * 32))
WITNESS = CosignatureSigner("witness.example/w", Ed25519PrivateKey(b"\x03" * 32))
HEAD = Checkpoint("log.example/x", 7, bytes(range(32)))
TEXT = HEAD.text
LINE = LOG.sign(TEXT).text


def edited(old: str, new: str) -> bytes:
    note = f"{TEXT}\n{LINE}"
    assert old in note
    return note.replace(old, new, 1).encode()


NOT_NOTES: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(100),
    "text only": TEXT.encode(),
    "signature only": LINE.encode(),
    "blank line missing": edited("\n\n", "\n"),
    "no newline at the end": f"{TEXT}\n{LINE}"[:-1].encode(),
    "two newlines at the end": f"{TEXT}\n{LINE}\n".encode(),
    "carriage returns": f"{TEXT}\n{LINE}".replace("\n", "\r\n").encode(),
    "tabs instead of spaces": f"{TEXT}\n{LINE}".replace(" ", "\t").encode(),
    "escape character": edited("log", "\x1blog"),
    "zero byte": edited("log", "\0log"),
    "Latin-1": f"{TEXT}\n{LINE}".encode().replace(b"log", b"l\xf6g", 1),
    "en dash": edited("\u2014", "\u2013"),
    "hyphen": edited("\u2014", "-"),
    "no space after the dash": edited("\u2014 ", "\u2014"),
    "two spaces": edited("\u2014 ", "\u2014  "),
    "space at the end": f"{TEXT}\n{LINE}".encode()[:-1] + b" \n",
    "two dashes": edited("\u2014 ", "\u2014 \u2014 "),
    "name missing": f"{TEXT}\n\u2014  AAAAAAA=\n".encode(),
    "signature missing": f"{TEXT}\n\u2014 log.example/x\n".encode(),
    "signature empty": f"{TEXT}\n\u2014 log.example/x \n".encode(),
    "key id only": f"{TEXT}\n\u2014 log.example/x AAAAAA==\n".encode(),
    "base64 without padding": f"{TEXT}\n{LINE}".encode()[:-2] + b"\n",
    "base64 not canonical": f"{TEXT}\n\u2014 x AAAAAAB=\n".encode(),
    "base64url": f"{TEXT}\n\u2014 x AAAAA_8=\n".encode(),
    "plus in a name": f"{TEXT}\n\u2014 a+b AAAAAAA=\n".encode(),
    "ideographic space in a name": f"{TEXT}\n\u2014 a\u3000b AAAAAAA=\n".encode(),
    "next line character in a name": f"{TEXT}\n\u2014 a\u0085b AAAAAAA=\n".encode(),
    "a text line among the signatures": f"{TEXT}\n{LINE}note well\n{LINE}".encode(),
    "101 signatures": f"{TEXT}\n{LINE * 101}".encode(),
    "1 MiB and a byte": f"{TEXT}\n{LINE}".rjust((1 << 20) + 1, "a").encode(),
}


@pytest.mark.parametrize("name", NOT_NOTES)
def test_near_note_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="^checkpoint"):
        parse_note(NOT_NOTES[name], "checkpoint")


def test_note_of_exactly_the_limits_is_read() -> None:
    data = f"\n{LINE}".encode()
    note = b"a" * ((1 << 20) - len(data) - 1) + b"\n" + data
    assert len(note) == 1 << 20
    assert len(parse_note(note).lines) == 1
    assert len(parse_note(f"{TEXT}\n{LINE * 100}".encode()).lines) == 100


def test_text_is_divided_from_signatures_at_the_last_empty_line() -> None:
    text = f"{TEXT}\n{LINE}"
    outer = format_note(text, [LOG.sign(text)])
    assert open_note(outer, [LOG.vkey])[0] == text


def test_signature_lines_alone_as_a_witness_answers() -> None:
    answer = WITNESS.sign(TEXT, 5).text + PQ.sign(TEXT, 6).text
    lines = parse_lines(answer.encode(), "cosignatures")
    assert [line.name for line in lines] == ["witness.example/w", "log.example/x"]
    assert "".join(line.text for line in lines) == answer
    for wrong in (b"", b"\n", answer.encode()[:-1], b"\n" + answer.encode(), answer.encode() + b"\n"):
        with pytest.raises(Malformed, match="^cosignatures"):
            parse_lines(wrong, "cosignatures")


def test_every_signature_type_is_verified_with_its_time() -> None:
    note = format_note(TEXT, [LOG.sign(TEXT), PQ.sign(TEXT, 6), WITNESS.sign(TEXT, 2**63 - 1)])
    text, good = open_note(note, [WITNESS.vkey, PQ.vkey, LOG.vkey])
    assert text == TEXT
    assert good == [Good(LOG.vkey, None), Good(PQ.vkey, 6), Good(WITNESS.vkey, 2**63 - 1)]


SIGNED = {"Ed25519": LOG.sign(TEXT), "cosignature": WITNESS.sign(TEXT, 9), "ML-DSA-44": PQ.sign(TEXT, 9)}
VKEYS = {"Ed25519": LOG.vkey, "cosignature": WITNESS.vkey, "ML-DSA-44": PQ.vkey}


@pytest.mark.parametrize("kind", SIGNED)
def test_bad_signature_by_a_known_key_refutes_the_whole_note(kind: str) -> None:
    line, good = SIGNED[kind], SIGNED["Ed25519"]
    others = [LOG.vkey, WITNESS.vkey, PQ.vkey]
    blobs = [line.blob[:-1], line.blob + b"\0", line.blob[:-1] + bytes([line.blob[-1] ^ 1]), b"\0" * 8]
    blobs.append(bytes([line.blob[0] ^ 1]) + line.blob[1:])
    if kind != "Ed25519":
        # The time is signed, too; above 2^63 - 1 it is none.
        blobs += [bytes(7) + b"\x0a" + line.blob[8:], b"\x80" + line.blob[1:]]
    for blob in blobs:
        wrong = SignatureLine(line.name, line.key_id, blob)
        for lines in ([wrong], [good, wrong], [wrong, good]):
            with pytest.raises(BadSignature, match=f"bad signature by {line.name} {line.key_id.hex()}"):
                open_note(format_note(TEXT, lines), others)
    for text in (TEXT.replace("7", "8"), TEXT.replace("x", "y"), TEXT.replace("AAEC", "AAED")):
        with pytest.raises(BadSignature):
            open_note(format_note(text, [line]), others)


def test_cosignature_is_no_plain_signature_nor_the_other_way_round() -> None:
    key = Ed25519PrivateKey(b"\x03" * 32)
    plain = Ed25519Signer("witness.example/w", key)
    # Same name and key, other type: another key id, so the line is a stranger's.
    assert plain.vkey.key_id != WITNESS.vkey.key_id
    with pytest.raises(BadSignature, match="no signature by a known key"):
        open_note(format_note(TEXT, [plain.sign(TEXT)]), [WITNESS.vkey])
    relabelled = SignatureLine(WITNESS.vkey.name, WITNESS.vkey.key_id, bytes(8) + plain.sign(TEXT).blob)
    with pytest.raises(BadSignature, match="bad signature"):
        open_note(format_note(TEXT, [relabelled]), [WITNESS.vkey])


def test_ml_dsa_signature_on_a_note_that_is_no_checkpoint_is_refused() -> None:
    line = PQ.sign(TEXT, 6)
    for text in ("hello\n", "a\nb\n", "a\nb\nc\n", "log.example/x\n7\nAAAA\n"):
        with pytest.raises(GlassbookError):
            open_note(format_note(text, [line]), [PQ.vkey])


def test_note_that_would_not_parse_again_is_not_made() -> None:
    for text in ("no newline", "", "tab\there\n"):
        with pytest.raises(Malformed):
            format_note(text, [LOG.sign(TEXT)])
    with pytest.raises(Malformed):
        format_note(TEXT, [])
    with pytest.raises(Malformed):
        format_note(TEXT, [LOG.sign(TEXT)] * 101)
    with pytest.raises(Malformed):
        Ed25519Signer("a b", Ed25519PrivateKey(bytes(32)))
    with pytest.raises(Malformed):
        MLDSASigner("a" * 256, MLDSA44PrivateKey(bytes(32)))


VKEY = CosignatureSigner("witness.example/v", Ed25519PrivateKey(b"\x03" * 32)).vkey.text
NAME, ID, KEY = VKEY.split("+", 2)
NOT_VKEYS: dict[str, str] = {
    "empty": "",
    "name only": NAME,
    "name and id": f"{NAME}+{ID}",
    "name missing": f"+{ID}+{KEY}",
    "id missing": f"{NAME}++{KEY}",
    "key missing": f"{NAME}+{ID}+",
    "id in capitals": f"{NAME}+{ID.upper()}+{KEY}",
    "id too short": f"{NAME}+{ID[1:]}+{KEY}",
    "id of other digits": f"{NAME}+00000000+{KEY}",
    "space before": f" {VKEY}",
    "space after": f"{VKEY} ",
    "newline after": f"{VKEY}\n",
    "space in the name": f"witness.example/a b+{ID}+{KEY}",
    "other name": f"{NAME}x+{ID}+{KEY}",
    "other key": f"{NAME}+{ID}+{LOG.vkey.text.split('+', 2)[2]}",
    "padding missing": f"{NAME}+{ID}+{KEY.rstrip('=')[:-1]}",
    "type missing": VerifierKey(NAME, COSIGNATURE, WITNESS.vkey.key[1:]).text,
    "type 2": VerifierKey(NAME, 2, WITNESS.vkey.key).text,
    "type 5": VerifierKey(NAME, 5, WITNESS.vkey.key).text,
    "type 255": VerifierKey(NAME, 255, WITNESS.vkey.key).text,
    "Ed25519 key of ML-DSA length": VerifierKey(NAME, COSIGNATURE, PQ.vkey.key).text,
    "ML-DSA key of Ed25519 length": VerifierKey(NAME, 6, WITNESS.vkey.key).text,
    "ML-DSA key with a name of 256 bytes": VerifierKey("n" * 256, 6, PQ.vkey.key).text,
    "key of small order": VerifierKey(NAME, COSIGNATURE, bytes(32)).text,
    "control character in the name": VerifierKey("w\x01", COSIGNATURE, WITNESS.vkey.key).text,
    "name not UTF-8": f"w\udcff+{ID}+{KEY}",
}


@pytest.mark.parametrize("name", NOT_VKEYS)
def test_near_vkey_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="^witness W1"):
        parse_vkey(NOT_VKEYS[name], "witness W1")


ROOT = b64encode(HEAD.root)
NOT_CHECKPOINTS: dict[str, str] = {
    "empty": "",
    "two lines": "log.example/x\n7\n",
    "no newline at the end": TEXT[:-1],
    "extension line": TEXT + "extension\n",
    "empty line after": TEXT + "\n",
    "empty line before": "\n" + TEXT,
    "empty origin": f"\n7\n{ROOT}\n",
    "origin with a space": f"log example\n7\n{ROOT}\n",
    "origin with a plus": f"log+example\n7\n{ROOT}\n",
    "origin with a scheme": f"https://log.example/x\n7\n{ROOT}\n",
    "origin with a control character": f"log\u0090example\n7\n{ROOT}\n",
    "origin of 256 bytes": f"{'o' * 256}\n7\n{ROOT}\n",
    "size 0": f"log.example/x\n0\n{ROOT}\n",
    "size 1": f"log.example/x\n1\n{ROOT}\n",
    "size 07": f"log.example/x\n07\n{ROOT}\n",
    "size +7": f"log.example/x\n+7\n{ROOT}\n",
    "size with a space": f"log.example/x\n7 \n{ROOT}\n",
    "size 2^63": f"log.example/x\n{2**63}\n{ROOT}\n",
    "size in Arabic digits": f"log.example/x\n\u0667\n{ROOT}\n",
    "root of 31 bytes": f"log.example/x\n7\n{b64encode(bytes(31))}\n",
    "root of 33 bytes": f"log.example/x\n7\n{b64encode(bytes(33))}\n",
    "root in hexadecimal": f"log.example/x\n7\n{HEAD.root.hex()}\n",
    "root without padding": f"log.example/x\n7\n{ROOT[:-1]}\n",
    "lines swapped": f"7\nlog.example/x\n{ROOT}\n",
}


@pytest.mark.parametrize("name", NOT_CHECKPOINTS)
def test_near_checkpoint_is_malformed(name: str) -> None:
    with pytest.raises(Malformed):
        parse_checkpoint(NOT_CHECKPOINTS[name])


def test_checkpoint_of_another_log_or_signed_by_nobody_known_is_refuted() -> None:
    note = format_note(TEXT, [LOG.sign(TEXT), WITNESS.sign(TEXT, 5)])
    assert open_checkpoint(note, LOG.vkey, [WITNESS.vkey])[0] == HEAD
    other = Ed25519Signer("log.example/y", Ed25519PrivateKey(b"\x01" * 32))
    with pytest.raises(Refuted, match="is of the log log.example/x, not of log.example/y"):
        open_checkpoint(note, other.vkey)
    with pytest.raises(BadSignature, match="not signed by the log's key"):
        open_checkpoint(format_note(TEXT, [WITNESS.sign(TEXT, 5)]), LOG.vkey, [WITNESS.vkey])
    with pytest.raises(BadSignature, match="no signature by a known key"):
        open_checkpoint(format_note(TEXT, [WITNESS.sign(TEXT, 5)]), LOG.vkey)


def test_ml_dsa_message_has_the_layout_of_tlog_cosignature() -> None:
    message = subtree_message("w", 1, "log", 2, b"r" * 32)
    assert (
        message
        == b"subtree/v1\n\0" + b"\x01w" + bytes(7) + b"\x01" + b"\x03log" + bytes(15) + b"\x02" + b"r" * 32
    )


PROOF = format_tlog_proof(5, [bytes(32), b"\x01" * 32], b"log\n", b"")
NOT_PROOFS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(64),
    "first line missing": PROOF.partition(b"\n")[2],
    "version 2": PROOF.replace(b"@v1", b"@v2"),
    "space after the first line": PROOF.replace(b"@v1", b"@v1 "),
    "carriage returns": PROOF.replace(b"\n", b"\r\n"),
    "extra twice": PROOF.replace(b"extra \n", b"extra \nextra \n"),
    "extra without space": PROOF.replace(b"extra ", b"extra"),
    "extra in capitals": PROOF.replace(b"extra", b"Extra"),
    "extra not canonical": PROOF.replace(b"extra ", b"extra QR=="),
    "index missing": PROOF.replace(b"index 5\n", b""),
    "index twice": PROOF.replace(b"index 5\n", b"index 5\nindex 5\n"),
    "index empty": PROOF.replace(b"index 5", b"index "),
    "index 05": PROOF.replace(b"index 5", b"index 05"),
    "index with two spaces": PROOF.replace(b"index 5", b"index  5"),
    "index 2^63": PROOF.replace(b"index 5", b"index 9223372036854775808"),
    "index after the hashes": PROOF.replace(b"index 5\n", b"").replace(b"\n\n", b"\nindex 5\n\n"),
    "hash of 31 bytes": PROOF.replace(b64encode(bytes(32)).encode(), b64encode(bytes(31)).encode()),
    "hash without padding": PROOF.replace(b"AAA=\n", b"AAA\n"),
    "not ASCII": PROOF.replace(b"extra ", b"extra \xc3\xa9"),
    "no empty line": PROOF.replace(b"\n\n", b"\n"),
    "64 hashes": format_tlog_proof(5, [bytes(32)] * 64, b"log\n"),
    "more than 2 MiB": PROOF + bytes(2 << 20),
}


@pytest.mark.parametrize("name", NOT_PROOFS)
def test_near_proof_file_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="^receipt proof"):
        parse_tlog_proof(NOT_PROOFS[name], "receipt proof")
