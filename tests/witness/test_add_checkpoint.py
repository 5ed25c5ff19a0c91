"""C2SP tlog-witness, `add-checkpoint`, over real sockets: what is cosigned and what is not."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit

import pytest
from handmade import NOW, HandmadeLog, RunningWitness
from oracle import proof

from ledger.core.encoding import b64encode
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.note import Ed25519Signer, parse_lines, parse_note, verify_line
from verifier_cli.submission import MAX_BODY


def test_cosigns_a_log_that_only_grows(witness: RunningWitness, log: HandmadeLog) -> None:
    old = 0
    for size in (2, 3, 7, 8, 64, 70):
        answer = witness.post(log.body(old, size))
        assert answer.status_code == 200, answer.text
        (line,) = parse_lines(answer.content)
        text = parse_note(log.note(size)).text
        assert verify_line(witness.file.vkeys[0], text, line) == NOW
        old = size
    assert witness.file.vkeys[0].kind == 4


def test_the_same_size_is_cosigned_again_with_the_new_time(witness: RunningWitness, log: HandmadeLog) -> None:
    assert witness.post(log.body(0, 5)).status_code == 200
    witness.now = NOW + 300
    (line,) = parse_lines(witness.post(log.body(5, 5)).content)
    assert verify_line(witness.file.vkeys[0], parse_note(log.note(5)).text, line) == NOW + 300


@pytest.mark.parametrize("old", [0, 4, 6])
def test_another_old_size_is_answered_with_the_size_seen(
    witness: RunningWitness, log: HandmadeLog, old: int
) -> None:
    assert witness.post(log.body(0, 5)).status_code == 200
    answer = witness.post(log.body(old, 9))
    assert (answer.status_code, answer.text) == (409, "5\n")
    assert answer.headers["content-type"] == "text/x.tlog.size"
    assert witness.file.seen(log.origin).size == 5


def test_an_earlier_checkpoint_never_rolls_the_witness_back(
    witness: RunningWitness, log: HandmadeLog
) -> None:
    assert witness.post(log.body(0, 9)).status_code == 200
    assert witness.post(log.body(0, 5)).status_code == 409
    assert witness.post(log.body(9, 5)).status_code == 400  # old above the checkpoint's size
    assert witness.file.seen(log.origin).size == 9


def test_a_fork_of_the_same_size_is_not_cosigned(witness: RunningWitness, log: HandmadeLog) -> None:
    other = HandmadeLog(salt=b"other")
    assert witness.post(log.body(0, 5)).status_code == 200
    answer = witness.post(other.body(5, 5))
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_fork_of_another_size_is_not_cosigned(witness: RunningWitness, log: HandmadeLog) -> None:
    other = HandmadeLog(salt=b"other")
    assert witness.post(log.body(0, 5)).status_code == 200
    assert witness.post(other.body(5, 9)).status_code == 422
    assert witness.file.seen(log.origin).size == 5


def test_every_altered_proof_is_refused(witness: RunningWitness, log: HandmadeLog) -> None:
    assert witness.post(log.body(0, 5)).status_code == 200
    hashes = proof(5, log.leaves[:23])

    def with_proof(given: list[bytes]) -> bytes:
        return ("old 5\n" + "".join(f"{b64encode(h)}\n" for h in given) + "\n").encode() + log.note(23)

    for at in range(len(hashes)):
        flipped = bytes((hashes[at][0] ^ 1,)) + hashes[at][1:]
        assert witness.post(with_proof([*hashes[:at], flipped, *hashes[at + 1 :]])).status_code == 422
        assert witness.post(with_proof([*hashes[:at], *hashes[at + 1 :]])).status_code == 422
    assert witness.post(with_proof([*hashes, bytes(32)])).status_code == 422
    assert witness.post(with_proof(hashes)).status_code == 200


def test_a_proof_where_none_is_needed_is_refused(witness: RunningWitness, log: HandmadeLog) -> None:
    line = f"{b64encode(bytes(32))}\n\n".encode()
    assert witness.post(b"old 0\n" + line + log.note(5)).status_code == 422
    assert witness.post(log.body(0, 5)).status_code == 200
    assert witness.post(b"old 5\n" + line + log.note(5)).status_code == 422


def test_an_unknown_log_is_not_cosigned(witness: RunningWitness) -> None:
    assert witness.post(HandmadeLog("other.example/log").body(0, 5)).status_code == 404


def test_a_checkpoint_not_signed_by_the_log_is_not_cosigned(
    witness: RunningWitness, log: HandmadeLog
) -> None:
    thief = HandmadeLog()
    thief.ed25519 = Ed25519Signer(log.origin, Ed25519PrivateKey.from_seed(b"\x01" * 32))
    assert witness.post(thief.body(0, 5)).status_code == 403
    good = log.note(5).decode().split("\n")
    line = next(at for at, text in enumerate(good) if text.startswith("—"))
    name, blob = good[line].rsplit(" ", 1)
    good[line] = f"{name} {blob[:20]}{'B' if blob[20] == 'A' else 'A'}{blob[21:]}"
    assert witness.post(b"old 0\n\n" + "\n".join(good).encode()).status_code == 403
    assert witness.file.seen(log.origin).size == 0


@pytest.mark.parametrize(
    "head",
    [
        "",
        "old 5",
        "old 05\n\n",
        "old +5\n\n",
        "old  5\n\n",
        "old -0\n\n",
        "old 5 \n\n",
        "Old 5\n\n",
        "old 9223372036854775808\n\n",
        "old 0\nAAAA\n\n",
        "old 0\n*\n\n",
        "old 0\n" + f"{b64encode(bytes(32))}\n" * 64 + "\n",
        "old 0\r\n\n",
        "old ٥\n\n",
    ],
)
def test_a_head_that_is_not_in_the_format_is_malformed(
    witness: RunningWitness, log: HandmadeLog, head: str
) -> None:
    assert witness.post(head.encode() + log.note(5)).status_code == 400


@pytest.mark.parametrize("note", [b"", b"\n", b"no note", b"\0" * 100, b"x\n1\nAAAA\n\n"])
def test_a_checkpoint_that_is_none_is_malformed(witness: RunningWitness, note: bytes) -> None:
    assert witness.post(b"old 0\n\n" + note).status_code == 400


def test_a_body_too_long_is_not_read(witness: RunningWitness) -> None:
    assert witness.post(b"old 0\n" + b"A" * MAX_BODY).status_code == 413


def test_signatures_of_others_are_ignored(witness: RunningWitness, log: HandmadeLog) -> None:
    stranger = "— stranger.example/x AAAAAAAA\n".encode()
    assert witness.post(b"old 0\n\n" + log.note(5) + stranger).status_code == 200


def test_a_witness_whose_clock_went_back_cosigns_nothing(witness: RunningWitness, log: HandmadeLog) -> None:
    assert witness.post(log.body(0, 5)).status_code == 200
    witness.now = NOW - 1
    assert witness.post(log.body(5, 9)).status_code == 503
    witness.now = NOW
    assert witness.post(log.body(5, 9)).status_code == 200


def test_many_at_once_leave_one_line_of_history(witness: RunningWitness, log: HandmadeLog) -> None:
    assert witness.post(log.body(0, 2)).status_code == 200
    answers: list[tuple[int, int]] = []

    def submit(size: int) -> None:
        with socket.create_connection((urlsplit(witness.url).hostname, urlsplit(witness.url).port)) as s:
            body = log.body(2, size)
            s.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\n")
            s.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answers.append((int(s.makefile("rb").readline().split()[1]), size))

    threads = [threading.Thread(target=submit, args=(size,)) for size in range(3, 19)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = [size for status, size in answers if status == 200]
    assert len(taken) == 1 and {status for status, _ in answers} == {200, 409}
    assert witness.file.seen(log.origin).size == taken[0]


def test_a_request_that_never_ends_does_not_hold_up_others(witness: RunningWitness, log: HandmadeLog) -> None:
    with socket.create_connection((urlsplit(witness.url).hostname, urlsplit(witness.url).port)) as slow:
        slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold 0")
        assert witness.post(log.body(0, 5)).status_code == 200
