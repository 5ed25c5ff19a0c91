"""The thin client of C2SP tlog-witness against witnesses that answer anything but a good cosignature."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import oracle
import pytest
from smalllog import ED25519, MLDSA, NOW, ORIGIN

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64decode
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import check_consistency
from ledger.core.note import CosignatureSigner, Ed25519Signer, SignatureLine, parse_note
from publisher.signing import LogSigner
from publisher.witnesses import Cosignature, Witness, Witnesses

LEAVES = [bytes((n,)) for n in range(40)]
SIGNER = CosignatureSigner("witness.example/w1", Ed25519PrivateKey.from_seed(b"\x09" * 32))
Reply = tuple[int, str, bytes]


class ScriptedWitness:
    """An HTTP server that answers as a test says and keeps what it was sent."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.reply: Callable[[bytes], Reply] = lambda _: (500, "text/plain", b"")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append(body)
                status, kind, content = outer.reply(body)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/prefix/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Asker:
    """One log that asks one witness."""

    def __init__(self, scripted: ScriptedWitness) -> None:
        self.scripted = scripted
        self.witness = Witness("W1", SIGNER.vkey, scripted.url)
        self.witnesses = Witnesses([self.witness])

    def collect(self, size: int = 20) -> dict[str, Cosignature]:
        checkpoint = Checkpoint(ORIGIN, size, oracle.mth(LEAVES[:size]))
        signed = LogSigner(ORIGIN, ED25519, MLDSA).sign(checkpoint, NOW)
        return self.witnesses.collect(
            checkpoint,
            signed.lines,
            lambda old: oracle.proof(old, LEAVES[:size]),
            NOW,
            {},
            lambda found: bool(found),
        )

    def why(self) -> str:
        (missing,) = self.witnesses.missing()
        return str(missing)


@pytest.fixture
def asker() -> Iterator[Asker]:
    scripted = ScriptedWitness()
    asker = Asker(scripted)
    yield asker
    asker.witnesses.close()
    scripted.close()


def cosign(body: bytes, timestamp: int = NOW, signer: CosignatureSigner = SIGNER) -> bytes:
    text = parse_note(body.partition(b"\n\n")[2]).text
    return signer.sign(text, timestamp).text.encode()


def test_only_the_logs_own_signatures_are_sent(asker: Asker) -> None:
    asker.scripted.reply = lambda body: (200, "text/plain", cosign(body))
    assert list(asker.collect()) == ["W1"]
    (body,) = asker.scripted.received
    head, _, note = body.partition(b"\n\n")
    assert head == b"old 0"
    assert [line.name for line in parse_note(note).lines] == [ORIGIN, ORIGIN]


def test_the_size_a_witness_names_is_proved_from(asker: Asker) -> None:
    def reply(body: bytes) -> Reply:
        if body.startswith(b"old 7\n"):
            return 200, "text/plain", cosign(body)
        return 409, "text/x.tlog.size", b"7\n"

    asker.scripted.reply = reply
    assert list(asker.collect()) == ["W1"]
    head = asker.scripted.received[1].partition(b"\n\n")[0].decode().split("\n")
    proof = [b64decode(line, "line") for line in head[1:]]
    check_consistency(7, 20, oracle.mth(LEAVES[:7]), oracle.mth(LEAVES[:20]), proof)
    asker.scripted.received.clear()
    asker.scripted.reply = lambda body: (200, "text/plain", cosign(body))
    asker.collect(30)
    assert asker.scripted.received[0].startswith(b"old 20\n"), "the next proof starts where it stands now"


def test_lines_by_other_keys_are_ignored(asker: Asker) -> None:
    stranger = CosignatureSigner("witness.example/w2", Ed25519PrivateKey.from_seed(b"\x08" * 32))
    junk = SignatureLine("junk.example", b"abcd", b"x" * 72).text.encode()
    asker.scripted.reply = lambda body: (200, "text/plain", junk + cosign(body, NOW, stranger) + cosign(body))
    found = asker.collect()["W1"]
    assert found.line.name == "witness.example/w1" and found.timestamp == NOW


