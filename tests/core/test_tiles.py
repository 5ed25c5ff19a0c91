"""Tiles: near-valid paths, bundles at their limits, growing a tree file by file, reading hashes back."""

import pytest

from ledger.core.encoding import sha256
from ledger.core.errors import Malformed
from ledger.core.merkle import Frontier, Node, leaf_hash, prove_inclusion, tree_root
from ledger.core.tiles import (
    ENTRIES,
    Tile,
    TileHashes,
    decode_bundle,
    encode_bundle,
    grow_tiles,
    new_tiles,
    parse_path,
    perfect_root,
    tile_of_node,
    tiles_of,
)

NOT_PATHS = [
    "", "tile", "tile/0", "tile/0/", "tile//000", "/tile/0/000", "tile/0/000/", "tile/0/000 ", "tile/0/000\n",
    "tile/0/1", "tile/0/01", "tile/0/0001", "tile/0/x000/000", "tile/0/x00/000", "tile/0/000/000", "tile/0/x001",
    "tile/0/X001/000", "tile/0/1000", "tile/00/000", "tile/64/000", "tile/100/000", "tile/-1/000", "tile/+1/000",
    "tile/entries", "tile/entries/", "tile/Entries/000", "tile/entry/000", "tile/data/000", "tile/0/000.p",
    "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/00", "tile/0/000.p/01", "tile/0/000.p/256", "tile/0/000.p/999",
    "tile/0/000.p/1/", "tile/0/000.P/1", "tile/0/000p/1", "tile/0/000.p/-1", "tile/0/../000", "tile/0/%30%30%30",
    "tile\\0\\000", "tile/0/\u0660\u0660\u0660", "tile/\uff10/000", "tile/0/000.p/\u0661",
    "tile/0/" + "x001/" * 9 + "000",
]  # fmt: skip


@pytest.mark.parametrize("path", NOT_PATHS, ids=ascii)
def test_near_path_is_malformed(path: str) -> None:
    with pytest.raises(Malformed, match="^tile path: "):
        parse_path(path)


