"""A C2SP witness in memory, on a real socket, that does whatever a test asks of it.

    with MisbehavingWitness("witness.example/w2") as witness:
        witness.url, witness.vkey         it keeps the protocol, as long as nothing else is said
        witness.behave = refuse(422)      what it does with the next requests
        witness.requests                  what it was sent

A behaviour is a function of the request and the honest answer; it gives the answer to send, or sends one itself.
Written against C2SP tlog-witness and tlog-cosignature with the tests' own tree, not with the code it tests.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from ledger.core.encoding import b64decode
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.merkle import check_consistency
from ledger.core.note import (
    CosignatureSigner,
    Ed25519Signer,
    MLDSASigner,
    SignatureLine,
    VerifierKey,
    parse_note,
)

SIZE_TYPE = "text/x.tlog.size"
Signer = CosignatureSigner | MLDSASigner


@dataclass(frozen=True)
class Answer:
    """What goes back: a status, a body and headers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What came in, taken apart: the checkpoint's text, size and root, and the whole body."""

    witness: MisbehavingWitness
    body: bytes
    old: int
    proof: list[bytes]
    text: str
    signers: tuple[str, ...]
    connection: socket.socket

    @property
    def size(self) -> int:
        return int(self.text.split("\n")[1])

    @property
    def root(self) -> bytes:
        return b64decode(self.text.split("\n")[2], "root")

    def cosign(self, timestamp: int | None = None, text: str | None = None, *signers: Signer) -> bytes:
        """Signature lines: by this witness's keys on this checkpoint now, unless something else is said."""
        at = self.witness.clock() if timestamp is None else timestamp
        lines = [signer.sign(text or self.text, int(at)) for signer in signers or self.witness.signers]
        return "".join(line.text for line in lines).encode()


Behaviour = Callable[[Request, Answer], Answer | None]


def honest(_request: Request, answer: Answer) -> Answer:
    """As the protocol has it."""
    return answer


class MisbehavingWitness:
    """One witness: an Ed25519 key, and with `mldsa` an ML-DSA-44 key of the same name as well."""

    def __init__(self, name: str, clock: Callable[[], float], seed: int = 0x60, mldsa: bool = False) -> None:
        self.clock = clock
        self.signers: list[Signer] = [
            CosignatureSigner(name, Ed25519PrivateKey.from_seed(bytes([seed]) * 32))
        ]
        if mldsa:
            self.signers.append(MLDSASigner(name, MLDSA44PrivateKey.from_seed32(bytes([seed + 1]) * 32)))
        self.behave: Behaviour = honest
        self.requests: list[Request] = []
        self.cosigned: list[int] = []
        self.size, self.root = 0, b""
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._port = 0
        self.start()

    @property
    def vkeys(self) -> list[VerifierKey]:
        return [signer.vkey for signer in self.signers]

    @property
    def vkey(self) -> VerifierKey:
        return self.signers[0].vkey

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/prefix"

    def start(self) -> None:
        """Listen; the second time at the same address."""
        self.released.clear()
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.witness = self
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def honest_answer(self, request: Request) -> Answer:
        """What a good witness answers, and remembers."""
        with self._lock:
            if request.old != self.size:
                return Answer(409, f"{self.size}\n".encode(), {"Content-Type": SIZE_TYPE})
            if request.size == self.size and request.root != self.root:
                return Answer(409, b"the log has forked\n")
            if 0 < self.size < request.size:
                check_consistency(self.size, request.size, self.root, request.root, request.proof)
            else:
                assert not request.proof
            self.size, self.root = request.size, request.root
            self.cosigned.append(self.size)
        return Answer(200, request.cosign())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    witness: MisbehavingWitness

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert self.path == "/prefix/add-checkpoint"
        witness = self.server.witness
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head, _, note = body.partition(b"\n\n")
        first, *proof = head.decode().split("\n")
        parsed = parse_note(note)
        request = Request(
            witness,
            body,
            int(first.removeprefix("old ")),
            [b64decode(line, "proof") for line in proof],
            parsed.text,
            tuple(line.name for line in parsed.lines),
            self.connection,
        )
        witness.requests.append(request)
        lying = witness.behave is not honest
        before = (witness.size, witness.root)
        answer = witness.behave(request, witness.honest_answer(request))
        if answer is None:
            self.close_connection = True
            return
        if lying and answer.status != 200:
            witness.size, witness.root = before  # it did not cosign, so it does not remember
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        return


# -- behaviours ----------------------------------------------------------------------------------------


def refuse(status: int, body: bytes = b"no\n", **headers: str) -> Behaviour:
    """Answer with this status; names of headers with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _request, _answer: Answer(status, body, named)


def say_size(*sizes: int, status: int = 409) -> Behaviour:
    """Name these sizes in turn, the last one for ever."""
    left = list(sizes)

    def behave(_request: Request, _answer: Answer) -> Answer:
        size = left.pop(0) if len(left) > 1 else left[0]
        return Answer(status, f"{size}\n".encode(), {"Content-Type": SIZE_TYPE})

    return behave


def answer_with(body: Callable[[Request], bytes]) -> Behaviour:
    """Answer 200 with this instead of the honest lines."""
    return lambda request, _answer: Answer(200, body(request))


def at_date(seconds: float, now: float) -> str:
    """A Retry-After that names a moment (RFC 9110 §5.6.7)."""
    return formatdate(now + seconds, usegmt=True)


def late(seconds: float) -> Behaviour:
    """The honest answer, after a while."""

    def behave(_request: Request, answer: Answer) -> Answer:
        time.sleep(seconds)
        return answer

    return behave


def never(request: Request, _answer: Answer) -> None:
    """No answer at all."""
    request.witness.released.wait(20)


def hang_up(request: Request, _answer: Answer) -> None:
    """Close the connection instead of answering."""
    request.connection.shutdown(socket.SHUT_RDWR)


def dribble(pieces: Sequence[bytes], every: float = 0.05) -> Behaviour:
    """Send these pieces, the last one again and again, slowly and without end."""

    def behave(request: Request, _answer: Answer) -> None:
        left = list(pieces)
        while not request.witness.released.wait(every):
            try:
                request.connection.sendall(left.pop(0) if len(left) > 1 else left[0])
            except OSError:
                return

    return behave


def stranger(name: str, seed: int = 0x7A) -> CosignatureSigner:
    """A key that nobody knows."""
    return CosignatureSigner(name, Ed25519PrivateKey.from_seed(bytes([seed]) * 32))


def as_log(name: str, seed: int = 0x60) -> Callable[[str], SignatureLine]:
    """The witness's own key, used as a log's: not a cosignature."""
    return Ed25519Signer(name, Ed25519PrivateKey.from_seed(bytes([seed]) * 32)).sign