LOG_LINE = Ed25519Signer("witness.example/w1", Ed25519PrivateKey.from_seed(b"\x09" * 32))
BAD_ANSWERS: dict[str, tuple[Callable[[bytes], Reply], str]] = {
    "an error": (lambda _: (500, "text/plain", b"out of disk\n"), "answered 500: 'out of disk'"),
    "an error with control characters": (lambda _: (403, "text/plain", b"\x1b[2J"), "answered 403"),
    "a redirect": (lambda _: (307, "text/plain", b""), "answered 307"),
    "nothing": (lambda _: (200, "text/plain", b""), "not a good cosignature"),
    "no text": (lambda _: (200, "text/plain", b"\xff\xfe"), "not a good cosignature"),
    "too much": (lambda _: (200, "text/plain", b"x" * 100_000), "too long"),
    "the signature of another key": (
        lambda body: (
            200,
            "text/plain",
            cosign(body, NOW, CosignatureSigner("witness.example/w1", Ed25519PrivateKey.generate())),
        ),
        "no cosignature by the key",
    ),
    "a signature of another type": (
        lambda body: (200, "text/plain", LOG_LINE.sign(parse_note(body.partition(b"\n\n")[2]).text).text.encode()),
        "no cosignature by the key",
    ),
    "a signature on something else": (
        lambda _: (200, "text/plain", SIGNER.sign("other.example/log\n1\nAAAA\n", NOW).text.encode()),
        "bad signature",
    ),
    "a cosignature without time": (lambda body: (200, "text/plain", cosign(body, 0)), "no timestamp"),
    "a cosignature of yesterday": (lambda body: (200, "text/plain", cosign(body, NOW - 86_400)), "86400 s apart"),
    "a cosignature of tomorrow": (lambda body: (200, "text/plain", cosign(body, NOW + 86_400)), "86400 s apart"),
    "a conflict without a size": (lambda _: (409, "text/plain", b"the log has forked"), "the log has forked"),
    "a size that is none": (lambda _: (409, "text/x.tlog.size", b"+7\n"), "without a size"),
    "a size above the log's": (lambda _: (409, "text/x.tlog.size", b"21\n"), "at size 21, above 20"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_is_no_cosignature_is_reported_and_not_used(asker: Asker, name: str) -> None:
    asker.scripted.reply, why = BAD_ANSWERS[name]
    assert asker.collect() == {}
    assert why in asker.why() and "\x1b" not in asker.why()


def test_a_witness_that_names_another_size_each_time_is_not_asked_for_ever(asker: Asker) -> None:
    sizes = iter(range(1, 100))
    asker.scripted.reply = lambda _: (409, "text/x.tlog.size", b"%d\n" % next(sizes))
    assert asker.collect() == {}
    assert len(asker.scripted.received) == 2 and "another size each time" in asker.why()


def test_a_witness_that_hangs_does_not_hold_up_one_that_answers(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(_: bytes) -> Reply:
        released.wait(10)
        return 500, "text/plain", b""

    asker.scripted.reply = hang
    other = ScriptedWitness()
    other.reply = lambda body: (200, "text/plain", cosign(body))
    asker.witnesses = Witnesses([asker.witness, Witness("W2", SIGNER.vkey, other.url)])
    before = time.monotonic()
    assert list(asker.collect()) == ["W2"]
    assert time.monotonic() - before < 3
    released.set()
    other.close()


def test_a_witness_that_fails_is_left_alone_for_a_moment_and_then_asked_again(asker: Asker) -> None:
    asker.collect()
    asker.collect()
    assert len(asker.scripted.received) == 1
    assert asker.witnesses.all_resting()
    time.sleep(0.3)
    assert not asker.witnesses.all_resting()
    asker.scripted.reply = lambda body: (200, "text/plain", cosign(body))
    assert list(asker.collect()) == ["W1"]
    assert asker.witnesses.missing() == []


def test_a_url_that_leads_nowhere_is_named(asker: Asker) -> None:
    asker.witness.url = "http://127.0.0.1:1/w"
    assert asker.collect() == {}
    assert "cannot be reached at http://127.0.0.1:1/w/add-checkpoint" in asker.why()
