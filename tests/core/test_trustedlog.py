"""A client's view of a log that misbehaves in every way it can, against one that behaves."""

from collections.abc import Sequence

import pytest

from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import (
    BadSignature,
    Fork,
    GlassbookError,
    Malformed,
    ProofRefuted,
    QuorumNotMet,
    Refuted,
    Rollback,
)
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.merkle import Node, leaf_hash, node_hash, prove_consistency, tree_root
from ledger.core.note import CosignatureSigner, Ed25519Signer, MLDSASigner, format_note
from ledger.core.policy import Opened, Policy, parse_policy
from ledger.core.trustedlog import TrustedLog

ORIGIN = "log.example/x"
NOW = 1_800_000_000


class Log:
    """A log and its two witnesses, all run by the same hand: it signs whatever it is asked to."""

    def __init__(self, origin: str = ORIGIN, secret: int = 1) -> None:
        self.origin = origin
        self.ed25519 = Ed25519Signer(origin, Ed25519PrivateKey(bytes([secret]) * 32))
        self.ml_dsa = MLDSASigner(origin, MLDSA44PrivateKey(bytes([secret + 1]) * 32))
        self.w1 = CosignatureSigner("witness.example/1", Ed25519PrivateKey(b"\x11" * 32))
        self.w2 = CosignatureSigner("witness.example/2", Ed25519PrivateKey(b"\x12" * 32))
        self.leaves = [leaf_hash(b"%d" % index) for index in range(64)]

    def policy(self) -> Policy:
        return parse_policy(
            f"log {self.ed25519.vkey.text}\nwitness PQ {self.ml_dsa.vkey.text}\n"
            f"witness W1 {self.w1.vkey.text}\nwitness W2 {self.w2.vkey.text}\n"
            "group w any W1 W2\ngroup q all PQ w\nquorum q\n"
        )

    def read(self, nodes: Sequence[Node]) -> list[bytes]:
        found = []
        for level, n in nodes:
            row = self.leaves[n << level : (n + 1) << level]
            while len(row) > 1:
                row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
            found.append(row[0])
        return found

    def text(self, size: int) -> str:
        return Checkpoint(self.origin, size, tree_root(size, self.read)).text

    def note(self, size: int, w1: int | None = NOW, w2: int | None = None, own: int = NOW) -> bytes:
        text = self.text(size)
        lines = [self.ed25519.sign(text), self.ml_dsa.sign(text, own)]
        lines += [self.w1.sign(text, w1)] if w1 is not None else []
        lines += [self.w2.sign(text, w2)] if w2 is not None else []
        return format_note(text, lines)

    def proof(self, old: int, new: int) -> list[bytes]:
        return prove_consistency(old, new, self.read)

    def rewritten(self) -> "Log":
        """The same log with another history from leaf 3 on."""
        other = Log(self.origin)
        other.leaves[3:] = [leaf_hash(b"other %d" % index) for index in range(61)]
        return other


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def client(log: Log) -> TrustedLog:
    trusted = TrustedLog(log.policy())
    trusted.accept(log.note(10), [], NOW)
    return trusted


def refused(
    client: TrustedLog, note: bytes, proof: list[bytes], kind: type[GlassbookError], what: str
) -> GlassbookError:
    """accept() refuses, and the client still trusts what it trusted before."""
    seen = client.seen
    with pytest.raises(kind, match=what) as caught:
        client.accept(note, proof, NOW)
    assert type(caught.value) is kind
    assert client.seen is seen
    return caught.value


def seen_note(client: TrustedLog) -> bytes:
    assert isinstance(client.seen, Opened)
    return client.seen.note


def test_honest_log_is_followed_step_by_step(log: Log) -> None:
    client, size = TrustedLog(log.policy()), 0
    for new, time in [(2, NOW - 50), (3, NOW - 40), (3, NOW - 30), (37, NOW - 20), (64, NOW)]:
        note = log.note(new, w1=time, own=time)
        wanted = client.proof_needed(note)
        assert wanted == ((size, new) if 0 < size < new else None)
        opened = client.accept(note, log.proof(*wanted) if wanted else [], NOW)
        assert client.seen is opened
        assert (opened.checkpoint.size, opened.newest) == (new, time)
        size = new


def test_remembered_checkpoint_carries_over_to_the_next_run(log: Log, client: TrustedLog) -> None:
    kept = seen_note(client)
    again = TrustedLog(log.policy(), log.policy().open(kept, NOW))
    again.accept(log.note(20), log.proof(10, 20), NOW)
    refused(again, log.note(10), [], Rollback, "size 10, but size 20 was seen before")


def test_smaller_checkpoint_is_a_rollback_even_with_a_proof(log: Log, client: TrustedLog) -> None:
    note = log.note(9, w1=NOW + 60)
    for proof in ([], log.proof(9, 10)):
        error = refused(client, note, proof, Rollback, "size 9, but size 10 was seen before")
        assert error.evidence == {"seen": seen_note(client), "note": note}


