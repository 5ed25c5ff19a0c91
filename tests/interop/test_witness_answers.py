"""Ours and foreign witnesses answer the same requests alike, as C2SP tlog-witness says."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
import pytest
from witnessprograms import LOCAL, NAMES, Witnessed

from ledger.core.note import parse_lines, parse_note, parse_vkey, verify_line


def note_of(witnessed: Witnessed) -> bytes:
    """The newest published checkpoint with the log's own signatures alone, as a log sends it."""
    witnessed.log.size()
    note = parse_note(witnessed.log.notes[-1])
    own = [line.text for line in note.lines if line.name == witnessed.log.settings.origin]
    return (note.text + "\n" + "".join(own)).encode()


def with_another_signature(note: bytes) -> bytes:
    """The same keys' ids, over bytes that they did not sign."""
    text, _, lines = note.decode().rpartition("\n\n")
    changed = []
    for line in lines.splitlines():
        start, _, blob = line.rpartition(" ")
        raw = bytearray(base64.b64decode(blob))
        raw[40] ^= 1
        changed.append(f"{start} {base64.b64encode(raw).decode()}\n")
    return f"{text}\n\n{''.join(changed)}".encode()


Body = Callable[[bytes, int], bytes]
ZERO = base64.b64encode(bytes(32)) + b"\n"
MUST: dict[str, tuple[int, Body]] = {
    "the checkpoint it cosigned last": (200, lambda note, size: b"old %d\n\n" % size + note),
    "nothing seen before": (409, lambda note, size: b"old 0\n\n" + note),
    "another size than it is at": (409, lambda note, size: b"old %d\n" % (size - 1) + ZERO + b"\n" + note),
    "an old size above the new": (400, lambda note, size: b"old %d\n\n" % (size + 1) + note),
    "a log it does not know": (404, lambda note, size: b"old %d\n\nunknown." % size + note),
    "signatures of something else": (
        403,
        lambda note, size: b"old %d\n\n" % size + with_another_signature(note),
    ),
    "no old size": (400, lambda note, size: b"\n" + note),
    "a hash that is cut short": (400, lambda note, size: b"old %d\nAAAA\n\n" % size + note),
    "no checkpoint": (400, lambda note, size: b"old %d\n\n" % size),
}
STRICT: dict[str, tuple[int, Body]] = {
    "64 hashes": (400, lambda note, size: b"old %d\n" % size + 64 * ZERO + b"\n" + note),
    "a size with a zero in front": (400, lambda note, size: b"old 0%d\n\n" % size + note),
}
"""What a client must not send, where the specification does not say what a witness answers."""


@pytest.mark.parametrize("name", NAMES)
def test_a_witness_answers_otherwise(name: str, request: pytest.FixtureRequest) -> None:
    witnessed: Witnessed = request.getfixturevalue("local" if name in LOCAL else name)
    witness = witnessed.witnesses[name]
    note = note_of(witnessed)
    size = witnessed.log.checkpoint().size
    asked_here = MUST | (STRICT if name in LOCAL else {})
    answers = {}
    with httpx.Client(trust_env=False) as client:
        for asked, (_, body) in asked_here.items():
            answers[asked] = client.post(f"{witness.url}/add-checkpoint", content=body(note, size))
    assert {asked: answer.status_code for asked, answer in answers.items()} == {
        asked: status for asked, (status, _) in asked_here.items()
    }
    for answer in answers.values():
        if answer.status_code == 409:
            assert answer.headers["Content-Type"] == "text/x.tlog.size" and answer.text == f"{size}\n"
    vkey = parse_vkey(witness.vkey)
    lines = parse_lines(answers["the checkpoint it cosigned last"].content)
    (line,) = (line for line in lines if (line.name, line.key_id) == (vkey.name, vkey.key_id))
    assert verify_line(vkey, parse_note(note).text, line)
