"""note.json: verifier keys and signed notes."""

import base64
import re
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import ED25519, MLDSA44, Ed25519Signer, format_note, open_note, parse_note, parse_vkey

VECTORS = load("note.json")


SIGNERS = [
    Ed25519Signer(key["name"], Ed25519PrivateKey(bytes.fromhex(key["seed"])))
    for key in VECTORS["keys"]
    if key["type"] == ED25519
]


@pytest.mark.parametrize("case", cases(VECTORS, "keys"))
def test_public_key_of_a_seed_is_that_of_a_vkey(case: dict[str, Any]) -> None:
    seed = bytes.fromhex(case["seed"])
    key = MLDSA44PrivateKey(seed) if case["type"] == MLDSA44 else Ed25519PrivateKey(seed)
    assert key.public.hex() in {vkey["public_key"] for vkey in VECTORS["vkeys"]}


@pytest.mark.parametrize("case", cases(VECTORS, "vkeys"))
def test_vkey_is_taken_apart_and_written_back(case: dict[str, Any]) -> None:
    vkey = parse_vkey(case["vkey"])
    assert (vkey.name, vkey.kind, vkey.key.hex()) == (case["key_name"], case["type"], case["public_key"])
    assert vkey.key_id.hex() == case["key_id"]
    assert vkey.text == case["vkey"]


@pytest.mark.parametrize("case", cases(VECTORS, "vkeys_refused"))
def test_unsound_vkey_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_vkey(case["vkey"])


@pytest.mark.parametrize("case", cases(VECTORS, "notes"))
def test_note_opens_with_its_text_and_good_signatures(case: dict[str, Any]) -> None:
    data = case["note"].encode()
    text, good = open_note(data, [parse_vkey(vkey) for vkey in case["vkeys"]])
    assert text == case["text"]
    found = {(signature.vkey.name, signature.vkey.key_id.hex()) for signature in good}
    assert found == {(name, key_id) for name, key_id, *_ in case["good"]}
    assert format_note(*_apart(data)) == data


def _apart(data: bytes) -> tuple[str, Any]:
    note = parse_note(data)
    return note.text, note.lines


def test_ed25519_signatures_are_those_of_the_vectors() -> None:
    again = 0
    for case in VECTORS["notes"]:
        good = {(name, key_id) for name, key_id in case["good"]}
        for line in parse_note(case["note"].encode()).lines:
            for signer in SIGNERS:
                known = (line.name, line.key_id) == (signer.vkey.name, signer.vkey.key_id)
                if known and (line.name, line.key_id.hex()) in good:
                    assert signer.sign(case["text"]) == line
                    again += 1
    assert again, "no note is signed by any of the keys"


@pytest.mark.parametrize("case", cases(VECTORS, "notes_refused"))
def test_damaged_note_is_refused(case: dict[str, Any]) -> None:
    if "note" in case:
        data = case["note"].encode()
    elif "note_base64" in case:
        data = base64.b64decode(case["note_base64"])
    else:
        # Too long to stand in the file: the letter a 1048576 times, then two newlines, then a good signature …
        said = re.match(
            r"the letter (.) (\d+) times, then two newlines, then a good signature", case["note_is"]
        )
        assert said, f"this test cannot make {case['note_is']}"
        text = said[1] * int(said[2]) + "\n"
        known = {parse_vkey(vkey) for vkey in case["vkeys"]}
        signer = next(signer for signer in SIGNERS if signer.vkey in known)
        data = f"{text}\n{signer.sign(text).text}".encode()
    with pytest.raises(GlassbookError):
        open_note(data, [parse_vkey(vkey) for vkey in case["vkeys"]])
