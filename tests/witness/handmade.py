"""A log made by hand, and a witness that answers over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from oracle import mth, proof

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64encode
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import Ed25519Signer, MLDSASigner, format_note
from verifier_cli.witnessfile import WitnessFile

ORIGIN = "log.example.gov/access/2026"
NOW = 1_790_000_000


class HandmadeLog:
    """Signs any tree it is told to, and computes proofs with the oracle."""

    def __init__(self, origin: str = ORIGIN, salt: bytes = b"entry") -> None:
        self.origin = origin
        self.ed25519 = Ed25519Signer(origin, Ed25519PrivateKey.from_seed(bytes(32)))
        self.mldsa = MLDSASigner(origin, MLDSA44PrivateKey.from_seed32(bytes(32)))
        self.leaves = [salt + bytes((n,)) for n in range(70)]

    def note(self, size: int, leaves: list[bytes] | None = None) -> bytes:
        checkpoint = Checkpoint(self.origin, size, mth((leaves or self.leaves)[:size]))
        lines = [self.ed25519.sign(checkpoint.text), self.mldsa.sign(checkpoint.text, NOW)]
        return format_note(checkpoint.text, lines)

    def body(self, old: int, size: int) -> bytes:
        hashes = proof(old, self.leaves[:size]) if 0 < old < size else []
        lines = "".join(f"{b64encode(digest)}\n" for digest in hashes)
        return f"old {old}\n{lines}\n".encode() + self.note(size)


@dataclass
class RunningWitness:
    """A witness served over HTTP whose clock the test sets."""

    file: WitnessFile
    url: str
    client: httpx.Client
    now: float = NOW

    def post(self, body: bytes) -> httpx.Response:
        return self.client.post(f"{self.url}/add-checkpoint", content=body)
