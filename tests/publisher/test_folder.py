"""The folder's files are exactly those of tlog-tiles, and a disk that fails leaves none of them
half-written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import Malformed
from ledger.core.tiles import Tile, tiles_of
from ledger.publicfiles import Folder
from publisher.tiles import Edge


def entries_of(size: int) -> list[bytes]:
    return [bytes((n % 251,)) * (1 + n % 5) + n.to_bytes(4, "big") for n in range(size)]


@given(st.lists(st.integers(0, 700), min_size=1, max_size=4))
def test_any_way_of_growing_leads_to_the_files_and_root_of_the_size(steps: list[int]) -> None:
    entries = entries_of(sum(steps))
    edge, files = Edge(), dict[str, bytes]()
    for step in steps:
        files |= dict(edge.extend(entries[edge.size : edge.size + step]))
    files |= dict(edge.partials())
    assert sorted(files) == sorted(tile.path for tile in tiles_of(len(entries)))
    assert edge.root() == oracle.mth(entries)


def test_levels_above_are_those_of_a_large_tree() -> None:
    edge, files = Edge(), dict[str, bytes]()
    entries = [b"x"] * 65_536
    files |= dict(edge.extend(entries))
    files |= dict(edge.partials())
    assert sorted(files) == sorted(tile.path for tile in tiles_of(65_536))
    assert files["tile/2/000.p/1"] == edge.root()
    files |= dict(edge.extend([b"y"] * 300))
    assert sorted({**files, **dict(edge.partials())}) == sorted(
        {tile.path for size in (65_536, 65_836) for tile in tiles_of(size)}
    )


@pytest.mark.parametrize("size", [1, 255, 256, 257, 600, 66_000])
def test_an_edge_read_back_grows_like_the_one_written(tmp_path: Path, size: int) -> None:
    folder, edge = Folder(tmp_path), Edge()
    folder.prepare()
    files = edge.extend(entries_of(size))
    folder.write(files + edge.partials())
    again = Edge.load(size, folder)
    more = entries_of(300)
    assert again.extend(more) == edge.extend(more)
    assert again.root() == edge.root() and again.partials() == edge.partials()


def test_an_edge_with_a_bundle_of_other_entries_is_not_taken(tmp_path: Path) -> None:
    folder, edge = Folder(tmp_path), Edge()
    folder.prepare()
    folder.write(edge.extend(entries_of(3)) + edge.partials())
    path = tmp_path / "tile" / "entries" / "000.p" / "3"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(Malformed, match="not those of the hash tile"):
        Edge.load(3, folder)


def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one(tmp_path: Path) -> None:
    folder, edge = Folder(tmp_path), Edge()
    folder.prepare()
    entries = entries_of(256)
    folder.write(edge.extend(entries))
    for level, start in ((0, edge), (-1, edge)):
        del start
        assert folder(Tile(level, 0)).startswith(folder(Tile(level, 0, 7)))
    with pytest.raises(LookupError, match="missing"):
        folder(Tile(0, 1, 3))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_call_leaves_only_whole_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    folder, edge = Folder(tmp_path), Edge()
    folder.prepare()
    files = edge.extend(entries_of(300)) + edge.partials()
    wanted = {tmp_path / name: data for name, data in files}
    original = {"write": os.fdopen, "fsync": os.fsync, "replace": os.replace}[call]
    name = "fdopen" if call == "write" else call
    for fail_at in range(30):
        calls = 0

        def failing(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == fail_at + 1:  # noqa: B023
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments, **named)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            patch.setattr(os, name, failing)
            try:
                folder.write(files)
            except OSError:
                for path in tmp_path.rglob("*"):
                    assert path.is_dir() or path.read_bytes() == wanted[path]
                continue
        break
    assert {path: path.read_bytes() for path in wanted} == wanted
    assert not any((tmp_path / ".part").iterdir())


def test_what_a_crash_left_half_written_is_removed_at_the_start(tmp_path: Path) -> None:
    (tmp_path / ".part").mkdir()
    (tmp_path / ".part" / "3").write_bytes(b"half")
    Folder(tmp_path).prepare()
    assert not (tmp_path / ".part").exists()


def test_a_file_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    folder, edge = Folder(tmp_path), Edge()
    folder.prepare()
    files = edge.extend(entries_of(300)) + edge.partials()
    folder.write(files)
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    folder.write(files)
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()} == before


def test_pruning_takes_partial_tiles_of_full_ones_and_no_others(tmp_path: Path) -> None:
    folder, edge = Folder(tmp_path), Edge()
    folder.prepare()
    for step in (100, 300, 200):
        folder.write(edge.extend(entries_of(step)) + edge.partials())
    folder.prune(0, 400)
    left = sorted(path.relative_to(tmp_path / "tile").as_posix() for path in tmp_path.rglob("*.p"))
    assert left == ["0/001.p", "0/002.p", "1/000.p", "entries/001.p", "entries/002.p"]
    folder.prune(400, 600)
    left = sorted(path.relative_to(tmp_path / "tile").as_posix() for path in tmp_path.rglob("*.p"))
    assert left == ["0/002.p", "1/000.p", "entries/002.p"]