def test_same_size_with_another_root_is_a_fork(log: Log, client: TrustedLog) -> None:
    note = log.rewritten().note(10)
    error = refused(client, note, [], Fork, "two different roots signed for size 10")
    assert error.evidence == {"seen": seen_note(client), "note": note}
    # Both halves of the evidence stand on their own under the policy.
    for half in error.evidence.values():
        assert log.policy().open(half, NOW).checkpoint.size == 10


def test_same_checkpoint_again_changes_nothing_and_newer_cosignatures_are_kept(
    log: Log, client: TrustedLog
) -> None:
    first = client.seen
    for note in (log.note(10), log.note(10, w1=NOW - 600, own=NOW), log.note(10, w1=NOW - 600, w2=NOW - 5)):
        assert client.accept(note, [], NOW) is first
    newer = client.accept(log.note(10, w1=NOW + 5), [], NOW)
    assert newer is not first and newer is client.seen
    refused(client, log.note(10), [bytes(32)], ProofRefuted, "must be empty")


def test_larger_checkpoint_without_its_proof_or_with_a_wrong_one_is_refused(
    log: Log, client: TrustedLog
) -> None:
    good, note = log.proof(10, 20), log.note(20)
    flipped = [bytes([good[0][0] ^ 1]) + good[0][1:], *good[1:]]
    others = [log.proof(9, 20), log.proof(10, 21), flipped]
    for proof in ([], good[:-1], good[1:], [*good, bytes(32)], good[::-1], *others):
        error = refused(client, note, proof, ProofRefuted, "size 20 is not shown to contain .* size 10")
        assert error.evidence == {"seen": seen_note(client), "note": note, "proof": proof}
    refused(client, note, [good[0][:31], *good[1:]], Malformed, "31 bytes")
    client.accept(note, good, NOW)


def test_log_that_forked_earlier_cannot_be_followed_by_any_proof_of_its_own(
    log: Log, client: TrustedLog
) -> None:
    other = log.rewritten()
    refused(client, other.note(20), other.proof(10, 20), ProofRefuted, "does not lead to the old root")
    refused(client, other.note(20), log.proof(10, 20), ProofRefuted, "not shown to contain")


def test_first_checkpoint_comes_without_a_proof(log: Log) -> None:
    client = TrustedLog(log.policy())
    refused(client, log.note(10), log.proof(5, 10), Malformed, "no earlier checkpoint")
    assert client.seen is None
    client.accept(log.note(10), [], NOW)


def test_larger_tree_that_a_cosigner_dates_earlier_is_a_rollback(log: Log, client: TrustedLog) -> None:
    proof = log.proof(10, 20)
    note = log.note(20, w1=NOW - 301, w2=NOW)
    error = refused(client, note, proof, Rollback, "witness.example/1 dates size 20")
    assert error.evidence == {"seen": seen_note(client), "note": note}
    refused(client, log.note(20, own=NOW - 301), proof, Rollback, "log.example/x dates size 20")
    # Another witness may be behind the first one's clock, and a clock may be set back a little.
    client.accept(log.note(20, w1=None, w2=NOW - 3600), proof, NOW)
    client.accept(log.note(30, w1=NOW - 290, w2=NOW - 3700), log.proof(20, 30), NOW)


def test_checkpoint_that_does_not_fulfil_the_policy_never_counts(log: Log, client: TrustedLog) -> None:
    proof, text = log.proof(10, 20), log.text(20)
    own = [log.ed25519.sign(text), log.ml_dsa.sign(text, NOW)]
    witness = log.w1.sign(text, NOW)
    refused(client, format_note(text, own), proof, QuorumNotMet, "no cosignature that counts by W1, W2")
    refused(client, format_note(text, [own[0], witness]), proof, QuorumNotMet, "PQ")
    refused(client, format_note(text, [own[1], witness]), proof, BadSignature, "not signed by the log's key")
    refused(client, log.note(20, w1=NOW + 301), proof, QuorumNotMet, "later than this computer's clock")
    refused(client, log.note(20, w1=0), proof, QuorumNotMet, "states no time")
    refused(
        client, format_note(log.text(21), [*own, witness]), log.proof(10, 21), BadSignature, "bad signature"
    )
    stranger = Log(secret=7).note(20)
    refused(client, stranger, proof, BadSignature, "not signed by the log's key")
    refused(client, Log("log.example/y").note(20), proof, Refuted, "is of the log log.example/y")
    refused(client, b"", proof, Malformed, "no empty line")


def test_client_does_not_start_from_another_logs_checkpoint(log: Log) -> None:
    other = Log("log.example/y")
    seen = other.policy().open(other.note(10), NOW)
    with pytest.raises(Malformed, match="not of the policy's log"):
        TrustedLog(log.policy(), seen)


def test_sizes_to_prove_are_told_before_anything_is_believed(log: Log, client: TrustedLog) -> None:
    unsigned = format_note(log.text(20), [log.w2.sign(log.text(21), 0)])
    assert client.proof_needed(unsigned) == (10, 20)
    assert client.proof_needed(log.note(10)) is client.proof_needed(log.note(9)) is None
    with pytest.raises(Malformed):
        client.proof_needed(b"nothing")
