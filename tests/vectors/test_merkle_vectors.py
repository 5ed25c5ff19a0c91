"""merkle.json: roots, and proofs made and checked."""

from collections.abc import Sequence
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.errors import GlassbookError
from ledger.core.merkle import (
    Frontier,
    Node,
    check_consistency,
    check_inclusion,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    tree_root,
)

VECTORS = load("merkle.json")
ROOTS = {int(case["size"]): bytes.fromhex(case["root"]) for case in VECTORS["roots"]}
LARGEST = max([*ROOTS, *(int(case["new"]) for case in VECTORS["consistency"])])


def leaf(index: int) -> bytes:
    return leaf_hash(bytes.fromhex(VECTORS["entry_prefix"]) + index.to_bytes(8, "big"))


class WholeTree:
    """Every perfect subtree of the largest tree, as a HashReader."""

    def __init__(self, size: int) -> None:
        self.levels = [[leaf(index) for index in range(size)]]
        while len(self.levels[-1]) > 1:
            row = self.levels[-1]
            self.levels.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self.levels[node.level][node.n] for node in nodes]


@pytest.fixture(scope="module")
def tree() -> WholeTree:
    return WholeTree(LARGEST)


def root_of(tree: WholeTree, size: int) -> bytes:
    """The stated root; some old sizes of consistency proofs have none stated."""
    return ROOTS.get(size) or tree_root(size, tree)


def unhex(hashes: list[str]) -> list[bytes]:
    return [bytes.fromhex(item) for item in hashes]


def test_leaf_hashes_are_those_of_the_vectors() -> None:
    assert [leaf(index).hex() for index in range(8)] == VECTORS["leaf_hashes_0_to_7"]


@pytest.mark.parametrize("size", sorted(ROOTS))
def test_root_of_every_size(tree: WholeTree, size: int) -> None:
    assert tree_root(size, tree) == ROOTS[size]


def test_frontier_has_the_root_of_every_size(tree: WholeTree) -> None:
    frontier = Frontier()
    for index in range(max(ROOTS) + 1):
        if index in ROOTS:
            assert frontier.root() == ROOTS[index]
            assert Frontier.from_bytes(frontier.to_bytes()).root() == ROOTS[index]
        if index < max(ROOTS):
            frontier.append(tree.levels[0][index])


@pytest.mark.parametrize("case", cases(VECTORS, "inclusion"))
def test_inclusion_proof_is_exact_and_holds(tree: WholeTree, case: dict[str, Any]) -> None:
    index, size, proof = int(case["index"]), int(case["size"]), unhex(case["proof"])
    assert prove_inclusion(index, size, tree) == proof
    check_inclusion(leaf(index), index, size, root_of(tree, size), proof)


@pytest.mark.parametrize("case", cases(VECTORS, "consistency"))
def test_consistency_proof_is_exact_and_holds(tree: WholeTree, case: dict[str, Any]) -> None:
    old, new, proof = int(case["old"]), int(case["new"]), unhex(case["proof"])
    assert prove_consistency(old, new, tree) == proof
    check_consistency(old, new, root_of(tree, old), root_of(tree, new), proof)


@pytest.mark.parametrize("case", cases(VECTORS, "inclusion_refused"))
def test_altered_inclusion_proof_is_refused(case: dict[str, Any]) -> None:
    root, proof = bytes.fromhex(case["root"]), unhex(case["proof"])
    with pytest.raises(GlassbookError):
        check_inclusion(leaf(int(case["leaf_index"])), int(case["index"]), int(case["size"]), root, proof)


@pytest.mark.parametrize("case", cases(VECTORS, "consistency_refused"))
def test_altered_consistency_proof_is_refused(case: dict[str, Any]) -> None:
    old_root, new_root = bytes.fromhex(case["old_root"]), bytes.fromhex(case["new_root"])
    with pytest.raises(GlassbookError):
        check_consistency(int(case["old"]), int(case["new"]), old_root, new_root, unhex(case["proof"]))
