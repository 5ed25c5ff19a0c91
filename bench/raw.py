"""The yardstick: how many Ed25519 verifications a second this machine can do, now.

Machines differ and are noisy, so every figure of the benchmark is a ratio to *raw*, measured just before and
just after it: the faster of PyNaCl's and cryptography's verification of 128-byte messages, one thread for
each core given to the process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import nacl.bindings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MESSAGE_BYTES = 128
SECONDS_A_SAMPLE = 0.6


def cores_given() -> int:
    """How many cores the scheduler lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Raw:
    """Verifications a second over all cores given, by library."""

    pynacl: float
    cryptography: float

    @property
    def rate(self) -> float:
        """The faster of the two: what every ratio is taken against."""
        return max(self.pynacl, self.cryptography)


def measure_raw(seconds: float = SECONDS_A_SAMPLE) -> Raw:
    """Measure both libraries, `seconds` each."""
    message = os.urandom(MESSAGE_BYTES)
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    signature = private.sign(message)
    signed, key = signature + message, public.public_bytes_raw()

    def with_pynacl() -> None:
        nacl.bindings.crypto_sign_open(signed, key)

    def with_cryptography() -> None:
        public.verify(signature, message)

    return Raw(_rate(with_pynacl, seconds), _rate(with_cryptography, seconds))


def _rate(verify: Callable[[], None], seconds: float) -> float:
    counts = [0] * cores_given()
    barrier = threading.Barrier(len(counts) + 1)
    stop = threading.Event()

    def work(slot: int) -> None:
        done = 0
        barrier.wait()
        while not stop.is_set():
            for _ in range(64):
                verify()
            done += 64
        counts[slot] = done

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(len(counts))]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)
