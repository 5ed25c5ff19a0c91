"""What may be sent to a witness, over a real socket: each is answered as C2SP tlog-witness says, and none cosigned."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from handmade import NOW, HandmadeLog, RunningWitness
from hypothesis import given
from hypothesis import strategies as st
from oracle import proof

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64encode
from ledger.core.errors import Malformed
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.merkle import EMPTY_ROOT
from ledger.core.note import (
    MAX_NOTE_BYTES,
    CosignatureSigner,
    Ed25519Signer,
    MLDSASigner,
    SignatureLine,
    format_note,
    parse_note,
)
from verifier_cli import witness as serving
from verifier_cli.submission import MAX_BODY, parse_submission

LOG = HandmadeLog()
ROOT = b64encode(bytes(32))


def note(text: str, *more: SignatureLine) -> bytes:
    """Any text under the log's keys."""
    return format_note(text, [LOG.ed25519.sign(text), *more])


def lines(*hashes: bytes) -> str:
    return "".join(f"{b64encode(digest)}\n" for digest in hashes)


def old(size: int, *hashes: bytes) -> bytes:
    return f"old {size}\n{lines(*hashes)}\n".encode()


def text(size: int) -> str:
    return parse_note(LOG.note(size)).text


def twice(size: int) -> bytes:
    """The same line by the log's key two times."""
    one = LOG.ed25519.sign(text(size))
    return format_note(text(size), [one, one])


def junk(count: int) -> list[SignatureLine]:
    return [SignatureLine("stranger.example/x", bytes(4), bytes((n,)) * 64) for n in range(count)]


PROOF_5_9 = proof(5, LOG.leaves[:9])
THIEF = Ed25519Signer(LOG.origin, Ed25519PrivateKey.from_seed(b"\1" * 32))
AS_COSIGNATURE = CosignatureSigner(LOG.origin, Ed25519PrivateKey.from_seed(bytes(32)))