def test_paths_up_to_the_largest_tree() -> None:
    last = Tile(0, (2**63 - 1) // 256, 255)
    assert last.path == "tile/0/x036/x028/x797/x018/x963/967.p/255"
    assert parse_path(last.path) == last
    assert last.full.path == "tile/0/x036/x028/x797/x018/x963/967"
    assert parse_path("tile/entries/000") == Tile(ENTRIES, 0)


def test_new_files_of_a_step_are_those_not_there_before() -> None:
    for old, new in [
        (0, 1),
        (1, 2),
        (255, 256),
        (256, 257),
        (255, 513),
        (300, 300),
        (65_000, 66_000),
        (5, 70_000),
    ]:
        before = set(tiles_of(old))
        step = list(new_tiles(old, new))
        assert len(step) == len(set(step))
        assert set(step) == set(tiles_of(new)) - before, (old, new)


def test_bundle_holds_1_to_256_entries_of_at_most_65535_bytes() -> None:
    largest = [b"x" * 65_535] * 256
    assert decode_bundle(encode_bundle(largest), 256, "bundle") == largest
    for wrong in ([], [b""] * 257, [b"x" * 65_536]):
        with pytest.raises(Malformed, match="^entry bundle: "):
            encode_bundle(wrong)


def test_bundle_of_another_width_or_cut_anywhere_is_malformed() -> None:
    entries = [b"", b"a", b"bc" * 200]
    data = encode_bundle(entries)
    for end in range(len(data)):
        with pytest.raises(Malformed, match="^tile/entries/000"):
            decode_bundle(data[:end], 3, "tile/entries/000")
    for width in (0, 1, 2, 4, 256):
        with pytest.raises(Malformed, match=f"3 entries in the bundle, not {width}"):
            decode_bundle(data, width, "tile/entries/000")
    with pytest.raises(Malformed):
        decode_bundle(data + b"\0", 3, "tile/entries/000")


class Folder:
    """A log that grows in steps and writes its tiles to a dict of paths."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.leaves: list[bytes] = []

    def grow(self, count: int) -> None:
        size = len(self.leaves)
        edge = {
            tile.level: self.files[tile.path]
            for tile in tiles_of(size)
            if tile.level != ENTRIES and tile.width < 256
        }
        leaves = [leaf_hash(b"%d" % index) for index in range(size, size + count)]
        for tile, content in grow_tiles(size, edge, leaves):
            self.files[tile.path] = content
        self.leaves += leaves

    def fetch(self, tile: Tile) -> bytes:
        return self.files[tile.path]


def test_growing_in_any_steps_writes_the_same_files_and_only_new_ones() -> None:
    folder, frontier = Folder(), Frontier()
    for step in (1, 1, 253, 1, 1, 255, 300, 64_000, 1000, 0, 1):
        size = len(folder.leaves)
        before = dict(folder.files)
        folder.grow(step)
        frontier.extend(folder.leaves[size:])
        written = set(folder.files) - set(before)
        assert written == {tile.path for tile in new_tiles(size, size + step) if tile.level != ENTRIES}
        assert all(folder.files[path] == content for path, content in before.items())
        assert tree_root(frontier.size, TileHashes(folder.fetch, frontier.size)) == frontier.root()
    whole = Folder()
    whole.grow(len(folder.leaves))
    for path, content in whole.files.items():
        assert folder.files[path] == content


def test_right_edge_that_does_not_fit_the_size_is_malformed() -> None:
    with pytest.raises(Malformed, match="^right edge: "):
        list(grow_tiles(3, {}, [bytes(32)]))
    with pytest.raises(Malformed, match="^right edge: "):
        list(grow_tiles(0, {0: bytes(32)}, [bytes(32)]))


def test_hash_reader_fetches_each_tile_once_and_only_of_its_size() -> None:
    folder = Folder()
    folder.grow(70_000)
    asked: list[str] = []

    def fetch(tile: Tile) -> bytes:
        asked.append(tile.path)
        return folder.fetch(tile)

    reader = TileHashes(fetch, 70_000)
    for index in (0, 1, 255, 69_999):
        prove_inclusion(index, 70_000, reader)
    assert len(asked) == len(set(asked))
    assert set(asked) <= {tile.path for tile in tiles_of(70_000)}


def test_tile_of_wrong_length_is_malformed() -> None:
    for content in (b"", bytes(31), bytes(32), bytes(96), bytes(8192)):
        reader = TileHashes(lambda tile, content=content: content, 2)  # type: ignore[misc]
        with pytest.raises(Malformed, match=r"^tile/0/000.p/2: has \d+ bytes, not 64"):
            reader([Node(0, 0)])


def test_nodes_are_found_in_their_tile_or_do_not_exist() -> None:
    assert tile_of_node(Node(0, 300), 1000) == (Tile(0, 1), 44, 1)
    assert tile_of_node(Node(7, 1), 1000) == (Tile(0, 0), 128, 128)
    assert tile_of_node(Node(8, 2), 1000) == (Tile(1, 0, 3), 2, 1)
    assert tile_of_node(Node(9, 0), 1000) == (Tile(1, 0, 3), 0, 2)
    for node in (Node(0, 1000), Node(8, 3), Node(9, 1), Node(20, 0), Node(0, -1)):
        with pytest.raises(Malformed, match="in a tree of size 1000"):
            tile_of_node(node, 1000)


def test_root_of_a_full_tile_is_that_of_its_256_leaves() -> None:
    leaves = [sha256(b"%d" % index) for index in range(256)]
    frontier = Frontier()
    frontier.extend(leaves)
    assert perfect_root(b"".join(leaves)) == frontier.root()
    assert perfect_root(leaves[0]) == leaves[0]
