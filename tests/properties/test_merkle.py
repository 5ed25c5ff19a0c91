"""The tree against the naive oracle and against merkletools, for trees of any size and steps of any width."""

import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from random import Random
from typing import Any

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.errors import GlassbookError, Malformed
from ledger.core.merkle import (
    Frontier,
    InclusionChecks,
    InclusionPaths,
    Node,
    check_consistency,
    check_inclusion,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    root_from_inclusion,
    tree_root,
)
from ledger.core.tiles import (
    ENTRIES,
    Tile,
    TileHashes,
    decode_bundle,
    encode_bundle,
    grow_tiles,
    parse_path,
    tiles_of,
)

with warnings.catch_warnings():
    # It warns that pysha3, which no longer compiles and is not needed for SHA-256, is not there.
    warnings.simplefilter("ignore")
    from merkletools import MerkleTools

sizes = st.one_of(st.integers(1, 40), st.integers(1, 600), st.sampled_from([255, 256, 257, 511, 512, 513]))


def entries(size: int) -> list[bytes]:
    return [b"%d of %d" % (index, size) for index in range(size)]


class Leaves:
    """A HashReader that folds every node from the leaves anew, by the oracle."""

    def __init__(self, contents: list[bytes]) -> None:
        self.contents = contents

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        return [oracle.mth(self.contents[n << level : (n + 1) << level]) for level, n in nodes]


@given(sizes, st.data())
@settings(max_examples=60)
def test_root_and_proofs_are_those_of_the_definition(size: int, data: st.DataObject) -> None:
    contents = entries(size)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    root, read = oracle.mth(contents), Leaves(contents)
    assert tree_root(size, read) == root
    proof = prove_inclusion(index, size, read)
    assert proof == oracle.path(index, contents)
    check_inclusion(leaf_hash(contents[index]), index, size, root, proof)
    steps = prove_consistency(old, size, read)
    assert steps == (oracle.proof(old, contents) if old else [])
    check_consistency(old, size, oracle.mth(contents[:old]), root, steps)


@given(sizes, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_paths_made_together_are_those_made_one_by_one(size: int, chance: Random) -> None:
    read = Leaves(entries(size))
    paths = InclusionPaths(size, read)
    order = [chance.randrange(size) for _ in range(min(size, 40))]
    assert [list(paths.prove(index)) for index in order] == [prove_inclusion(i, size, read) for i in order]
    for outside in (-1, size):
        with pytest.raises(Malformed):
            paths.prove(outside)


def refusal(check: Callable[..., None], *asked: Any) -> tuple[str, str]:
    """What an inclusion check says, and of what kind; nothing when it holds."""
    try:
        check(*asked)
    except GlassbookError as error:
        return type(error).__name__, str(error)
    return "", ""


@given(st.integers(1, 70), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_a_check_that_remembers_takes_what_one_that_does_not_would_refuse(size: int, chance: Random) -> None:
    leaves = [leaf_hash(entry) for entry in entries(size)]
    root, read = oracle.mth(entries(size)), Leaves(entries(size))
    checks = InclusionChecks(size, root)
    proofs = [prove_inclusion(index, size, read) for index in range(size)]
    order = list(range(size))
    chance.shuffle(order)
    for index in order:
        checks.check(leaves[index], index, proofs[index])
        place = chance.randrange(size)
        proof = proofs[place]
        tried: list[tuple[bytes, int, list[bytes]]] = [
            (leaves[place], other, proof)
            for other in (place - 1, place ^ 1, place + 1, place + size, -place - 1)
        ]
        tried += [(leaves[place - 1], place, proof), (leaves[place][1:], place, proof)]
        tried += [(leaves[place], place, [*proof, hash_]) for hash_ in (root, b"")]
        for at in range(len(proof)):
            for hash_ in (
                bytes(32),
                root,
                proof[at][:31],
                proof[at - 1],
                bytes([proof[at][0] ^ 1]) + proof[at][1:],
            ):
                tried.append((leaves[place], place, [*proof[:at], hash_, *proof[at + 1 :]]))
            tried.append((leaves[place], place, [*proof[:at], *proof[at + 1 :]]))
        for leaf, at, path in tried:
            told = refusal(check_inclusion, leaf, at, size, root, path)
            assert refusal(checks.check, leaf, at, path) == told


class Wrapped:
    """SHA-256 with 0x01 in front: merkletools itself does not tell leaves from nodes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def digest(self) -> bytes:
        return sha256(b"\x01" + self.data).digest()


@given(sizes, st.data())
@settings(max_examples=60)
def test_merkletools_has_the_same_root_and_paths(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(entry) for entry in entries(size)]
    other: Any = MerkleTools("sha256")
    other.hash_function = Wrapped
    other.add_leaf([leaf.hex() for leaf in leaves])
    other.make_tree()
    frontier = Frontier()
    frontier.extend(leaves)
    assert frontier.root().hex() == other.get_merkle_root()
    index = data.draw(st.integers(0, size - 1))
    theirs = [bytes.fromhex(next(iter(step.values()))) for step in other.get_proof(index)]
    assert theirs == prove_inclusion(index, size, Leaves(entries(size)))
    assert root_from_inclusion(leaves[index], index, size, theirs) == frontier.root()


@given(st.lists(st.integers(0, 700), min_size=1, max_size=6), st.data())
@settings(max_examples=40)
def test_tiles_grown_in_steps_prove_what_the_tree_says(steps: list[int], data: st.DataObject) -> None:
    files: dict[Tile, bytes] = {}
    frontier = Frontier()
    for step in steps:
        size = frontier.size
        edge = {
            tile.level: files[tile] for tile in tiles_of(size) if tile.level != ENTRIES and tile.width < 256
        }
        leaves = [sha256(b"%d" % index).digest() for index in range(size, size + step)]
        files |= dict(grow_tiles(size, edge, leaves))
        frontier.extend(leaves)
    if frontier.size == 0:
        return
    size, root = frontier.size, frontier.root()
    reader = TileHashes(files.__getitem__, size)
    assert tree_root(size, reader) == root
    index = data.draw(st.integers(0, size - 1))
    leaf = sha256(b"%d" % index).digest()
    check_inclusion(leaf, index, size, root, prove_inclusion(index, size, reader))
    smaller = Frontier()
    smaller.extend(sha256(b"%d" % index).digest() for index in range(index + 1))
    check_consistency(index + 1, size, smaller.root(), root, prove_consistency(index + 1, size, reader))


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=256))
def test_bundle_gives_its_entries_back(contents: list[bytes]) -> None:
    data = encode_bundle(contents)
    assert decode_bundle(data, len(contents), "bundle") == contents


@given(st.integers(-1, 63), st.integers(0, 2**55), st.integers(1, 256))
def test_path_gives_its_tile_back(level: int, n: int, width: int) -> None:
    tile = Tile(level, n, width)
    assert parse_path(tile.path) == tile


@given(st.integers(0, 2**20), st.integers(0, 300))
def test_frontier_gives_itself_back(size: int, more: int) -> None:
    hashes = [sha256(b"%d" % level).digest() for level in range(size.bit_count())]
    frontier = Frontier(size, hashes)
    frontier.extend(sha256(b"leaf %d" % index).digest() for index in range(more))
    again = Frontier.from_bytes(frontier.to_bytes())
    assert (again.size, again.hashes) == (size + more, frontier.hashes)
