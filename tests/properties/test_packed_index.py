"""Labels put in packed, many at a time, make the same index as labels put in one by one."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.errors import Malformed
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.indexparts import PartedTree
from ledger.core.indexproof import ROW

# Few labels, so that some are taken, and many that begin with the same bits.
LABELS = st.builds(
    lambda first, last: bytes((first,)) + bytes(30) + bytes((last << 6,)),
    st.integers(0, 255),
    st.integers(0, 3),
)


def make_tree(bits: int, by_parts: bool) -> tuple[PrefixTree, MemoryRows]:
    rows = MemoryRows(bits + 2 if by_parts else bits)
    return (PartedTree if by_parts else PrefixTree)(rows, bits), rows


@settings(max_examples=200)
@given(
    batches=st.lists(st.lists(LABELS, max_size=30), max_size=5),
    bits=st.sampled_from([1, 2, 4, 6, 7, 8]),
    by_parts=st.booleans(),
    forget=st.booleans(),
)
def test_packed_batches_make_the_same_index(
    batches: list[list[bytes]], bits: int, by_parts: bool, forget: bool
) -> None:
    """Also by the parts of buckets, known from before or not."""
    tree, rows = make_tree(bits, by_parts)
    other, one_by_one = make_tree(bits, False)
    index = 0
    for batch in batches:
        pairs = list(zip(batch, range(index, index + len(batch)), strict=True))
        index += len(batch)
        taken = tree.insert_packed(rows, [ROW.pack(*pair) for pair in reversed(pairs)])
        assert sorted(taken) == [pair[1] for pair in pairs if other.insert_many([pair])]
        assert (tree.root, tree.labels) == (other.root, other.labels)
        assert list(rows) == list(one_by_one)
        changed = tree.take_changed()
        assert changed == other.take_changed()
        assert tree.prove_many(batch) == other.prove_many(batch)
        if forget:
            tree.load(changed)
            tree.mark_dirty(batch[:5])
            assert set(tree.take_changed()) <= {other.bucket(prefix) for prefix in range(1 << bits)}


@pytest.mark.parametrize("warm", [False, True])
def test_an_index_that_is_loaded_goes_on_by_its_parts(warm: bool) -> None:
    """Parts full and empty, of which nothing is known at first, in batches of every size."""
    tree, rows = make_tree(3, True)
    other, _ = make_tree(3, False)
    index = 0
    for size in [*range(1, 40), 300]:
        pairs = [(sha256(b"%d" % at).digest(), at) for at in range(index, index + size)]
        index += size
        loaded = PartedTree(rows, 3)
        loaded.load([tree.bucket(prefix) for prefix in range(8)])
        while warm and loaded.cold:
            loaded.warm()
        tree = loaded
        assert tree.insert_packed(rows, [ROW.pack(*pair) for pair in pairs]) == []
        other.insert_many(pairs)
        assert (tree.root, tree.labels) == (other.root, other.labels)
        assert [tree.bucket(prefix) for prefix in range(8)] == [other.bucket(prefix) for prefix in range(8)]


def test_rows_that_do_not_hash_to_their_bucket_are_not_built_upon() -> None:
    tree, rows = make_tree(3, True)
    pairs = [ROW.pack(sha256(b"%d" % at).digest(), at) for at in range(40)]
    tree.insert_packed(rows, pairs)
    loaded = PartedTree(rows, 3)
    loaded.load([tree.bucket(prefix) for prefix in range(8)])
    broken = bytearray(rows._packed[9])
    broken[-1] ^= 1
    rows._packed[9] = bytes(broken)
    with pytest.raises(Malformed, match="do not hash"):
        loaded.insert_packed(rows, [ROW.pack(b"\x48" + bytes(31), 40)])
    del rows._packed[9]
    with pytest.raises(Malformed, match="0 labels under 9 of 5 bits, not"):
        tree.insert_packed(rows, [ROW.pack(b"\x48" + bytes(31), 40)])


def test_an_index_loaded_from_packed_buckets_is_another() -> None:
    tree, rows = make_tree(6, False)
    tree.insert_packed(rows, [ROW.pack(sha256(b"%d" % at).digest(), at) for at in range(70)])
    loaded = PrefixTree(rows, 6)
    loaded.load_packed((start, tree.pack_buckets(start, start + 16)) for start in (32, 0, 48, 16))
    assert (loaded.root, loaded.labels) == (tree.root, 70)
    assert loaded.prove_many([bytes(32), b"\xff" * 32]) == tree.prove_many([bytes(32), b"\xff" * 32])
    for start, data in [(60, tree.pack_buckets(0, 16)), (0, bytes(35))]:
        with pytest.raises(Malformed, match="index buckets"):
            PrefixTree(rows, 6).load_packed([(start, data)])
