"""Many Ed25519 signatures at once, in processes of their own.

Checking signatures is two thirds of the work of taking entries in.  Threads would do it side by side, but each
needs the interpreter's lock before and after every signature and waits for it while another thread reads a body;
a process does not.  Each thread that asks has one, started when it first asks for many:

    parent → child   u32 length ‖ jobs, each: key[32] ‖ signature[64] ‖ u16 length ‖ message
    child → parent   one byte a job, 1 for good

A child ends when its parent does, whichever way that is: it reads the end of its input.  If a child dies, its
thread checks the signatures itself and starts another one next time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from struct import Struct
from typing import BinaryIO

from ledger.core.keys import verify_ed25519

Job = tuple[bytes, bytes, bytes]
"""Key, signature and message."""

FEW = 64  # below this many the way to another process costs more than it saves
_LENGTH = Struct(">I")
_HEAD = Struct(">32s64sH")


def verify_here(jobs: Sequence[Job]) -> list[bool]:
    """Whether each signature is good, in this thread."""
    return [verify_ed25519(key, signature, message) for key, signature, message in jobs]


class Verifier:
    """Checks signatures for the threads of this process."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._children: list[subprocess.Popen[bytes]] = []

    def verify(self, jobs: Sequence[Job]) -> Sequence[bool | int]:
        """Whether each signature is good; true values for those that are."""
        if len(jobs) < FEW:
            return verify_here(jobs)
        data = b"".join([part for job in jobs for part in (_HEAD.pack(job[0], job[1], len(job[2])), job[2])])
        try:
            child = self._child()
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(_LENGTH.pack(len(data)) + data)
            child.stdin.flush()
            found = child.stdout.read(len(jobs))
        except OSError:
            found = b""
        if len(found) != len(jobs):
            self._local.child = None
            return verify_here(jobs)
        return found

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
    while verify_stream(sys.stdin.buffer, sys.stdout.buffer):
        pass


def verify_stream(source: BinaryIO, sink: BinaryIO) -> bool:
    """Answer one request; False at the end of the input."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return False
    data = source.read(_LENGTH.unpack(head)[0])
    found = bytearray()
    at = 0
    while at < len(data):
        key, signature, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        found.append(verify_ed25519(key, signature, data[at - length : at]))
    sink.write(found)
    sink.flush()
    return True
