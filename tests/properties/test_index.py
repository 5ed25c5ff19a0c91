"""The index against the naive oracle: any set, order, batches and storage; and no altered proof passes."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from random import Random

import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import GlassbookError, Malformed, RuleBroken
from ledger.core.index import EMPTY, MemoryRows, PrefixTree, Row, check_index_proof
from ledger.core.indexproof import Known

# Labels that share long prefixes are what a random hash hardly ever gives and a prefix tree must get right.
close_labels = st.builds(
    lambda head, tail: bytes([head]) * (32 - len(tail)) + tail,
    st.sampled_from([0x00, 0x80, 0xFF]),
    st.binary(min_size=1, max_size=3).map(lambda tail: bytes([tail[0] & 0xFE]) + tail[1:]),
).map(lambda label: label[:31] + bytes([label[31] & 0xFE]))
labels = st.one_of(st.binary(min_size=32, max_size=32), close_labels)
sets = st.dictionaries(labels, st.integers(0, 2**64 - 2), max_size=24)
top_bits = st.sampled_from([1, 3, 8, 13])


def hashed(i: int) -> bytes:
    return sha256(b"label %d" % i).digest()


def tree_of(rows: dict[bytes, int], bits: int = 8) -> PrefixTree:
    tree = PrefixTree(MemoryRows(bits), bits)
    assert tree.insert_many(rows.items()) == []
    return tree


@given(sets, top_bits, st.randoms(use_true_random=False))
def test_root_depends_on_the_set_alone_not_on_order_or_batches(
    rows: dict[bytes, int], bits: int, random: Random
) -> None:
    pairs = list(rows.items())
    random.shuffle(pairs)
    tree = PrefixTree(MemoryRows(bits), bits)
    while pairs:
        cut = random.randint(1, len(pairs))
        assert tree.insert_many(pairs[:cut]) == []
        del pairs[:cut]
    assert tree.root == oracle.index_root(rows)
    assert tree.labels == len(rows)


@given(sets, labels, top_bits)
def test_proofs_are_those_of_the_oracle_and_are_accepted(
    rows: dict[bytes, int], other: bytes, bits: int
) -> None:
    tree = tree_of(rows, bits)
    asked = [*rows, other]
    for label, proof in zip(asked, tree.prove_many(asked), strict=True):
        assert proof == oracle.index_proof(rows, label)
        assert check_index_proof(tree.root, 2**64 - 1, label, proof) == rows.get(label)


@given(sets, sets)
def test_a_taken_label_stays_with_its_first_entry_and_changes_nothing(
    first: dict[bytes, int], second: dict[bytes, int]
) -> None:
    tree = tree_of(first)
    taken = tree.insert_many([*second.items(), *second.items()])
    assert sorted(taken) == sorted(
        [*((label, i) for label, i in second.items() if label in first), *second.items()]
    )
    assert tree.root == oracle.index_root(second | first)


def test_of_two_entries_with_one_label_in_a_batch_the_lower_index_stays() -> None:
    tree = PrefixTree(MemoryRows(4), 4)
    assert tree.insert_many([(hashed(1), 9), (hashed(1), 3)]) == [(hashed(1), 9)]
    assert tree.root == oracle.index_root({hashed(1): 3})


@given(sets, top_bits)
def test_a_tree_loaded_from_its_buckets_is_the_same(rows: dict[bytes, int], bits: int) -> None:
    storage = MemoryRows(bits)
    tree = PrefixTree(storage, bits)
    tree.insert_many(rows.items())
    again = PrefixTree(storage, bits)
    again.load(reversed(tree.take_changed()))
    assert (again.root, again.labels) == (tree.root, tree.labels)
    assert again.prove_many(list(rows)) == tree.prove_many(list(rows))
    again.insert_many([(hashed(0), 5)])
    assert again.labels == len(rows | {hashed(0): 5})
    assert again.root == oracle.index_root({hashed(0): 5} | rows)


class RowsBelow:
    """A reader's storage at an older state: rows whose index is below `covers`."""

    def __init__(self, rows: dict[bytes, int]) -> None:
        self.rows = rows
        self.covers = 0
        self.read = 0

    def buckets(self, prefixes: Sequence[int], bits: int) -> Iterator[Sequence[Row]]:
        for prefix in prefixes:
            self.read += 1
            yield sorted(
                (label, index)
                for label, index in self.rows.items()
                if int.from_bytes(label, "big") >> (256 - bits) == prefix and index < self.covers
            )

    def add(self, rows: Iterable[Row]) -> None:
        raise AssertionError("a reader adds nothing")


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_reader_moves_to_another_covers_forth_and_back(first: int, second: int) -> None:
    rows = {hashed(i): i for i in range(60)}
    storage = RowsBelow(rows)
    tree = PrefixTree(storage, 6)
    for covers in (first, second):
        low, high = sorted((storage.covers, covers))
        storage.covers = covers
        tree.mark_dirty(label for label, index in rows.items() if low <= index < high)
        published = {label: index for label, index in rows.items() if index < covers}
        assert (tree.root, tree.labels) == (oracle.index_root(published), covers)
        for label in list(rows)[::7]:
            assert tree.prove(label) == oracle.index_proof(published, label)


