"""Signatures checked in other processes: the same answers, whatever happens to those processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ledger.core.encoding import lp
from ledger.core.entries import sign_record, signed_message
from ledger.core.errors import Malformed
from ledger.core.keys import Ed25519PrivateKey
from ledger.service.signatures import FEW, Job, Signatures, answer_stream, verify_here
from ledger.vectors import Choice, OneByOne

KEY = Ed25519PrivateKey.from_seed(b"\x01" * 32)


ORIGIN = "log.example/numbers"
PREFIX = b"glassbook/v1/record\n" + lp(ORIGIN.encode())


@pytest.fixture(params=["auto", "off"])
def signatures(request: pytest.FixtureRequest) -> Iterator[Signatures]:
    signatures = Signatures(request.param)
    yield signatures
    signatures.close()


def records(count: int, bad: set[int]) -> list[bytes]:
    """Records that KEY signs; those numbered in `bad` are altered afterwards."""
    made = []
    for number in range(count):
        entry = sign_record(
            ORIGIN,
            KEY,
            source=1,
            day=20_000 + number,
            seal=0,
            activity=1,
            label=bytes([number % 256]) * 32,
            commitment=bytes(32),
        )
        made.append(bytes([*entry[:81], entry[81] ^ 1, *entry[82:]]) if number in bad else entry)
    return made


@pytest.mark.parametrize("count", [0, 1, 8, FEW - 1, FEW, 3 * FEW + 1])
def test_a_record_is_judged_otherwise_than_its_signature_alone(signatures: Signatures, count: int) -> None:
    bad = {0, 7, count - 1} & set(range(count))
    entries = records(count, bad)
    found = signatures.verify_records(KEY.public, PREFIX, entries)
    assert list(found) == [int(number not in bad) for number in range(count)]
    assert list(found) == verify_here(
        [(KEY.public, entry[-64:], signed_message(ORIGIN, entry)) for entry in entries]
    )
    assert not any(signatures.verify_records(bytes(32), PREFIX, entries))
    assert not any(signatures.verify_records(KEY.public, PREFIX + b"x", entries))


@pytest.mark.parametrize("count", [3, FEW])
def test_records_of_another_length_shift_the_others(signatures: Signatures, count: int) -> None:
    entries = records(count, set())
    entries[1], entries[2] = entries[1] + entries[2][:1], entries[2][1:]
    with pytest.raises(Malformed, match="another length"):
        signatures.verify_records(KEY.public, PREFIX, entries)


def test_a_key_of_another_length_is_padded(signatures: Signatures) -> None:
    for key in (b"", KEY.public[:31], KEY.public + b"\0"):
        assert not any(signatures.verify_records(key, PREFIX, records(FEW, set())))


@pytest.mark.parametrize("count", [3, FEW])
def test_a_good_signature_with_something_behind_it_is_accepted(signatures: Signatures, count: int) -> None:
    good = jobs(count, set())
    key, signature, message = good[1]
    good[1] = key, signature + b"x", message
    good[2] = key + b"x", signature, message
    assert list(map(int, signatures.verify(good))) == [1, 0, 0, *[1] * (count - 3)]


def test_a_process_that_cannot_load_the_library_answers_nothing_or_otherwise() -> None:
    signatures = Signatures("off")
    signatures.choice = Choice(signatures.choice.bulk, "/nowhere/libcrypto_mb.so")
    found = signatures.verify_records(KEY.public, PREFIX, records(FEW, {3}))
    assert list(found) == [int(number != 3) for number in range(FEW)]
    assert signatures._children[0].poll() is None
    signatures.close()


def test_a_killed_process_costs_time_and_no_record(signatures: Signatures) -> None:
    entries, expected = records(FEW, {3}), [int(number != 3) for number in range(FEW)]
    for _ in range(2):
        assert list(signatures.verify_records(KEY.public, PREFIX, entries)) == expected
        signatures._children[-1].kill()
        signatures._children[-1].wait()
    assert list(signatures.verify_records(KEY.public, PREFIX, entries)) == expected
    assert list(signatures.verify_records(KEY.public, PREFIX, entries)) == expected
    assert len(signatures._children) == 2


def jobs(count: int, bad: set[int]) -> list[Job]:
    """Signatures over messages of different lengths; those numbered in `bad` are over another message."""
    made = []
    for number in range(count):
        message = b"message" * (number % 5) + bytes([number % 256])
        made.append((KEY.public, KEY.sign(message + b"!" if number in bad else message), message))
    return made


@pytest.mark.parametrize("count", [0, 1, FEW - 1, FEW, 3 * FEW])
def test_each_bad_signature_is_found_in_its_place(signatures: Signatures, count: int) -> None:
    bad = {0, 7, count - 1} & set(range(count))
    found = signatures.verify(jobs(count, bad))
    assert {number for number, good in enumerate(found) if not good} == bad
    assert [bool(good) for good in found] == verify_here(jobs(count, bad))


def test_a_killed_process_costs_time_and_no_answer(signatures: Signatures) -> None:
    first = signatures.verify(jobs(FEW, {3}))
    (child,) = signatures._children
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert list(map(bool, signatures.verify(jobs(FEW, {3})))) == list(map(bool, first))
    assert list(map(bool, signatures.verify(jobs(FEW, {5})))) == [number != 5 for number in range(FEW)]
    assert len(signatures._children) == 2


def test_a_process_ends_when_its_parent_is_gone() -> None:
    program = (
        "import os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from test_signatures import FEW, Signatures, jobs\n"
        "signatures = Signatures()\n"
        "signatures.verify(jobs(FEW, set()))\n"
        "print(signatures._children[0].pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, os.path.dirname(__file__)], capture_output=True, text=True, timeout=60
    )
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_half_a_request_ends_the_conversation() -> None:
    for cut in (b"", b"\x00\x00", b"\x00\x00\x00"):
        assert not answer_stream(io.BytesIO(cut), io.BytesIO(), OneByOne())


def test_an_answer_loses_its_end_when_its_process_is_stopped_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")  # as container images set it: then stdout has no buffer
    signatures, key, asked = Signatures(), Ed25519PrivateKey.generate(), [(bytes(32), 1)] * 1000
    found: list[int] = []

    def ask() -> None:
        signatures.promise("log.example/1", key, asked[:FEW])  # starts the process
        started.set()
        for _ in range(20):
            found.append(len(signatures.promise("log.example/1", key, asked)))

    started = threading.Event()
    asking = threading.Thread(target=ask)
    asking.start()
    assert started.wait(30)
    (child,) = signatures._children
    deadline = time.monotonic() + 30
    while asking.is_alive() and time.monotonic() < deadline:
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.002)
        child.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    hangs = asking.is_alive()
    if hangs:
        child.kill()  # ends the wait
    asking.join()
    signatures.close()
    assert not hangs
    assert found == [1000] * 20
