"""Every inclusion and every consistency proof up to tree size 100, with one bit flipped: none may pass.

Flipped are, in every proof, one bit of each hash (a different place each time), one of the root or roots and one of
the leaf hash; in trees up to size 16 every single bit of all of them.
"""

from collections.abc import Iterable

import oracle
import pytest

from ledger.core.errors import GlassbookError, Malformed, ProofRefuted
from ledger.core.merkle import (
    EMPTY_ROOT,
    Frontier,
    check_consistency,
    check_inclusion,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
)

MAX_SIZE = 100
EVERY_BIT_UP_TO = 16
ENTRIES = [b"entry %d" % index for index in range(MAX_SIZE)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def reader(nodes: Iterable[tuple[int, int]]) -> list[bytes]:
    return [oracle.mth(ENTRIES[n << level : (n + 1) << level]) for level, n in nodes]


@pytest.fixture(scope="module")
def roots() -> list[bytes]:
    frontier, found = Frontier(), [EMPTY_ROOT]
    for leaf in LEAVES:
        frontier.append(leaf)
        found.append(frontier.root())
    return found


def flip(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def bits(size: int, seed: int) -> Iterable[int]:
    return range(256) if size <= EVERY_BIT_UP_TO else (seed * 101 % 256,)


@pytest.fixture(scope="module")
def cached_reader() -> object:
    known: dict[tuple[int, int], bytes] = {}

    def read(nodes: Iterable[tuple[int, int]]) -> list[bytes]:
        found = []
        for node in nodes:
            if node not in known:
                known[node] = reader([node])[0]
            found.append(known[node])
        return found

    return read


def test_flipped_bit_breaks_every_inclusion_proof_up_to_size_100(
    roots: list[bytes], cached_reader: object
) -> None:
    assert callable(cached_reader)
    tried = 0
    for size in range(1, MAX_SIZE + 1):
        for index in range(size):
            proof = prove_inclusion(index, size, cached_reader)
            parts = [LEAVES[index], roots[size], *proof]
            check_inclusion(parts[0], index, size, parts[1], parts[2:])
            for place, part in enumerate(parts):
                for bit in bits(size, size + 7 * index + 31 * place):
                    parts[place] = flip(part, bit)
                    with pytest.raises(ProofRefuted):
                        check_inclusion(parts[0], index, size, parts[1], parts[2:])
                    tried += 1
                parts[place] = part
    assert tried > 100_000


def test_flipped_bit_breaks_every_consistency_proof_up_to_size_100(
    roots: list[bytes], cached_reader: object
) -> None:
    assert callable(cached_reader)
    tried = 0
    for new in range(1, MAX_SIZE + 1):
        for old in range(1, new + 1):
            proof = prove_consistency(old, new, cached_reader)
            parts = [roots[old], roots[new], *proof]
            check_consistency(old, new, parts[0], parts[1], parts[2:])
            for place, part in enumerate(parts):
                for bit in bits(new, new + 7 * old + 31 * place):
                    parts[place] = flip(part, bit)
                    with pytest.raises(ProofRefuted):
                        check_consistency(old, new, parts[0], parts[1], parts[2:])
                    tried += 1
                parts[place] = part
    assert tried > 100_000


def test_inclusion_proof_holds_for_no_other_leaf_index_or_size(
    roots: list[bytes], cached_reader: object
) -> None:
    assert callable(cached_reader)
    for size in range(1, 41):
        for index in range(size):
            proof = prove_inclusion(index, size, cached_reader)
            for other in range(-1, size + 2):
                for leaf in {index, other} & set(range(size)):
                    if (leaf, other) != (index, index):
                        with pytest.raises(GlassbookError):
                            check_inclusion(LEAVES[leaf], other, size, roots[size], proof)
            for other in range(42):
                if other != size:
                    with pytest.raises(GlassbookError):
                        check_inclusion(LEAVES[index], index, other, roots[other], proof)


def test_proof_with_a_hash_dropped_added_or_moved_is_refused(
    roots: list[bytes], cached_reader: object
) -> None:
    assert callable(cached_reader)
    for size in range(1, 65):
        for index in range(0, size, 3):
            proof = prove_inclusion(index, size, cached_reader)
            steps = prove_consistency(index + 1, size, cached_reader)
            for changed in variations(proof):
                with pytest.raises(GlassbookError):
                    check_inclusion(LEAVES[index], index, size, roots[size], changed)
            for changed in variations(steps):
                with pytest.raises(GlassbookError):
                    check_consistency(index + 1, size, roots[index + 1], roots[size], changed)


def variations(proof: list[bytes]) -> Iterable[list[bytes]]:
    for place in range(len(proof)):
        yield proof[:place] + proof[place + 1 :]
        yield [*proof[:place], proof[place], *proof[place:]]
        yield [*proof[:place], proof[place][:31], *proof[place + 1 :]]
        yield [*proof[:place], proof[place] + b"\0", *proof[place + 1 :]]
        if place:
            yield [*proof[: place - 1], proof[place], proof[place - 1], *proof[place + 1 :]]
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]


def test_consistency_from_nothing_or_to_itself_takes_no_proof(roots: list[bytes]) -> None:
    check_consistency(0, 5, EMPTY_ROOT, roots[5], [])
    check_consistency(5, 5, roots[5], roots[5], [])
    check_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    for old, new, old_root, new_root, proof in [
        (0, 5, EMPTY_ROOT, roots[5], [bytes(32)]),
        (0, 5, roots[1], roots[5], []),
        (0, 0, roots[1], roots[1], []),
        (5, 5, roots[5], roots[5], [bytes(32)]),
        (5, 5, roots[5], roots[6], []),
        (6, 5, roots[6], roots[5], []),
        (-1, 5, EMPTY_ROOT, roots[5], []),
        (4, 5, roots[4], roots[5], []),
    ]:
        with pytest.raises(ProofRefuted):
            check_consistency(old, new, old_root, new_root, proof)


def test_hashes_of_wrong_length_are_malformed(roots: list[bytes]) -> None:
    with pytest.raises(Malformed):
        check_inclusion(b"short", 0, 1, roots[1], [])
    with pytest.raises(Malformed):
        check_inclusion(LEAVES[0], 0, 1, roots[1][:31], [])
    with pytest.raises(Malformed):
        check_consistency(1, 1, roots[1][:31], roots[1][:31], [])


def test_proofs_that_cannot_exist_are_not_made(cached_reader: object) -> None:
    assert callable(cached_reader)
    for index, size in ((0, 0), (5, 5), (-1, 5), (6, 5)):
        with pytest.raises(Malformed, match="^inclusion proof"):
            prove_inclusion(index, size, cached_reader)
    for old, new in ((6, 5), (-1, 5)):
        with pytest.raises(Malformed, match="^consistency proof"):
            prove_consistency(old, new, cached_reader)


def test_frontier_that_does_not_fit_its_size_is_malformed() -> None:
    good = Frontier()
    good.extend(LEAVES[:7])
    data = good.to_bytes()
    assert Frontier.from_bytes(data).root() == good.root()
    for wrong in (b"", data[:-1], data + b"\0", data[:7] + b"\x08" + data[8:], bytes(8) + data[8:]):
        with pytest.raises(Malformed, match="^frontier"):
            Frontier.from_bytes(wrong)
    for size, hashes in ((7, LEAVES[:2]), (-1, []), (1, [b"short"])):
        with pytest.raises(Malformed, match="^frontier"):
            Frontier(size, hashes)
    copy = good.copy()
    copy.append(LEAVES[7])
    assert (good.size, copy.size) == (7, 8)
    assert Frontier.from_bytes(data).to_bytes() == data == good.to_bytes()