def test_dirty_buckets_are_read_once_and_only_when_something_is_asked() -> None:
    storage = RowsBelow({hashed(i): i for i in range(60)})
    tree = PrefixTree(storage, 4)
    storage.covers = 60
    tree.mark_dirty(storage.rows)
    assert storage.read == 0
    assert tree.labels == 60 and tree.root
    assert storage.read == 16


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 30, 100])
def test_every_single_bit_of_a_proof_matters(size: int) -> None:
    rows = {hashed(i): i for i in range(size)}
    tree = tree_of(rows)
    asked = [hashed(0), hashed(size // 2), hashed(size - 1), *(hashed(1000 + i) for i in range(3))]
    for label in asked:
        proof = tree.prove(label)
        for bit in range(8 * len(proof)):
            changed = bytearray(proof)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(GlassbookError):
                check_index_proof(tree.root, size, label, bytes(changed))


@pytest.mark.parametrize("size", range(101))
def test_a_proof_holds_under_its_own_root_label_and_covers_only(size: int) -> None:
    rows = {hashed(i): i for i in range(size)}
    tree = tree_of(rows)
    larger = tree_of(rows | {hashed(size): size})
    for i in range(size + 1):
        proof = tree.prove(hashed(i))
        assert check_index_proof(tree.root, size, hashed(i), proof) == (i if i < size else None)
        with pytest.raises(GlassbookError):
            check_index_proof(larger.root, size + 1, hashed(i), proof)
        if i < size:
            with pytest.raises(GlassbookError):
                check_index_proof(tree.root, i, hashed(i), proof)


def test_no_label_is_one_root_of_zeros_and_one_proof_of_two_bytes() -> None:
    tree = tree_of({})
    assert tree.root == EMPTY
    assert tree.prove(hashed(1)) == bytes(2)


def test_labels_alike_in_255_bits_are_refused_as_no_proof_could_tell_them_apart() -> None:
    tree = PrefixTree(MemoryRows(4), 4)
    with pytest.raises(RuleBroken, match="255 bits"):
        tree.insert_many([(bytes(32), 1), (bytes(31) + b"\1", 2)])


def test_a_stored_bucket_that_cannot_be_one_is_refused() -> None:
    tree = PrefixTree(MemoryRows(4), 4)
    for bucket in [(16, bytes(32), 1), (0, bytes(31), 1), (0, bytes(32), -1)]:
        with pytest.raises(Malformed, match="index bucket"):
            tree.load([bucket])


def test_rows_that_the_root_was_not_made_of_are_neither_added_to_nor_proved_from() -> None:
    class Lossy(MemoryRows):
        lost = False

        def buckets(self, prefixes: Sequence[int], bits: int) -> Iterator[Sequence[Row]]:
            for rows in super().buckets(prefixes, bits):
                yield rows[1:] if self.lost else rows

    rows = Lossy(4)
    tree = PrefixTree(rows, 4)
    labels = [bytes([number]) * 32 for number in range(64)]
    tree.insert_many((label, at) for at, label in enumerate(labels))
    rows.lost = True
    with pytest.raises(Malformed, match="do not hash to it"):
        tree.prove(labels[0])
    with pytest.raises(Malformed, match="labels in bucket 0, not"):
        tree.insert_many([(bytes(31) + b"\xff", 64)])


def verdict(root: bytes, covers: int, label: bytes, proof: bytes, known: Known | None) -> object:
    try:
        return check_index_proof(root, covers, label, proof, known)
    except GlassbookError as error:
        return type(error), error.what


@given(st.integers(1, 400), st.lists(st.tuples(st.integers(0, 420), st.integers(0, 10**6)), max_size=40))
def test_what_was_folded_before_lets_no_other_proof_pass(size: int, asked: list[tuple[int, int]]) -> None:
    """Whole proofs and proofs with one bit turned, one after another: each verdict is that of a check by itself."""
    rows = {hashed(i): i for i in range(size)}
    tree = tree_of(rows)
    known: Known = {}
    for i, where in asked:
        label = hashed(i)
        proof = bytearray(tree.prove(label))
        if where % 3:
            bit = where % (8 * len(proof))
            proof[bit >> 3] ^= 1 << (bit & 7)
        for root in (tree.root, hashed(10**6)):
            shared = known if root == tree.root else {}
            expected = verdict(root, size, label, bytes(proof), None)
            assert verdict(root, size, label, bytes(proof), shared) == expected
