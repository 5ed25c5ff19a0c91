"""Labels put in packed, many at a time, make the same index as labels put in one by one."""

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.indexparts import PartHashes
from ledger.core.indexproof import ROW

# Few labels, so that some are taken, and many that begin with the same bits.
LABELS = st.builds(
    lambda first, last: bytes((first,)) + bytes(30) + bytes((last << 6,)),
    st.integers(0, 255),
    st.integers(0, 3),
)


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
    """Also by the parts of full buckets, known from before or not."""
    parts = PartHashes(bits) if by_parts else None
    rows, one_by_one = MemoryRows(bits), MemoryRows(bits)
    tree, other = PrefixTree(rows, bits), PrefixTree(one_by_one, bits)
    index = 0
    for batch in batches:
        pairs = list(zip(batch, range(index, index + len(batch)), strict=True))
        index += len(batch)
        taken = tree.insert_packed(rows, [ROW.pack(*pair) for pair in reversed(pairs)], parts)
        assert sorted(taken) == [pair[1] for pair in pairs if other.insert_many([pair])]
        assert (tree.root, tree.labels) == (other.root, other.labels)
        assert list(rows) == list(one_by_one)
        assert tree.take_changed() == other.take_changed()
        if parts is not None and forget:
            parts = PartHashes(bits)


def test_full_buckets_are_hashed_by_their_parts() -> None:
    """So many labels that every bucket is full, in batches of every size."""
    rows, one_by_one = MemoryRows(3), MemoryRows(3)
    tree, other = PrefixTree(rows, 3), PrefixTree(one_by_one, 3)
    parts = PartHashes(3)
    index = 0
    for size in [*range(1, 40), 300]:
        pairs = [(sha256(b"%d" % at).digest(), at) for at in range(index, index + size)]
        index += size
        assert tree.insert_packed(rows, [ROW.pack(*pair) for pair in pairs], parts) == []
        other.insert_many(pairs)
        assert tree.root == other.root
    assert all(len(known) == 4 * 32 for known in map(parts.__getitem__, range(8)))