HOSTILE: dict[str, tuple[int, Callable[[], bytes]]] = {
    # Every one is sent to a witness that cosigned size 5.
    "nothing": (400, lambda: b""),
    "an empty line alone": (400, lambda: b"\n\n"),
    "no old line": (400, lambda: LOG.note(9)),
    "no empty line": (400, lambda: b"old 5\n" + lines(*PROOF_5_9).encode()),
    "carriage returns": (400, lambda: old(5, *PROOF_5_9).replace(b"\n", b"\r\n") + LOG.note(9)),
    "a byte order mark": (400, lambda: b"\xef\xbb\xbf" + old(5, *PROOF_5_9) + LOG.note(9)),
    "a number with a plus": (400, lambda: b"old +5\n\n" + LOG.note(5)),
    "a number in other digits": (400, lambda: "old ٥\n\n".encode() + LOG.note(5)),
    "a number with an underscore": (400, lambda: b"old 0_5\n\n" + LOG.note(5)),
    "a size of 2^63": (400, lambda: f"old {2**63}\n\n".encode() + LOG.note(5)),
    "a size of 2^64 in the checkpoint": (400, lambda: old(5) + note(f"{LOG.origin}\n{2**64}\n{ROOT}\n")),
    "a size with a zero in front": (400, lambda: old(5) + note(f"{LOG.origin}\n05\n{ROOT}\n")),
    "64 proof lines": (400, lambda: old(5, *[bytes(32)] * 64) + LOG.note(9)),
    "a hash of 31 bytes": (400, lambda: old(5, bytes(31)) + LOG.note(9)),
    "a hash of 33 bytes": (400, lambda: old(5, bytes(33)) + LOG.note(9)),
    "base64 without padding": (400, lambda: b"old 5\n" + b"A" * 43 + b"\n\n" + LOG.note(9)),
    "base64 with bits to spare": (400, lambda: b"old 5\n" + b"A" * 42 + b"B=\n\n" + LOG.note(9)),
    "base64 for URLs": (400, lambda: b"old 5\n" + b"_" * 43 + b"=\n\n" + LOG.note(9)),
    "a space after the hash": (400, lambda: b"old 5\n" + lines(bytes(32)).encode()[:-1] + b" \n\n" + LOG.note(9)),
    "an extension line": (400, lambda: old(5, *PROOF_5_9) + note(text(9) + "extension\n")),
    "an empty line in the checkpoint": (400, lambda: old(5, *PROOF_5_9) + note(text(9) + "\n")),
    "two lines": (400, lambda: old(5) + note(f"{LOG.origin}\n9\n")),
    "a root of 31 bytes": (400, lambda: old(5) + note(f"{LOG.origin}\n9\n{b64encode(bytes(31))}\n")),
    "an origin with a space": (400, lambda: old(5) + note(f"log example\n9\n{ROOT}\n")),
    "an origin of 256 bytes": (400, lambda: old(5) + note(f"{'l' * 256}\n9\n{ROOT}\n")),
    "no signature line": (400, lambda: old(5) + text(5).encode() + b"\n"),
    "101 signature lines": (400, lambda: old(5) + LOG.note(5) + b"".join(j.text.encode() for j in junk(99))),
    "a note of more than a MiB": (400, lambda: old(5) + LOG.note(5) + b"\xe2\x80\x94 x " + b"A" * MAX_NOTE_BYTES),
    "a line that is no signature": (400, lambda: old(5) + LOG.note(5) + b"and more\n"),
    "bytes after the last newline": (400, lambda: old(5) + LOG.note(5) + b"x"),
    "a control character": (400, lambda: old(5) + LOG.note(5).replace(b"log.", b"log\x01", 1)),
    "no UTF-8": (400, lambda: old(5) + LOG.note(5)[:-1] + b"\xff\n"),
    "one line of the log twice": (400, lambda: old(5) + twice(5)),
    "an old size above the new": (400, lambda: old(9) + LOG.note(5)),
    "another key of the same name": (403, lambda: old(5) + format_note(text(5), [THIEF.sign(text(5))])),
    "the log's key as a cosigner": (403, lambda: old(5) + format_note(text(5), [AS_COSIGNATURE.sign(text(5), NOW)])),
    "the signature of another size": (403, lambda: old(5) + format_note(text(5), [LOG.ed25519.sign(text(9))])),
    "only strangers' signatures": (403, lambda: old(5) + format_note(text(5), junk(3))),
    "a log with another name": (404, lambda: old(0) + HandmadeLog("other.example/log").note(5)),
    "a name that only begins alike": (404, lambda: old(0) + HandmadeLog(LOG.origin + "/x").note(5)),
    "an older checkpoint": (409, lambda: old(0) + LOG.note(2)),
    "a newer one from nothing": (409, lambda: old(0) + LOG.note(9)),
    "a fork of the size seen, from nothing": (409, lambda: old(0) + HandmadeLog(salt=b"fork").note(5)),
    "an empty log": (409, lambda: old(0) + note(Checkpoint(LOG.origin, 0, EMPTY_ROOT).text)),
    "a fork of the size seen": (422, lambda: old(5) + HandmadeLog(salt=b"fork").note(5)),
    "a fork of a larger size": (422, lambda: HandmadeLog(salt=b"fork").body(5, 9)),
    "no proof where one is due": (422, lambda: old(5) + LOG.note(9)),
    "a proof for the same size": (422, lambda: old(5, bytes(32)) + LOG.note(5)),
    "a proof that is too long": (422, lambda: old(5, *PROOF_5_9, bytes(32)) + LOG.note(9)),
    "a proof that is too short": (422, lambda: old(5, *PROOF_5_9[:-1]) + LOG.note(9)),
    "a proof in another order": (422, lambda: old(5, *PROOF_5_9[::-1]) + LOG.note(9)),
    "a proof to another size": (422, lambda: old(5, *proof(5, LOG.leaves[:8])) + LOG.note(9)),
    "63 proof lines": (422, lambda: old(5, *[bytes(32)] * 63) + LOG.note(9)),
    "more than the limit": (413, lambda: old(5) + b"A" * MAX_BODY),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_cosigned_or_answered_otherwise(
    witness: RunningWitness, log: HandmadeLog, name: str
) -> None:
    status, body = HOSTILE[name]
    assert witness.post(log.body(0, 5)).status_code == 200
    answer = witness.post(body())
    assert answer.status_code == status, answer.text
    if status == 409:
        assert (answer.text, answer.headers["content-type"]) == ("5\n", "text/x.tlog.size")
    else:
        assert answer.headers["content-type"].startswith("text/plain") and answer.text.endswith("\n")
    assert witness.file.seen(log.origin).size == 5
    assert witness.post(log.body(5, 9)).status_code == 200


@pytest.mark.parametrize(("size", "root", "status"), [(0, EMPTY_ROOT, 200), (0, bytes(32), 422)])
def test_a_tree_of_size_0_has_the_empty_root_and_no_other(
    witness: RunningWitness, size: int, root: bytes, status: int
) -> None:
    assert witness.post(old(0) + note(Checkpoint(LOG.origin, size, root).text)).status_code == status


def test_a_proof_from_size_0_is_refused(witness: RunningWitness) -> None:
    assert witness.post(old(0, bytes(32)) + LOG.note(5)).status_code == 422


def test_of_two_kinds_of_log_keys_both_must_have_signed(witness: RunningWitness) -> None:
    witness.file.add_log(LOG.mldsa.vkey)
    assert witness.post(old(0) + note(text(5))).status_code == 403
    other = MLDSASigner(LOG.origin, MLDSA44PrivateKey.from_seed32(b"\1" * 32))
    assert witness.post(old(0) + note(text(5), other.sign(text(5), NOW))).status_code == 403
    bad = LOG.mldsa.sign(text(9), NOW)
    assert witness.post(old(0) + note(text(5), bad)).status_code == 403
    assert witness.post(LOG.body(0, 5)).status_code == 200


def test_of_two_keys_of_one_kind_either_will_do(witness: RunningWitness) -> None:
    second = Ed25519Signer(LOG.origin, Ed25519PrivateKey.from_seed(b"\2" * 32))
    witness.file.add_log(second.vkey)
    assert witness.post(LOG.body(0, 5)).status_code == 200
    assert witness.post(old(5, *PROOF_5_9) + format_note(text(9), [second.sign(text(9))])).status_code == 200


def test_strangers_lines_are_ignored_also_when_they_stand_twice(witness: RunningWitness) -> None:
    assert witness.post(old(0) + note(text(5), *junk(2), *junk(2))).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_refused(witness: RunningWitness, method: str) -> None:
    assert witness.client.request(method, f"{witness.url}/add-checkpoint").status_code == 405


@pytest.mark.parametrize(
    "path", ["/", "/add-checkpoint/", "/other", "//add-checkpoint", "/add-checkpoint%00"]
)
def test_there_is_no_other_address(witness: RunningWitness, path: str) -> None:
    answer = witness.client.post(f"{witness.url}{path}", content=LOG.body(0, 5), follow_redirects=False)
    assert answer.status_code in (404, 307)
    assert witness.file.seen(LOG.origin).size == 0


def connection(witness: RunningWitness) -> socket.socket:
    parts = urlsplit(witness.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def status_of(raw: socket.socket) -> int:
    return int(raw.makefile("rb").readline().split()[1])


def test_a_body_without_end_is_not_read_beyond_the_limit(witness: RunningWitness) -> None:
    with connection(witness) as raw:
        raw.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"A" * 0x10000 + b"\r\n"
        try:
            for _ in range(40):
                raw.sendall(chunk)
        except OSError:
            return  # it hung up, as it may
        assert status_of(raw) == 413


def test_a_body_that_does_not_come_in_time_is_dropped(
    witness: RunningWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "BODY_SECONDS", 0.3)
    with connection(witness) as raw:
        raw.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold 5")
        assert status_of(raw) == 408


@pytest.mark.parametrize(
    "raw_request",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: -1\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_does_not_hurt(witness: RunningWitness, raw_request: bytes) -> None:
    with connection(witness) as raw:
        try:
            raw.sendall(raw_request)
            raw.shutdown(socket.SHUT_WR)
            raw.recv(100)
        except OSError:
            pass
    assert witness.post(LOG.body(0, 5)).status_code == 200


def test_a_thousand_idle_checkpoints_leave_the_file_as_large_as_it_was(
    witness: RunningWitness, log: HandmadeLog
) -> None:
    assert witness.post(log.body(0, 5)).status_code == 200
    body = log.body(5, 5)
    before = sum(path.stat().st_size for path in witness.file.path.parent.glob("w.sqlite"))
    began = time.monotonic()
    for _ in range(1_000):
        witness.now += 1
        assert witness.post(body).status_code == 200
    assert sum(path.stat().st_size for path in witness.file.path.parent.glob("w.sqlite")) <= before + 8192
    # SQLite starts its WAL again from the front after 1,000 pages.
    assert sum(path.stat().st_size for path in witness.file.path.parent.glob("w.sqlite-wal")) < 8 << 20
    assert time.monotonic() - began < 120


@given(st.binary(max_size=400))
def test_no_bytes_are_taken_for_a_request_that_would_not_be_written_so(data: bytes) -> None:
    try:
        submission = parse_submission(data)
    except Malformed:
        return
    assert (
        rewritten(submission.old, submission.proof, submission.note.text) == data[: data.rindex(b"\n\n") + 2]
    )


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_a_request_in_the_format_is_taken_as_it_was_meant(
    before: int, hashes: list[bytes], size: int, root: bytes
) -> None:
    checkpoint = Checkpoint(LOG.origin, size, root)
    parsed = parse_submission(old(before, *hashes) + note(checkpoint.text))
    assert (parsed.old, parsed.proof, parsed.checkpoint) == (before, hashes, checkpoint)


VALID = LOG.body(5, 9)


@given(st.integers(0, len(VALID) - 1), st.integers(1, 255))
def test_one_altered_byte_is_malformed_or_means_something_else(at: int, change: int) -> None:
    altered = VALID[:at] + bytes((VALID[at] ^ change,)) + VALID[at + 1 :]
    try:
        parsed = parse_submission(altered)
    except Malformed:
        return
    genuine = parse_submission(VALID)
    assert parsed != genuine
    head = altered[: altered.rindex(b"\n\n") + 2]
    assert rewritten(parsed.old, parsed.proof, parsed.note.text) == head


@given(st.integers(0, len(VALID)))
def test_a_request_cut_short_is_malformed_or_lacks_signatures(at: int) -> None:
    try:
        parsed = parse_submission(VALID[:at])
    except Malformed:
        return
    assert len(parsed.note.lines) < 2 or at == len(VALID)


def rewritten(before: int, hashes: list[bytes], body: str) -> bytes:
    return old(before, *hashes) + body.encode() + b"\n"
