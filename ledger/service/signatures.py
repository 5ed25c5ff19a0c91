"""Many Ed25519 signatures at once, checked and made in processes of their own.

Signatures are two thirds of the work of taking entries in.  Threads would do it side by side, but each
needs the interpreter's lock before and after every signature and waits for it while another thread reads a body;
a process does not.  Each thread that asks has one, started with the service:

    jobs      parent → child   u32 length ‖ "j" ‖ jobs, each: key[32] ‖ signature[64] ‖ u16 length ‖ message
    rows      parent → child   u32 length ‖ "r" ‖ key[32] ‖ u16 width ‖ rows, each: message ‖ signature[64]
              child → parent   one byte a job or row, 1 for good
    promises  parent → child   u32 length ‖ "p" ‖ ledger key's seed[32] ‖ lp(origin) ‖
                               for each time: u64 accepted ‖ u32 count ‖ leaf hashes[32]
              child → parent   u32 length ‖ promises (docs/formats.md §6), a newline between two

Records go as rows: neither side makes an object for one of them.  Whether a process works on one signature at a time or
on eight is what `ledger.vectors` finds there; the verdicts are the same.

A child ends when its parent does, whichever way that is: it reads the end of its input.  If a child dies, its
thread does the work itself and starts another one next time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from struct import Struct
from typing import BinaryIO

from ledger.core.encoding import Reader, lp
from ledger.core.entries import RECORD_BYTES
from ledger.core.errors import Malformed
from ledger.core.keys import Ed25519PrivateKey, SigningKey, verify_ed25519
from ledger.core.merkle import HASH_BYTES
from ledger.core.promise import PromiseForm
from ledger.vectors import Bulk, EightAtATime, OneByOne, VectorsUnusable, choose
from ledger.vectors import Job as Job

ToPromise = tuple[bytes, int]
"""Leaf hash, and when the entry was accepted (Unix seconds)."""

NICE = 5
"""How far a child gives way to the threads that write and answer, where there are more of all than cores."""

FEW = 64  # below this many the way to another process costs more than it saves
_LENGTH = Struct(">I")
_HEAD = Struct(">32s64sH")
_ROWS = Struct(">c32sH")
_TIME = Struct(">QI")
_JOBS, _RECORDS, _MAKE = b"j", b"r", b"p"


def verify_here(jobs: Sequence[Job]) -> list[bool]:
    """Whether each signature is good, in this thread."""
    return [verify_ed25519(key, signature, message) for key, signature, message in jobs]


class Signatures:
    """Checks and makes signatures for the threads of this process.

    `vectors` is the setting of that name; VectorsUnusable when it is the path of a library that cannot be used.
    """

    def __init__(self, vectors: str = "auto") -> None:
        self.choice = choose(vectors)
        self._bulk = self.choice.bulk
        self._local = threading.local()
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the child of this thread, which otherwise happens when it is first needed."""
        with suppress(OSError):
            self._child()

    def verify(self, jobs: Sequence[Job]) -> Sequence[bool | int]:
        """Whether each signature is good; true values for those that are."""
        # Of another length they would be cut or filled up on their way.
        if len(jobs) >= FEW and {(len(job[0]), len(job[1])) for job in jobs} == {(32, 64)}:
            data = b"".join(
                [part for job in jobs for part in (_HEAD.pack(job[0], job[1], len(job[2])), job[2])]
            )
            found = self._ask(_JOBS + data, len(jobs))
            if found:
                return found
        return self._bulk.verify(jobs)

    def verify_records(self, key: bytes, prefix: bytes, entries: Sequence[bytes]) -> Sequence[int]:
        """1 for each record (146 bytes) that the key (32 bytes) has signed, 0 for each other.

        `prefix` is what the signature covers before the record's own bytes (docs/formats.md §2).
        """
        if set(map(len, entries)) - {RECORD_BYTES}:
            raise Malformed("entry", "a record of another length")
        width = len(prefix) + RECORD_BYTES
        if len(entries) >= FEW and len(key) == 32:
            # One call puts the prefix before each.
            found = self._ask(prefix.join([_ROWS.pack(_RECORDS, key, width), *entries]), len(entries))
            if found:
                return found
        return self._bulk.verify_rows(key, prefix.join([b"", *entries]), width)

    def promise(self, origin: str, key: SigningKey, asked: Sequence[ToPromise]) -> list[bytes]:
        """The promises of these, in order.  A key in a token signs here: only its own process is logged in."""
        leaves: dict[int, list[bytes]] = {}
        for leaf, accepted in asked:
            leaves.setdefault(accepted, []).append(leaf)
        made: list[bytes] = []
        if len(asked) >= FEW and isinstance(key, Ed25519PrivateKey):
            parts = [_MAKE, key.seed, lp(origin.encode())]
            for accepted, some in leaves.items():
                parts += (_TIME.pack(accepted, len(some)), *some)
            made = self._ask(b"".join(parts), None).split(b"\n")
        if len(made) != len(asked):
            made = _promises(origin, key, list(leaves.items()), self._bulk)
        if len(leaves) < 2:
            return made
        # They come by their times.
        of_time, at = {}, 0
        for accepted, some in leaves.items():
            of_time[accepted] = iter(made[at : at + len(some)])
            at += len(some)
        return [next(of_time[accepted]) for _, accepted in asked]

    def _ask(self, request: bytes, length: int | None) -> bytes:
        """A child's answer, of so many bytes or as many as it says; nothing when it has died."""
        try:
            child = self._child()
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(_LENGTH.pack(len(request)))
            child.stdin.write(request)
            child.stdin.flush()
            if length is None:
                head = child.stdout.read(_LENGTH.size)
                length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else -1
            answer = child.stdout.read(max(length, 0))
        except OSError:
            answer, length = b"", -1
        if len(answer) != length:
            self._local.child = None
            return b""
        return answer

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
                [
                    sys.executable,
                    "-c",
                    "from ledger.service.signatures import serve; serve()",
                    self.choice.path,
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._children.append(child)
            self._local.child = child
        return child


def serve() -> None:
    """What a child does until its input ends; its argument is the library to work with, if there is one."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C at a terminal is for the parent, which then ends this
    with suppress(OSError):  # not allowed in some containers
        os.nice(NICE)
    bulk: Bulk = OneByOne()
    try:
        if sys.argv[1]:
            bulk = EightAtATime(Path(sys.argv[1]))
    except VectorsUnusable:
        pass  # the parent could use it a moment ago; slower, and the same answers
    # Not sys.stdout.buffer: with PYTHONUNBUFFERED, as many container images set it, that has no buffer, and a write cut
    # short by a signal (the process was stopped, and goes on) would lose the rest of an answer.
    with open(sys.stdout.fileno(), "wb", closefd=False) as sink:
        while answer_stream(sys.stdin.buffer, sink, bulk):
            pass


def answer_stream(source: BinaryIO, sink: BinaryIO, bulk: Bulk) -> bool:
    """Answer one request; False at the end of the input."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return False
    (length,) = _LENGTH.unpack(head)
    data = source.read(length)
    if len(data) < length:
        return False
    if data[:1] == _MAKE:
        promises = b"\n".join(_promises(*_asked(data), bulk))
        sink.write(_LENGTH.pack(len(promises)))
        sink.write(promises)
    elif data[:1] == _RECORDS:
        _, key, width = _ROWS.unpack_from(data)
        sink.write(bulk.verify_rows(key, data[_ROWS.size :], width))
    else:
        sink.write(bulk.verify(_jobs(data)))
    sink.flush()
    return True


def _jobs(data: bytes) -> list[Job]:
    jobs = []
    at = 1
    while at < len(data):
        key, signature, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        jobs.append((key, signature, data[at - length : at]))
    return jobs


def _asked(data: bytes) -> tuple[str, Ed25519PrivateKey, list[tuple[int, list[bytes]]]]:
    """What promises are asked for: the origin, the key, and leaf hashes by the time of their acceptance."""
    reader = Reader(data, "promises")
    reader.take(1)
    key = _key(reader.take(32))
    origin = reader.take(reader.u8()).decode()
    asked = []
    while reader.offset < len(data):
        accepted, count = _TIME.unpack(reader.take(_TIME.size))
        packed = reader.take(count * HASH_BYTES)
        asked.append((accepted, [packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES)]))
    return origin, key, asked


def _promises(
    origin: str, key: SigningKey, asked: Sequence[tuple[int, Sequence[bytes]]], bulk: Bulk
) -> list[bytes]:
    """The promises, in this order."""
    form = _form(origin, key.public)
    made: list[bytes] = []
    # Times have ten digits for the next 260 years: one group, whatever they are.
    for width, times in groupby(asked, key=lambda one: form.width(one[0])):
        rows = b"".join([form.rows(leaves, accepted) for accepted, leaves in times])
        if isinstance(key, Ed25519PrivateKey):
            signatures = bulk.sign_rows(key, rows, width)
        else:
            signatures = OneByOne().sign_rows(key, rows, width)
        made += form.finish(rows, width, signatures)
    return made


@lru_cache(maxsize=4)
def _form(origin: str, public: bytes) -> PromiseForm:
    return PromiseForm(origin, public)


@lru_cache(maxsize=1)
def _key(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey(seed)
