"""Receipts and evidence of a log made here: every altered bit is noticed, and no error tells a claim."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from logfactory import NOW, LogFactory

from ledger.core.entries import decode_entry, registry_index_label
from ledger.core.errors import (
    BadSignature,
    GlassbookError,
    Malformed,
    ProofRefuted,
    QuorumNotMet,
    Refuted,
    RuleBroken,
)
from ledger.core.evidence import (
    STATEMENT,
    Evidence,
    NextVersion,
    check_evidence,
    check_log_keys,
    parse_evidence,
)
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.merkle import Node, leaf_hash, prove_inclusion
from ledger.core.merkle import node_hash as merkle_node
from ledger.core.note import format_note, parse_note
from ledger.core.receipt import (
    IndexRootProof,
    Receipt,
    ReceiptChecker,
    check_receipt,
    format_receipt,
    parse_receipt,
    read_receipt,
    receipt_object,
)
from ledger.core.statements import parse_charter
from ledger.core.tlogproof import TlogProof


class Archive:
    """A published log and the receipts of its entries."""

    def __init__(self, log: LogFactory, timestamp: int = NOW) -> None:
        self.log = log
        self.note = log.note(timestamp)
        self.size = log.size
        self.tree = PrefixTree(MemoryRows(8), 8)
        for index, raw in enumerate(log.entries[:-1]):
            if raw[1] > 4:
                continue
            label = decode_entry(raw).index_label
            if label is not None:
                self.tree.insert_many([(label, index)])
        path = prove_inclusion(self.size - 1, self.size, self.read)
        self.index_root = IndexRootProof(log.entries[-1], tuple(path))

    def read(self, nodes: Any) -> list[bytes]:
        return [self.hash(node) for node in nodes]

    def hash(self, node: Node) -> bytes:
        if node.level == 0:
            return leaf_hash(self.log.entries[node.n])
        left = Node(node.level - 1, 2 * node.n)
        return merkle_node(self.hash(left), self.hash(Node(left.level, left.n + 1)))

    def receipt(self, index: int) -> Receipt:
        raw = self.log.entries[index]
        label = decode_entry(raw).index_label
        assert label is not None
        hashes = tuple(prove_inclusion(index, self.size, self.read))
        return Receipt(raw, TlogProof(index, hashes, self.note), self.index_root, self.tree.prove(label))

    def evidence(self, index: int) -> Evidence:
        absent = NextVersion(self.index_root, self.tree.prove(registry_index_label(1, 1)))
        return Evidence(
            STATEMENT,
            self.receipt(index),
            self.log.sd_jwts[index],
            self.receipt(0),
            self.receipt(1),
            absent,
        )


@pytest.fixture(scope="module")
def archive() -> Archive:
    log = LogFactory()
    source = log.add_source()
    for _ in range(9):
        log.access(source)
    return Archive(log)


def test_every_entry_but_the_index_root_has_a_receipt(archive: Archive) -> None:
    known = None
    for index in range(archive.size - 1):
        receipt = parse_receipt(format_receipt(archive.receipt(index)))
        checked = check_receipt(receipt, archive.log.policy(), NOW, known)
        assert (checked.index, checked.entry) == (index, decode_entry(archive.log.entries[index]))
        known = checked.opened


def flipped(data: bytes) -> list[bytes]:
    return [
        data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
        for bit in range(8 * len(data))
    ]


def altered(receipt: Receipt) -> list[Receipt]:
    """The receipt with one bit changed, each bit of all of its parts but the checkpoint."""
    entry, proof, root, index_proof = receipt.entry, receipt.proof, receipt.index_root, receipt.index_proof
    found = [Receipt(entry_, proof, root, index_proof) for entry_ in flipped(entry)]
    for place, hash_ in enumerate(proof.hashes):
        for other in flipped(hash_):
            hashes = (*proof.hashes[:place], other, *proof.hashes[place + 1 :])
            found.append(Receipt(entry, TlogProof(proof.index, hashes, proof.checkpoint), root, index_proof))
    found += [
        Receipt(entry, proof, IndexRootProof(other, root.hashes), index_proof)
        for other in flipped(root.entry)
    ]
    for place, hash_ in enumerate(root.hashes):
        for other in flipped(hash_):
            path = (*root.hashes[:place], other, *root.hashes[place + 1 :])
            found.append(Receipt(entry, proof, IndexRootProof(root.entry, path), index_proof))
    found += [Receipt(entry, proof, root, other) for other in flipped(index_proof)]
    return found


def test_every_single_bit_of_a_receipt_matters(archive: Archive) -> None:
    receipt, policy = archive.receipt(4), archive.log.policy()
    known = check_receipt(receipt, policy, NOW).opened
    for other in altered(receipt):
        with pytest.raises(GlassbookError):
            check_receipt(other, policy, NOW, known)
    for index in range(archive.size + 2):
        if index != 4:
            moved = TlogProof(index, receipt.proof.hashes, receipt.proof.checkpoint)
            with pytest.raises(GlassbookError):
                check_receipt(
                    Receipt(receipt.entry, moved, receipt.index_root, receipt.index_proof), policy, NOW
                )


def told(check: Callable[[], object]) -> tuple[str, str]:
    """What a check that must fail says, and of what kind."""
    with pytest.raises(GlassbookError) as error:
        check()
    return type(error.value).__name__, str(error.value)


def test_a_checker_that_has_seen_good_receipts_takes_a_bad_one(archive: Archive) -> None:
    policy = archive.log.policy()
    checker = ReceiptChecker(policy, NOW)
    known = None
    for index in range(archive.size - 1):
        checked = checker.check(archive.receipt(index))
        assert checked == check_receipt(archive.receipt(index), policy, NOW)
        known = checked.opened
        root, proof = checked.index_root, archive.receipt(index).index_proof
        checker.take_index_proof(root, checked.entry.index_label or b"", proof, index)
    for other in altered(archive.receipt(4))[::3]:
        expected = told(lambda other=other: check_receipt(other, policy, NOW, known))  # type: ignore[misc]
        assert told(lambda other=other: checker.check(other)) == expected  # type: ignore[misc]
    checker.check(archive.receipt(4))


def test_a_checker_does_not_carry_what_it_saw_to_another_checkpoint(archive: Archive) -> None:
    checker = ReceiptChecker(archive.log.policy(), NOW)
    receipt = archive.receipt(4)
    checker.check(receipt)
    log = LogFactory()
    log.access(log.add_source())
    other = Archive(log)
    moved = TlogProof(4, receipt.proof.hashes, other.note)
    with pytest.raises(ProofRefuted):
        checker.check(Receipt(receipt.entry, moved, receipt.index_root, receipt.index_proof))
    checker.check(receipt)
    theirs = other.receipt(1)
    with pytest.raises(
        ProofRefuted
    ):  # the index root that the checker knows, under a checkpoint that it is not of
        checker.check(Receipt(theirs.entry, theirs.proof, archive.index_root, archive.receipt(1).index_proof))
    assert checker.check(theirs).opened.checkpoint.size == other.size
    assert checker.check(receipt).opened.checkpoint.size == archive.size


def test_an_altered_entry_is_refuted_and_not_merely_malformed(archive: Archive) -> None:
    receipt, policy = archive.receipt(4), archive.log.policy()
    for entry in (*flipped(receipt.entry), b"", receipt.entry[:-1]):
        other = Receipt(entry, receipt.proof, receipt.index_root, receipt.index_proof)
        with pytest.raises(ProofRefuted):
            check_receipt(other, policy, NOW)


def test_what_the_log_holds_in_no_known_format_is_the_fault_of_the_log() -> None:
    log = LogFactory()
    place = log.append(b"\1\7 of a kind to come")
    archive = Archive(log)
    receipt = Receipt(
        log.entries[place],
        TlogProof(place, tuple(prove_inclusion(place, archive.size, archive.read)), archive.note),
        archive.index_root,
        archive.tree.prove(bytes(32)),
    )
    with pytest.raises(RuleBroken, match="unknown kind 7"):
        check_receipt(receipt, log.policy(), NOW)


def test_a_checkpoint_without_its_witness_makes_no_receipt(archive: Archive) -> None:
    receipt = archive.receipt(4)
    note = b"".join(line for line in archive.note.splitlines(keepends=True) if b"witness.example" not in line)
    lonely = TlogProof(4, receipt.proof.hashes, note)
    with pytest.raises(QuorumNotMet):
        check_receipt(
            Receipt(receipt.entry, lonely, receipt.index_root, receipt.index_proof), archive.log.policy(), NOW
        )


@pytest.mark.parametrize("name", ["entry", "proof", "index_root", "index_proof"])
@pytest.mark.parametrize("value", [None, 7, "QQ", "é", [], {}, {"entry": "", "proof": [7]}, [["QQ=="]]])
def test_a_receipt_with_a_member_of_another_kind_is_malformed(
    archive: Archive, name: str, value: object
) -> None:
    receipt = receipt_object(archive.receipt(4)) | {name: value}
    with pytest.raises(GlassbookError) as error:
        check_receipt(read_receipt(receipt), archive.log.policy(), NOW)
    assert isinstance(error.value, Malformed)
    del receipt[name]
    with pytest.raises(Malformed, match=f"no member {name}"):
        read_receipt(receipt)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"{", bytes(100), b'{"entry": 1, "entry": 2}', b"\xff"])
def test_a_file_that_is_no_receipt_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_receipt(data)
    with pytest.raises(Malformed):
        parse_evidence(data)


def test_evidence_holds_and_counts_its_steps(archive: Archive) -> None:
    checked = check_evidence(archive.evidence(5), archive.log.policy(), NOW)
    assert checked.next_version is None
    assert len(checked.steps) == 7
    assert not any("nhs:" in step.detail or "case 17" in step.detail for step in checked.steps)


def test_a_changed_claim_is_refused_and_not_told(archive: Archive) -> None:
    evidence = archive.evidence(5)
    jwt, *disclosures, end = evidence.sd_jwt.split("~")
    for place in range(len(disclosures)):
        changed = list(disclosures)
        changed[place] = changed[place][:-2] + ("AA" if not changed[place].endswith("AA") else "BA")
        text = "~".join([jwt, *changed, end])
        with pytest.raises(GlassbookError) as error:
            check_evidence(
                Evidence(
                    evidence.statement, evidence.receipt, text, evidence.charter, evidence.source,
                    evidence.source_next,
                ),
                archive.log.policy(), NOW,
            )  # fmt: skip
        assert "nhs" not in str(error.value) and "case" not in str(error.value)
        assert isinstance(error.value, Refuted), "a false disclosure is no damaged file"


def test_a_record_of_a_day_to_come_is_no_evidence() -> None:
    log = LogFactory()
    source = log.add_source()
    index = log.access(source, day=NOW // 86_400 + 1)
    archive = Archive(log)
    check_receipt(archive.receipt(index), log.policy(), NOW)
    with pytest.raises(RuleBroken, match="future"):
        check_evidence(archive.evidence(index), log.policy(), NOW)
    # The reader's own clock is of no consequence: the newest witness timestamp is.
    with pytest.raises(RuleBroken, match="future"):
        check_evidence(archive.evidence(index), log.policy(), NOW + 10 * 86_400)


@pytest.mark.parametrize("timestamp", [0, NOW + 301])
def test_signature_of_a_charter_key_counts_only_with_a_time_that_counts(
    archive: Archive, timestamp: int
) -> None:
    charter = parse_charter(archive.log.entries[0])
    check_log_keys(archive.note, charter, NOW)
    note = parse_note(archive.note)
    signed_again = archive.log.mldsa_signer.sign(note.text, timestamp)
    lines = [signed_again if line.key_id == signed_again.key_id else line for line in note.lines]
    with pytest.raises(BadSignature, match="charter's key"):
        check_log_keys(format_note(note.text, lines), charter, NOW)


def test_unknown_members_are_ignored_as_nobody_signs_these_files(archive: Archive) -> None:
    value = receipt_object(archive.receipt(3)) | {"note": "kept in the blue folder"}
    assert parse_receipt(json.dumps(value).encode()) == archive.receipt(3)
