"""evidence.json: receipts, evidence, keys files, and completeness of streams and of the register."""

from dataclasses import dataclass
from typing import Any

import oracle
import pytest
from vectorfiles import cases, load, now, number

from ledger.core.checkpoint import parse_checkpoint
from ledger.core.completeness import (
    check_stream_record,
    completeness_of_register,
    completeness_of_stream,
    schemes_to_ask_for,
    seals_to_ask_for,
)
from ledger.core.entries import IndexRoot, decode_entry, index_label
from ledger.core.errors import GlassbookError, ProofRefuted
from ledger.core.evidence import (
    check_evidence,
    evidence_object,
    format_evidence,
    parse_evidence,
    read_evidence,
)
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.keysfile import StreamSecret, format_keys_file, parse_keys_file
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.note import parse_note
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
NOW: int = now(VECTORS, {})
ROOT = bytes.fromhex(VECTORS["index_root"])
COVERS = int(VECTORS["covers"])
ENTRIES = [bytes.fromhex(text) for text in VECTORS["log"]["entries"]]
KEYS = parse_keys_file(format_file(VECTORS["keys"]["file"]))
VRF_KEYS = {
    (int(place.split("/")[0]), int(place.split("/")[1])): bytes.fromhex(key)
    for place, key in VECTORS["keys"]["vrf_public_keys"].items()
}
CASES = {
    "ok": [case for case in VECTORS["cases"] if case["ok"]],
    "refused": [case for case in VECTORS["cases"] if not case["ok"]],
}


def policy(name: str) -> Policy:
    return parse_policy(VECTORS["policies"][name])


def proofs_of(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def checked_receipt() -> CheckedReceipt:
    case = VECTORS["receipt"]
    return check_receipt(read_receipt(case["receipt"]), policy(case["policy"]), NOW)


def test_receipt() -> None:
    case, checked = VECTORS["receipt"], checked_receipt()
    assert checked.index == int(case["index"])
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
    lines = case["receipt"]["proof"].split("\n")
    size = lines.index("") + 2  # the checkpoint begins after the first empty line: origin, size, root
    lines[size] = str(int(lines[size]) - 1)
    changed = dict(case["receipt"], proof="\n".join(lines))
    with pytest.raises(GlassbookError):
        check_receipt(read_receipt(changed), policy(case["policy"]), NOW, known)


@pytest.mark.parametrize("case", cases(CASES, "ok"))
def test_evidence_holds(case: dict[str, Any]) -> None:
    evidence = read_evidence(case["evidence"])
    checked = check_evidence(evidence, policy(case["policy"]), now(VECTORS, case))
    assert checked.index == int(case["index"])
    assert sorted(checked.sd_jwt.claims) == sorted(case["claims"])
    assert checked.next_version == number(case["next"])
    assert parse_evidence(format_evidence(evidence)) == evidence


@pytest.mark.parametrize("case", cases(CASES, "ok"))
def test_evidence_is_written_back_as_it_was_read(case: dict[str, Any]) -> None:
    written = evidence_object(read_evidence(case["evidence"]))
    assert written == known_members(case["evidence"], written)


def known_members(given: Any, written: Any) -> Any:
    """`given` without the members, at any depth, that are not in `written`: unknown ones are not kept."""
    if isinstance(given, dict) and isinstance(written, dict):
        return {name: known_members(given.get(name), value) for name, value in written.items()}
    return given


@pytest.mark.parametrize("case", cases(CASES, "refused"))
def test_evidence_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        check_evidence(read_evidence(case["evidence"]), policy(case["policy"]), now(VECTORS, case))


@pytest.mark.parametrize("case", cases(VECTORS, "completeness"))
def test_keys_file_gives_the_stream_keys_and_their_records(case: dict[str, Any]) -> None:
    secret = next(secret for secret in KEYS.keys if place_of(secret) == place_in(case))
    key = secret.check(KEYS.origin, VRF_KEYS[secret.source, secret.epoch])
    assert key.key.hex() == case["stream_key"]
    for n, index in enumerate(records_of(case), 1):
        check_stream_record(ENTRIES[index], secret.source, secret.epoch, secret.seal, key.label(n))


def place_of(secret: StreamSecret) -> tuple[Any, ...]:
    return secret.source, secret.epoch, secret.seal, secret.subject


def place_in(case: dict[str, Any]) -> tuple[Any, ...]:
    return case["source"], case["epoch"], case["seal"], case["subject"]


def records_of(case: dict[str, Any]) -> list[int]:
    """The log indices of the records of the stream that a case is about."""
    streams = VECTORS["keys"]["streams"]
    return next(
        [int(n) for n in stream["records"]] for stream in streams if place_in(stream) == place_in(case)
    )


def test_every_key_of_the_keys_file_holds() -> None:
    assert sorted(map(place_of, KEYS.keys)) == sorted(map(place_in, VECTORS["keys"]["streams"]))
    for secret in KEYS.keys:
        secret.check(KEYS.origin, VRF_KEYS[secret.source, secret.epoch])
    assert parse_keys_file(format_keys_file(KEYS)) == KEYS


def test_another_vrf_key_does_not_prove_a_stream_key() -> None:
    for secret in KEYS.keys:
        for place, vrf_key in VRF_KEYS.items():
            if place != (secret.source, secret.epoch):
                with pytest.raises(ProofRefuted):
                    secret.check(KEYS.origin, vrf_key)


def test_small_log_leads_to_its_checkpoint_and_index_root() -> None:
    tree = Frontier()
    tree.extend(leaf_hash(raw) for raw in ENTRIES)
    checkpoint = parse_checkpoint(parse_note(VECTORS["log"]["checkpoint"].encode()).text)
    assert (checkpoint.size, checkpoint.root) == (len(ENTRIES), tree.root())
    last = decode_entry(ENTRIES[-1])
    assert isinstance(last, IndexRoot)
    assert (last.covers, last.index_root) == (COVERS, ROOT)


def test_index_of_the_small_log() -> None:
    tree = PrefixTree(MemoryRows(8), 8)
    labels = [(index_label(decode_entry(raw)), index) for index, raw in enumerate(ENTRIES)]
    rows = {label: index for label, index in labels if label is not None}
    assert tree.insert_many(rows.items()) == []
    assert tree.root == oracle.index_root(rows) == ROOT


@pytest.mark.parametrize("case", cases(VECTORS, "completeness"))
def test_stream_is_complete(case: dict[str, Any]) -> None:
    found = completeness_of_stream(
        ROOT, COVERS, case["source"], case["epoch"], case["seal"],
        StreamKey(bytes.fromhex(case["stream_key"])), proofs_of(case["proofs"]),
    )  # fmt: skip
    assert len(found) == int(case["count"])
    assert found == records_of(case)


@pytest.mark.parametrize("case", cases(VECTORS, "completeness_refused"))
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


@pytest.mark.parametrize("case", cases(VECTORS, "register_refused"))
def test_register_is_not_complete(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        completeness_of_register(
            ROOT, COVERS, [proofs_of(texts) for texts in case["sources"]], bytes.fromhex(case["after"])
        )


@dataclass
class States:
    seal_months: int
    schemes: list[str]


@pytest.mark.parametrize("case", cases(VECTORS, "seals_to_ask_for"))
def test_seals_and_schemes_to_ask_for(case: dict[str, Any]) -> None:
    versions = [States(version["seal_months"], version["schemes"]) for version in case["versions"]]
    assert seals_to_ask_for(versions, case["epoch"], case["present_month"]) == sorted(case["seals"])
    assert schemes_to_ask_for(versions) == sorted(case["schemes"])
