"""index.json: roots, exact proofs, refused proofs, and the labels under which entries stand."""

import re
from hashlib import sha256
from typing import Any

import oracle
import pytest
from vectorfiles import cases, load, number

from ledger.core.entries import coverage_index_label, record_index_label, registry_index_label
from ledger.core.errors import GlassbookError
from ledger.core.index import MemoryRows, PrefixTree, check_index_proof

VECTORS = load("index.json")


def pairs_of(case: dict[str, Any]) -> dict[bytes, int]:
    if "labels" in case:
        return {bytes.fromhex(label): int(index) for label, index in case["labels"]}
    # Too many to stand in the file: label i of 0 ... 999 is SHA-256("label" || u32 i), its index 5 + 3 i
    said = re.fullmatch(
        r'label i of 0 \.\.\. (\d+) is SHA-256\("(\w+)" \|\| u32 i\), its index (\d+) \+ (\d+) i',
        case["labels_are"],
    )
    assert said, f"this test cannot make {case['labels_are']}"
    last, word, first, step = int(said[1]), said[2].encode(), int(said[3]), int(said[4])
    return {sha256(word + i.to_bytes(4, "big")).digest(): first + step * i for i in range(last + 1)}


@pytest.mark.parametrize("top_bits", [1, 9, 18])
@pytest.mark.parametrize("case", cases(VECTORS, "sets"))
def test_root_and_proofs_are_exact(case: dict[str, Any], top_bits: int) -> None:
    tree = PrefixTree(MemoryRows(top_bits), top_bits)
    assert tree.insert_many(pairs_of(case).items()) == []
    assert (tree.root.hex(), tree.labels) == (case["root"], case["size"])
    for proof in case["proofs"]:
        assert tree.prove(bytes.fromhex(proof["label"])).hex() == proof["proof"]


@pytest.mark.parametrize("case", cases(VECTORS, "sets"))
def test_proofs_prove_what_they_say(case: dict[str, Any]) -> None:
    root = bytes.fromhex(case["root"])
    for proof in case["proofs"]:
        label, content = bytes.fromhex(proof["label"]), bytes.fromhex(proof["proof"])
        assert check_index_proof(root, int(case["covers"]), label, content) == number(proof["index"])


@pytest.mark.parametrize("case", cases(VECTORS, "sets"))
def test_the_oracle_agrees(case: dict[str, Any]) -> None:
    rows = pairs_of(case)
    assert oracle.index_root(rows).hex() == case["root"]
    for proof in case["proofs"][:8]:
        assert oracle.index_proof(rows, bytes.fromhex(proof["label"])).hex() == proof["proof"]


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_refused_proof(case: dict[str, Any]) -> None:
    root, label, proof = (bytes.fromhex(case[name]) for name in ("root", "label", "proof"))
    with pytest.raises(GlassbookError):
        check_index_proof(root, int(case["covers"]), label, proof)


@pytest.mark.parametrize("case", cases(VECTORS, "labels", "record"))
def test_index_label_of_a_record(case: dict[str, Any]) -> None:
    label = record_index_label(case["source"], case["epoch"], case["seal"], bytes.fromhex(case["label"]))
    assert label.hex() == case["index_label"]


@pytest.mark.parametrize("case", cases(VECTORS, "labels", "registry"))
def test_index_label_of_a_registry_entry(case: dict[str, Any]) -> None:
    assert registry_index_label(case["source"], case["version"]).hex() == case["index_label"]


@pytest.mark.parametrize("case", cases(VECTORS, "labels", "coverage"))
def test_index_label_of_a_coverage(case: dict[str, Any]) -> None:
    assert coverage_index_label(case["source"], case["day"]).hex() == case["index_label"]
