"""note.json: verifier keys and signed notes."""

import base64
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import Ed25519Signer, format_note, open_note, parse_note, parse_vkey

VECTORS = load("note.json")


@pytest.mark.parametrize("case", cases(VECTORS["keys"]))
def test_public_key_of_a_seed_is_that_of_a_vkey(case: dict[str, Any]) -> None:
    seed = bytes.fromhex(case["seed"])
    key = MLDSA44PrivateKey(seed) if case["type"] == 6 else Ed25519PrivateKey(seed)
    assert key.public.hex() in {vkey["public_key"] for vkey in VECTORS["vkeys"]}


@pytest.mark.parametrize("case", cases(VECTORS["vkeys"]))
def test_vkey_is_taken_apart_and_written_back(case: dict[str, Any]) -> None:
    vkey = parse_vkey(case["vkey"])
    assert (vkey.name, vkey.kind, vkey.key.hex()) == (case["key_name"], case["type"], case["public_key"])
    assert vkey.key_id.hex() == case["key_id"]
    assert vkey.text == case["vkey"]


@pytest.mark.parametrize("case", cases(VECTORS["vkeys_refused"]))
def test_unsound_vkey_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_vkey(case["vkey"])


@pytest.mark.parametrize("case", cases(VECTORS["notes"]))
def test_note_opens_with_its_text_and_good_signatures(case: dict[str, Any]) -> None:
    data = case["note"].encode()
    text, good = open_note(data, [parse_vkey(vkey) for vkey in case["vkeys"]])
    assert text == case["text"]
    assert [[signature.vkey.name, signature.vkey.key_id.hex()] for signature in good] == case["good"]
    assert format_note(*_apart(data)) == data


def _apart(data: bytes) -> tuple[str, Any]:
    note = parse_note(data)
    return note.text, note.lines


def test_ed25519_signature_is_the_one_of_the_vectors() -> None:
    given = VECTORS["keys"][0]
    signer = Ed25519Signer(given["name"], Ed25519PrivateKey(bytes.fromhex(given["seed"])))
    case = VECTORS["notes"][0]
    assert format_note(case["text"], [signer.sign(case["text"])]).decode() == case["note"]


@pytest.mark.parametrize("case", cases(VECTORS["notes_refused"]))
def test_damaged_note_is_refused(case: dict[str, Any]) -> None:
    if "note" in case:
        data = case["note"].encode()
    elif "note_base64" in case:
        data = base64.b64decode(case["note_base64"])
    else:
        # Too long to stand in the file: a text of 1 MiB under a signature that would be good.
        given = VECTORS["keys"][0]
        signer = Ed25519Signer(given["name"], Ed25519PrivateKey(bytes.fromhex(given["seed"])))
        text = "a" * 1_048_576 + "\n"
        data = f"{text}\n{signer.sign(text).text}".encode()
    with pytest.raises(GlassbookError):
        open_note(data, [parse_vkey(vkey) for vkey in case["vkeys"]])
