"""Labels put in packed, many at a time, make the same index as labels put in one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.indexproof import ROW

# Few labels, so that some are taken, and many that begin with the same bits.
LABELS = st.builds(
    lambda first, last: bytes((first,)) + bytes(30) + bytes((last << 6,)),
    st.integers(0, 255),
    st.integers(0, 3),
)


@settings(max_examples=200)
@given(batches=st.lists(st.lists(LABELS, max_size=30), max_size=5), bits=st.sampled_from([1, 4, 8]))
def test_packed_batches_make_the_same_index(batches: list[list[bytes]], bits: int) -> None:
    rows, one_by_one = MemoryRows(bits), MemoryRows(bits)
    tree, other = PrefixTree(rows, bits), PrefixTree(one_by_one, bits)
    index = 0
    for batch in batches:
        pairs = list(zip(batch, range(index, index + len(batch)), strict=True))
        index += len(batch)
        taken = tree.insert_packed(rows, [ROW.pack(*pair) for pair in reversed(pairs)])
        assert sorted(taken) == [pair[1] for pair in pairs if other.insert_many([pair])]
        assert (tree.root, tree.labels) == (other.root, other.labels)
        assert list(rows) == list(one_by_one)
        assert tree.take_changed() == other.take_changed()
