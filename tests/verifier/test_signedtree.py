"""Which file of a copy is false is told from what folds to the signed root."""

from collections.abc import Callable

import pytest

from ledger.client.publiclog import Unreachable
from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import Malformed
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.tiles import ENTRIES, Tile, encode_bundle, grow_tiles, tiles_of
from verifier_cli import signedtree
from verifier_cli.signedtree import NotTheSignedTree, SignedTree, begins_with


class Copy:
    """The files of a log of `size` short entries, to be damaged."""

    where = "copy"

    def __init__(self, size: int) -> None:
        self.entries = [b"%d" % number for number in range(size)]
        leaves = [leaf_hash(raw) for raw in self.entries]
        self.files = dict(grow_tiles(0, {}, leaves))
        for tile in tiles_of(size):
            if tile.level == ENTRIES:
                self.files[tile] = encode_bundle(self.entries[tile.n * 256 : tile.n * 256 + tile.width])
        frontier = Frontier()
        frontier.extend(leaves)
        self.checkpoint = Checkpoint("log.example", size, frontier.root())
        self.frontier = frontier

    def tile(self, tile: Tile) -> bytes:
        if tile not in self.files:
            raise Unreachable(tile.path, "no such file")
        data = self.files[tile]
        if len(data) > 40_000:
            raise Malformed(tile.path, "too long")
        return data

    def damage(self, tile: Tile, at: int = 0) -> None:
        data = bytearray(self.files[tile])
        data[at] ^= 0x40
        self.files[tile] = bytes(data)

    def read(self) -> tuple[list[tuple[int, str]], list[int]]:
        """What is false in it, and the entries that nobody can tell."""
        tree = SignedTree(self, self.checkpoint)  # type: ignore[arg-type]
        missing = []
        for n in range((tree.size + 255) // 256):
            width = tree.width(0, n)
            bundle = tree.bundle(n, self.tile(Tile(ENTRIES, n, width)), self.tile(Tile(0, n, width)))
            for slot, raw in enumerate(bundle.entries):
                if raw is None:
                    missing.append(n * 256 + slot)
                else:
                    assert raw == self.entries[n * 256 + slot]
        return sorted((false.index, false.kind) for false in tree.false), missing


@pytest.mark.parametrize("size", [2, 255, 256, 257, 512, 700])
def test_a_sound_copy_has_no_false_file(size: int) -> None:
    copy = Copy(size)
    assert copy.read() == ([], [])
    for part in range(size):
        begin = Frontier()
        begin.extend(leaf_hash(raw) for raw in copy.entries[:part])
        tree = SignedTree(copy, copy.checkpoint)  # type: ignore[arg-type]
        assert begins_with(tree, part, begin.hashes)
        if part:
            assert not begins_with(tree, part, [*begin.hashes[:-1], bytes(32)])


@pytest.mark.parametrize("size", [3, 256, 520])
def test_one_byte_altered_anywhere_is_one_finding_at_its_place(size: int) -> None:
    copy = Copy(size)
    for tile, honest in list(copy.files.items()):
        for at in range(0, len(honest), 1 if size == 3 else 37):
            copy.damage(tile, at)
            false, missing = copy.read()
            if tile.level == ENTRIES:
                slot = _entry_at(honest, at)
                assert false == [(tile.n * 256 + slot, "bundle")]
                # One byte of a length is made good; one of the entry itself is not.
                assert missing in ([], [tile.n * 256 + slot])
            else:
                assert false == [((tile.n * 256 + at // 32) << 8 * tile.level, "tile")]
                assert missing == []
            copy.files[tile] = honest


def _entry_at(bundle: bytes, at: int) -> int:
    slot = place = 0
    while True:
        place += 2 + int.from_bytes(bundle[place : place + 2], "big")
        if at < place:
            return slot
        slot += 1


def test_tiles_of_every_level_are_held_against_the_root() -> None:
    """More than two tiles of level 1, so that there is a level 2."""
    copy = Copy(2 * 65_536 + 300)
    assert copy.read() == ([], [])
    damaged = (Tile(2, 0, 2), Tile(1, 1), Tile(1, 2, 1), Tile(0, 300), Tile(0, 513, 44))
    for tile in damaged:
        honest = copy.files[tile]
        copy.damage(tile, -1)
        last = tile.n * 256 + tile.width - 1
        assert copy.read() == ([(last << 8 * tile.level, "tile")], [])
        copy.files[tile] = honest
    for tile in damaged:
        copy.damage(tile, -1)
    # All of them at once: each is named, and every entry is still known.
    false, missing = copy.read()
    assert false == sorted(((tile.n * 256 + tile.width - 1) << 8 * tile.level, "tile") for tile in damaged)
    assert missing == []


@pytest.mark.parametrize(
    ("tile", "other"),
    [(Tile(0, 0), Tile(ENTRIES, 0)), (Tile(0, 1), Tile(1, 0, 2)), (Tile(1, 0, 2), Tile(0, 2, 8))],
)
def test_two_false_files_are_two_findings(tile: Tile, other: Tile) -> None:
    copy = Copy(520)
    copy.damage(tile, 40)
    copy.damage(other, 2)
    assert len(copy.read()[0]) == 2


@pytest.mark.parametrize(
    ("change", "first", "missing"),
    [
        (lambda data: data[:-5], 511, [511]),
        (lambda data: data + b"\0", 256, []),
        (lambda data: bytes(len(data)), 256, list(range(256, 512))),
        (lambda data: b"", 256, list(range(256, 512))),
        (lambda data: bytes(50_000), 256, list(range(256, 512))),
    ],
)
def test_what_is_left_of_a_broken_bundle_is_used(
    change: Callable[[bytes], bytes], first: int, missing: list[int]
) -> None:
    copy = Copy(520)
    bundle = Tile(ENTRIES, 1)
    copy.files[bundle] = change(copy.files[bundle])
    tree = SignedTree(copy, copy.checkpoint)  # type: ignore[arg-type]
    data: bytes | None
    try:
        data = copy.tile(bundle)
    except Malformed:
        data = None
    entries = tree.bundle(1, data, copy.tile(Tile(0, 1))).entries
    assert [(false.index, false.kind) for false in tree.false] == [(first, "bundle")]
    assert [256 + slot for slot, raw in enumerate(entries) if raw is None] == missing


def test_a_bundle_and_its_tile_both_false_beyond_repair_lose_their_entries_and_no_others() -> None:
    copy = Copy(520)
    copy.files[Tile(0, 1)] = bytes(8192)
    copy.damage(Tile(ENTRIES, 1), 2)
    false, missing = copy.read()
    assert [kind for _, kind in false] == ["tile"]
    assert missing == list(range(256, 512))


def test_a_root_that_nothing_leads_to_is_no_files_fault() -> None:
    copy = Copy(520)
    copy.checkpoint = Checkpoint("log.example", 520, bytes(32))
    with pytest.raises(NotTheSignedTree):
        copy.read()


def test_of_a_copy_that_is_all_false_not_everything_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signedtree, "FALSE_TOLD", 7)
    copy = Copy(520)
    for n in range(2):
        copy.files[Tile(ENTRIES, n)] = encode_bundle([b"another"] * 256)
    false, missing = copy.read()
    assert false == [(index, "bundle") for index in range(7)]
    assert missing == list(range(512))
