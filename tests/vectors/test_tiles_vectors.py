"""tiles.json: paths, the files of a log of some size, their contents, entry bundles."""

from hashlib import sha256
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.errors import Malformed
from ledger.core.merkle import leaf_hash
from ledger.core.tiles import ENTRIES, Tile, decode_bundle, encode_bundle, grow_tiles, parse_path, tiles_of

VECTORS = load("tiles.json")


@pytest.mark.parametrize("case", cases(VECTORS, "paths"))
def test_tile_and_path_belong_together(case: dict[str, Any]) -> None:
    level = ENTRIES if case["level"] == "entries" else case["level"]
    tile = Tile(level, int(case["n"]), case["width"])
    assert tile.path == case["path"]
    assert parse_path(case["path"]) == tile


@pytest.mark.parametrize("case", cases(VECTORS, "paths_refused"))
def test_other_spelling_of_a_path_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_path(case["path"])


@pytest.mark.parametrize("case", cases(VECTORS, "trees"))
def test_files_of_a_log(case: dict[str, Any]) -> None:
    tiles = list(tiles_of(int(case["size"])))
    found = {
        "paths": [tile.path for tile in tiles],
        "partial": [tile.path for tile in tiles if tile.width < 256],
        "upper": [tile.path for tile in tiles if tile.level > 0],
    }
    expected = {name: sorted(case[name]) for name in found if name in case}
    assert expected
    assert {name: sorted(found[name]) for name in expected} == expected
    assert len(tiles) == case.get("count", len(tiles))


def test_contents_of_tiles_and_bundle() -> None:
    given = VECTORS["contents"]
    prefix, size = bytes.fromhex(given["entry_prefix"]), int(given["size"])
    entries = [prefix + index.to_bytes(8, "big") for index in range(size)]
    hashes = [leaf_hash(entry) for entry in entries]
    made = {tile.path: content for tile, content in grow_tiles(0, {}, hashes)}
    for wanted in given["tiles"]:
        assert sha256(made[wanted["path"]]).hexdigest() == wanted["sha256"]
    tile = parse_path(given["bundle"]["path"])
    start = tile.n * 256
    bundle = encode_bundle(entries[start : start + tile.width])
    assert sha256(bundle).hexdigest() == given["bundle"]["sha256"]


@pytest.mark.parametrize("case", cases(VECTORS, "bundles"))
def test_bundle_is_exact(case: dict[str, Any]) -> None:
    entries, bundle = [bytes.fromhex(entry) for entry in case["entries"]], bytes.fromhex(case["bundle"])
    assert encode_bundle(entries) == bundle
    assert decode_bundle(bundle, len(entries), "bundle") == entries


@pytest.mark.parametrize("case", cases(VECTORS, "bundles_refused"))
def test_damaged_bundle_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        decode_bundle(bytes.fromhex(case["bundle"]), case["width"], "bundle")
