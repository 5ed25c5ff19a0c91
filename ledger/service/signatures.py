"""Many Ed25519 signatures at once, checked and made in processes of their own.

Signatures are two thirds of the work of taking entries in.  Threads would do it side by side, but each
needs the interpreter's lock before and after every signature and waits for it while another thread reads a body;
a process does not.  Each thread that asks has one, started when it first asks for many:

    check     parent → child   u32 length ‖ "c" ‖ jobs, each: key[32] ‖ signature[64] ‖ u16 length ‖ message
              child → parent   one byte a job, 1 for good
    promise   parent → child   u32 length ‖ "p" ‖ ledger key's seed[32] ‖ lp(origin) ‖ leaf[32] ‖ u64 accepted …
              child → parent   u32 length ‖ promises (docs/formats.md §6), a newline between two

A child ends when its parent does, whichever way that is: it reads the end of its input.  If a child dies, its
thread does the work itself and starts another one next time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct
from typing import BinaryIO

from ledger.core.encoding import Reader, lp
from ledger.core.keys import Ed25519PrivateKey, SigningKey, verify_ed25519
from ledger.core.promise import PromiseSigner

Job = tuple[bytes, bytes, bytes]
"""Key, signature and message."""

ToPromise = tuple[bytes, int]
"""Leaf hash, and when the entry was accepted (Unix seconds)."""

FEW = 64  # below this many the way to another process costs more than it saves
_LENGTH = Struct(">I")
_HEAD = Struct(">32s64sH")
_PROMISE = Struct(">32sQ")
_CHECK, _MAKE = b"c", b"p"


def verify_here(jobs: Sequence[Job]) -> list[bool]:
    """Whether each signature is good, in this thread."""
    return [verify_ed25519(key, signature, message) for key, signature, message in jobs]


class Signatures:
    """Checks and makes signatures for the threads of this process."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._children: list[subprocess.Popen[bytes]] = []

    def verify(self, jobs: Sequence[Job]) -> Sequence[bool | int]:
        """Whether each signature is good; true values for those that are."""
        if len(jobs) < FEW:
            return verify_here(jobs)
        data = b"".join([part for job in jobs for part in (_HEAD.pack(job[0], job[1], len(job[2])), job[2])])
        found = self._ask(_CHECK + data, len(jobs))
        if len(found) != len(jobs):
            self._local.child = None
            return verify_here(jobs)
        return found

    def promise(self, origin: str, key: SigningKey, asked: Sequence[ToPromise]) -> list[bytes]:
        """The promises of these, in order.  A key in a token signs here: only its own process is logged in."""
        if not isinstance(key, Ed25519PrivateKey):
            own = PromiseSigner(origin, key)
            return [own.sign(leaf, accepted) for leaf, accepted in asked]
        if len(asked) >= FEW:
            items = b"".join([_PROMISE.pack(leaf, accepted) for leaf, accepted in asked])
            found = self._ask(_MAKE + key.seed + lp(origin.encode()) + items, None).split(b"\n")
            if len(found) == len(asked):
                return found
            self._local.child = None
        signer = _signer(origin, key.seed)
        return [signer.sign(leaf, accepted) for leaf, accepted in asked]

    def _ask(self, request: bytes, length: int | None) -> bytes:
        """A child's answer, of so many bytes or as many as it says; nothing when it has died."""
        try:
            child = self._child()
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(_LENGTH.pack(len(request)) + request)
            child.stdin.flush()
            if length is None:
                head = child.stdout.read(_LENGTH.size)
                if len(head) < _LENGTH.size:
                    return b""
                (length,) = _LENGTH.unpack(head)
            answer = child.stdout.read(length)
        except OSError:
            return b""
        return answer if len(answer) == length else b""

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            assert child.stdin is not None and child.stdout is not None
            try:
                child.stdin.close()
            except OSError:
                child.kill()
            child.wait()
            child.stdout.close()

    def _child(self) -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] | None = getattr(self._local, "child", None)
        if child is None:
            child = subprocess.Popen(
                [sys.executable, "-c", "from ledger.service.signatures import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._children.append(child)
            self._local.child = child
        return child


def serve() -> None:
    """What a child does until its input ends."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C at a terminal is for the parent, which then ends this
    # Not sys.stdout.buffer: with PYTHONUNBUFFERED, as many container images set it, that has no buffer, and a write cut
    # short by a signal (the process was stopped, and goes on) would lose the rest of an answer.
    with open(sys.stdout.fileno(), "wb", closefd=False) as sink:
        while answer_stream(sys.stdin.buffer, sink):
            pass


def answer_stream(source: BinaryIO, sink: BinaryIO) -> bool:
    """Answer one request; False at the end of the input."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return False
    (length,) = _LENGTH.unpack(head)
    data = source.read(length)
    if len(data) < length:
        return False
    if data[:1] == _MAKE:
        promises = _promises(data)
        sink.write(_LENGTH.pack(len(promises)) + promises)
    else:
        sink.write(_checked(data))
    sink.flush()
    return True


def _checked(data: bytes) -> bytes:
    found = bytearray()
    at = 1
    while at < len(data):
        key, signature, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        found.append(verify_ed25519(key, signature, data[at - length : at]))
    return bytes(found)


@lru_cache(maxsize=1)
def _signer(origin: str, seed: bytes) -> PromiseSigner:
    return PromiseSigner(origin, Ed25519PrivateKey(seed))


def _promises(data: bytes) -> bytes:
    reader = Reader(data, "promises")
    reader.take(1)
    seed = reader.take(32)
    signer = _signer(reader.take(reader.u8()).decode(), seed)
    items = _PROMISE.iter_unpack(data[reader.offset :])
    return b"\n".join([signer.sign(leaf, accepted) for leaf, accepted in items])
