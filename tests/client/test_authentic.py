"""What a published tree shows is believed only when it folds to the signed root."""

import pytest

from ledger.client.authentic import AuthenticEntries, AuthenticTiles
from ledger.core.errors import GlassbookError, Malformed, ProofRefuted
from ledger.core.merkle import check_inclusion, leaf_hash, prove_inclusion, tree_root
from ledger.core.tiles import ENTRIES, Tile, TileHashes, encode_bundle, grow_tiles

SIZES = [1, 2, 3, 7, 255, 256, 257, 511, 512, 700, 65_536, 65_537, 66_000]


class Tree:
    """Files of a log whose entry i is the decimal i."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.leaves = [leaf_hash(b"%d" % i) for i in range(size)]
        self.files = dict(grow_tiles(0, {}, self.leaves))
        self.root = tree_root(size, TileHashes(self.files.__getitem__, size))
        self.asked: list[Tile] = []

    def fetch(self, tile: Tile) -> bytes:
        self.asked.append(tile)
        if tile.level == ENTRIES:
            return encode_bundle([b"%d" % i for i in range(tile.n * 256, tile.n * 256 + tile.width)])
        return self.files[tile]

    def tiles(self) -> AuthenticTiles:
        return AuthenticTiles(self.fetch, self.size, self.root, "log")


@pytest.mark.parametrize("size", SIZES)
def test_inclusion_proofs_read_through_authentic_tiles_lead_to_the_root(size: int) -> None:
    tree = Tree(size)
    tiles = tree.tiles()
    for index in sorted({0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size))):
        check_inclusion(tree.leaves[index], index, size, tree.root, prove_inclusion(index, size, tiles))
        assert tiles.leaf_hash(index) == tree.leaves[index]


@pytest.mark.parametrize("size", SIZES)
def test_an_inclusion_proof_put_together_out_of_rows_is_another(size: int) -> None:
    tree = Tree(size)
    tiles = tree.tiles()
    edges = {0, 1, 2, 254, 255, 256, 257, 300, 510, 511, 512, 65_535, 65_536, size // 2, size - 2, size - 1}
    for index in sorted(edges & set(range(size))):
        for _ in range(2):
            assert list(tiles.inclusion(index)) == prove_inclusion(index, size, tiles)
    with pytest.raises(Malformed):
        tiles.inclusion(size)


def test_each_tile_is_fetched_once() -> None:
    tree = Tree(66_000)
    tiles = tree.tiles()
    AuthenticEntries(tree.fetch, tiles, "log").read(range(0, 66_000, 100))
    AuthenticEntries(tree.fetch, tiles, "log")
    tiles.prefetch(range(0, 66_000, 50))
    assert len(tree.asked) == len(set(tree.asked))


def test_a_tile_of_leaf_hashes_is_fetched_though_its_bundle_is_whole() -> None:
    tree = Tree(66_000)
    tiles = tree.tiles()
    entries = AuthenticEntries(tree.fetch, tiles, "log")
    assert entries.read([5, 300, 65_999])[300] == b"300"
    for index in (5, 300, 65_999):
        check_inclusion(
            tree.leaves[index], index, tree.size, tree.root, prove_inclusion(index, 66_000, tiles)
        )
    assert [tile for tile in tree.asked if tile.level == 0] == [Tile(0, 257, 208)], "that of the right edge"


@pytest.mark.parametrize("size", [257, 700, 65_537])
def test_one_flipped_bit_in_any_tile_that_is_used_is_refuted(size: int) -> None:
    tree = Tree(size)
    for tile in [tile for tile in tree.files if tile.n == 0 or tile.width < 256]:
        honest = tree.files[tile]
        tree.files[tile] = bytes((honest[0] ^ 1,)) + honest[1:]
        with pytest.raises(ProofRefuted):
            tree.tiles().leaf_hash(0)
            tree.tiles().leaf_hash(size - 1)
        tree.files[tile] = honest


@pytest.mark.parametrize("change", [lambda d: d[:-32], lambda d: d + bytes(32), lambda d: b""])
def test_a_tile_of_the_wrong_length_is_refuted(change: object) -> None:
    tree = Tree(700)
    tile = Tile(0, 2, 188)
    tree.files[tile] = change(tree.files[tile])  # type: ignore[operator]
    with pytest.raises(ProofRefuted, match="bytes, not"):
        tree.tiles().leaf_hash(0)


def test_an_entry_that_is_not_the_trees_is_refuted_by_its_index() -> None:
    tree = Tree(300)

    def other(tile: Tile) -> bytes:
        if tile == Tile(ENTRIES, 0):
            return encode_bundle([b"x" if i == 17 else b"%d" % i for i in range(256)])
        return tree.fetch(tile)

    entries = AuthenticEntries(other, tree.tiles(), "log")
    assert entries.read([16, 18]) == {16: b"16", 18: b"18"}
    with pytest.raises(ProofRefuted, match="entry 17"):
        entries.read([16, 17])


def test_an_entry_past_the_end_is_not_asked_for() -> None:
    tree = Tree(300)
    with pytest.raises(GlassbookError, match="300 entries"):
        AuthenticEntries(tree.fetch, tree.tiles(), "log").read([300])
