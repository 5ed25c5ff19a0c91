"""evidence.json: receipts, evidence, keys files, and completeness of streams and of the register."""

from dataclasses import dataclass
from typing import Any

import oracle
import pytest
from vectorfiles import cases, load

from ledger.core.completeness import (
    check_stream_record,
    completeness_of_register,
    completeness_of_stream,
    schemes_to_ask_for,
    seals_to_ask_for,
)
from ledger.core.entries import index_label
from ledger.core.errors import GlassbookError, ProofRefuted
from ledger.core.evidence import (
    check_evidence,
    evidence_object,
    format_evidence,
    parse_evidence,
    read_evidence,
)
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.keysfile import format_keys_file, parse_keys_file
from ledger.core.policy import Policy, parse_policy
from ledger.core.receipt import (
    CheckedReceipt,
    check_receipt,
    format_receipt,
    parse_receipt,
    read_receipt,
    receipt_object,
)
from ledger.core.streams import StreamKey
from ledger.core.unsigned import format_file

VECTORS = load("evidence.json")
NOW: int = VECTORS["now"]
ROOT = bytes.fromhex(VECTORS["index_root"])
COVERS: int = VECTORS["covers"]
ENTRIES = [bytes.fromhex(text) for text in VECTORS["log"]["entries"]]
KEYS = parse_keys_file(format_file(VECTORS["keys"]["file"]))
GOOD = [case for case in VECTORS["cases"] if case["ok"]]
BAD = [case for case in VECTORS["cases"] if not case["ok"]]


def policy(name: str) -> Policy:
    return parse_policy(VECTORS["policies"][name])


def proofs_of(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def checked_receipt() -> CheckedReceipt:
    case = VECTORS["receipt"]
    return check_receipt(read_receipt(case["receipt"]), policy(case["policy"]), NOW)


def test_receipt() -> None:
    case, checked = VECTORS["receipt"], checked_receipt()
    assert checked.index == case["index"]
    assert checked.entry.index_label == bytes.fromhex(case["label"])
    assert [step.title for step in checked.steps][0] == "The checkpoint fulfils the policy"


def test_receipt_is_written_back_as_it_was_read() -> None:
    receipt = read_receipt(VECTORS["receipt"]["receipt"])
    assert receipt_object(receipt) == VECTORS["receipt"]["receipt"]
    assert parse_receipt(format_receipt(receipt)) == receipt


def test_a_known_checkpoint_stands_in_for_the_same_note_only() -> None:
    case, known = VECTORS["receipt"], checked_receipt().opened
    receipt = read_receipt(case["receipt"])
    assert check_receipt(receipt, policy(case["policy"]), NOW, known).opened is known
    changed = dict(case["receipt"], proof=case["receipt"]["proof"].replace("\n41\n", "\n40\n"))
    with pytest.raises(GlassbookError):
        check_receipt(read_receipt(changed), policy(case["policy"]), NOW, known)


@pytest.mark.parametrize("case", cases(GOOD))
def test_evidence_holds(case: dict[str, Any]) -> None:
    evidence = read_evidence(case["evidence"])
    checked = check_evidence(evidence, policy(case["policy"]), case.get("now", NOW))
    assert checked.index == case["index"]
    assert sorted(checked.sd_jwt.claims) == case["claims"]
    assert checked.next_version == case["next"]
    assert parse_evidence(format_evidence(evidence)) == evidence


def test_evidence_is_written_back_as_it_was_read() -> None:
    case = GOOD[0]
    assert evidence_object(read_evidence(case["evidence"])) == case["evidence"]


@pytest.mark.parametrize("case", cases(BAD))
def test_evidence_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        check_evidence(read_evidence(case["evidence"]), policy(case["policy"]), case.get("now", NOW))


def test_keys_file_gives_the_stream_keys_and_their_records() -> None:
    assert len(KEYS.keys) == len(VECTORS["keys"]["streams"]) == len(VECTORS["completeness"])
    for secret, stream, complete in zip(
        KEYS.keys, VECTORS["keys"]["streams"], VECTORS["completeness"], strict=True
    ):
        vrf_key = bytes.fromhex(VECTORS["keys"]["vrf_public_keys"][f"{secret.source}/{secret.epoch}"])
        key = secret.check(KEYS.origin, vrf_key)
        assert key.key.hex() == complete["stream_key"]
        for n, index in enumerate(stream["records"], 1):
            check_stream_record(ENTRIES[index], secret.source, secret.epoch, secret.seal, key.label(n))
    assert parse_keys_file(format_keys_file(KEYS)) == KEYS


def test_another_vrf_key_does_not_prove_a_stream_key() -> None:
    keys = VECTORS["keys"]["vrf_public_keys"]
    with pytest.raises(ProofRefuted):
        KEYS.keys[0].check(KEYS.origin, bytes.fromhex(keys["2/2026"]))


def test_index_of_the_small_log() -> None:
    from ledger.core.entries import decode_entry

    tree = PrefixTree(MemoryRows(8), 8)
    labels = [(index_label(decode_entry(raw)), index) for index, raw in enumerate(ENTRIES)]
    rows = {label: index for label, index in labels if label is not None}
    assert tree.insert_many(rows.items()) == []
    assert tree.root == oracle.index_root(rows) == ROOT


@pytest.mark.parametrize("case", cases(VECTORS["completeness"]))
def test_stream_is_complete(case: dict[str, Any]) -> None:
    found = completeness_of_stream(
        ROOT, COVERS, case["source"], case["epoch"], case["seal"],
        StreamKey(bytes.fromhex(case["stream_key"])), proofs_of(case["proofs"]),
    )  # fmt: skip
    assert len(found) == case["count"]
    stream = next(
        stream
        for stream in VECTORS["keys"]["streams"]
        if all(stream[name] == case[name] for name in ("source", "epoch", "seal", "subject"))
    )
    assert found == stream["records"]


@pytest.mark.parametrize("case", cases(VECTORS["completeness_refused"]))
def test_stream_is_not_complete(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        completeness_of_stream(
            ROOT, COVERS, case["source"], case["epoch"], case["seal"],
            StreamKey(bytes.fromhex(case["stream_key"])), proofs_of(case["proofs"]),
        )  # fmt: skip


def test_register_is_complete() -> None:
    case = VECTORS["register"]
    found = completeness_of_register(
        ROOT, COVERS, [proofs_of(texts) for texts in case["sources"]], bytes.fromhex(case["after"])
    )
    assert [len(versions) + 1 for versions in found] == [len(texts) for texts in case["sources"]]
    assert found[0] == [0]


@pytest.mark.parametrize("case", cases(VECTORS["register_refused"]))
def test_register_is_not_complete(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        completeness_of_register(
            ROOT, COVERS, [proofs_of(texts) for texts in case["sources"]], bytes.fromhex(case["after"])
        )


@dataclass
class States:
    seal_months: int
    schemes: list[str]


@pytest.mark.parametrize("case", cases(VECTORS["seals_to_ask_for"]))
def test_seals_and_schemes_to_ask_for(case: dict[str, Any]) -> None:
    versions = [States(**version) for version in case["versions"]]
    assert seals_to_ask_for(versions, case["epoch"], case["present_month"]) == case["seals"]
    assert schemes_to_ask_for(versions) == case["schemes"]
