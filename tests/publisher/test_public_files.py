"""Every place for public files keeps what the protocol says: a folder, memory, and a bucket on a real S3 server."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from bucketserver import BucketServer
from obstore.store import MemoryStore

from ledger.core.tiles import ENTRIES, Tile, encode_bundle
from ledger.publicfiles import (
    CheckpointReplaced,
    ContentDiffers,
    Folder,
    PlaceRefused,
    PublicFiles,
    bucket,
    folder,
    open_public_files,
)
from ledger.publicfiles.bucket import KEPT_BYTES, Bucket
from ledger.settings import PublicBucket

Open = Callable[[], PublicFiles]
"""Opens the same place anew, as another process does."""

FULL = b"".join(bytes((n,)) * 32 for n in range(256))
BUNDLE = encode_bundle([b"entry %d" % n for n in range(256)])


@pytest.fixture(params=["folder", "memory", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "folder":
        return lambda: prepared(Folder(tmp_path / "public"))
    if request.param == "memory":
        store = MemoryStore()
        return lambda: prepared(Bucket(store, "memory://"))
    at = request.getfixturevalue("server").new_bucket()
    return lambda: prepared(open_public_files(at))


def prepared(files: PublicFiles) -> PublicFiles:
    files.prepare()
    return files


def test_what_is_written_is_read_by_others_at_once(place: Open) -> None:
    files = [(Tile(0, n).path, FULL[n % 7 :] + bytes(n % 7)) for n in range(100)]
    files += [(Tile(0, 100, 17).path, FULL[: 17 * 32]), (Tile(ENTRIES, 0).path, BUNDLE)]
    one = place()
    one.write(files)
    for reader in (one, place()):
        assert reader(Tile(0, 41)) == files[41][1] == reader.file(Tile(0, 41))
        assert reader(Tile(0, 100, 17)) == FULL[: 17 * 32]
        assert reader(Tile(ENTRIES, 0)) == BUNDLE


def test_a_file_is_written_twice_but_never_with_another_content(place: Open) -> None:
    same, other, new = Tile(0, 0).path, Tile(0, 1).path, Tile(0, 2).path
    place().write([(same, FULL), (other, FULL)])
    place().write([(same, FULL), (new, FULL)])
    with pytest.raises(ContentDiffers, match=other):
        place().write([(same, FULL), (other, FULL[::-1])])
    with pytest.raises(ContentDiffers, match=other):
        place().write([(other, FULL[:-1])])
    assert [place()(Tile(0, n)) for n in range(3)] == [FULL] * 3


def test_mending_replaces_what_is_damaged(place: Open) -> None:
    one = place()
    one.write([(Tile(0, 0).path, bytes(8192)), (Tile(0, 1).path, bytes(9000))])
    assert one(Tile(0, 0)) == bytes(8192)
    one.mend([(Tile(0, n).path, FULL) for n in range(3)])
    for reader in (one, place()):
        assert [reader(Tile(0, n)) for n in range(3)] == [FULL] * 3


def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one(place: Open) -> None:
    place().write([(Tile(2, 5).path, FULL), (Tile(ENTRIES, 5).path, BUNDLE)])
    reader = place()
    assert reader(Tile(2, 5, 3)) == FULL[:96]
    assert reader(Tile(ENTRIES, 5, 3)) == encode_bundle([b"entry 0", b"entry 1", b"entry 2"])
    with pytest.raises(LookupError, match="missing"):
        reader.file(Tile(2, 5, 3))
    with pytest.raises(LookupError, match="missing"):
        reader(Tile(2, 6, 3))


def test_only_the_checkpoint_expected_is_replaced(place: Open) -> None:
    one, other = place(), place()
    assert one.checkpoint() is None
    first = one.replace_checkpoint(b"note 1\n", None)
    assert other.checkpoint() == (b"note 1\n", first)
    with pytest.raises(CheckpointReplaced):
        other.replace_checkpoint(b"note 2\n", None)
    second = other.replace_checkpoint(b"note 3\n", first)
    assert second != first
    with pytest.raises(CheckpointReplaced):
        one.replace_checkpoint(b"note 4\n", first)
    assert one.checkpoint() == other.checkpoint() == (b"note 3\n", second)


def test_of_three_that_replace_one_checkpoint_at_once_one_does(
    place: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "REQUEST_S", 60.0)  # SeaweedFS has such puts wait for each other, for seconds
    places = [place() for _ in range(3)]
    first = places[0].replace_checkpoint(b"before\n", None)

    def replace(number: int) -> bytes | None:
        try:
            places[number].replace_checkpoint(b"by %d\n" % number, first)
        except CheckpointReplaced:
            return None
        return b"by %d\n" % number

    with ThreadPoolExecutor(3) as pool:
        won = [note for note in pool.map(replace, range(3)) if note]
    stored = place().checkpoint()
    assert stored is not None and won == [stored.note]


def test_a_folder_whose_lock_another_process_holds_is_said_and_keeps_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "LOCK_SECONDS", 0.1)
    files = prepared(Folder(tmp_path))
    version = files.replace_checkpoint(b"note 1\n", None)
    with (tmp_path / ".lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process holds this lock"):
            files.replace_checkpoint(b"note 2\n", version)
        assert files.checkpoint() == (b"note 1\n", version)
    files.replace_checkpoint(b"note 2\n", version)


def test_pruning_takes_partial_tiles_of_full_ones_and_no_other_file(place: Open) -> None:
    names = [Tile(level, n) for level in (0, ENTRIES) for n in (0, 1, 2, 998, 999, 1000, 1001)]
    names += [Tile(0, n, width) for n in (0, 1, 2, 999, 1000, 1001, 1002) for width in (1, 255)]
    names += [Tile(1, 0, 3), Tile(1, 3), Tile(1, 3, 200), Tile(ENTRIES, 1000, 9)]
    one = place()
    one.write([(tile.path, b"content") for tile in names])

    def left() -> set[str]:
        reader, found = place(), set()
        for tile in names:
            try:
                reader.file(tile)
            except LookupError:
                continue
            found.add(tile.path)
        return found

    whole = {tile.path for tile in names}
    one.prune(0, 2 * 256 + 200)
    gone = {Tile(0, n, width).path for n in (0, 1) for width in (1, 255)}
    assert left() == whole - gone
    with pytest.raises(LookupError):
        one.file(Tile(0, 1, 255))
    one.prune(998 * 256, 1024 * 256)  # tile 1002 has no full one beside it, and tile 3 of level 1 became full
    gone |= {Tile(0, n, width).path for n in (999, 1000, 1001) for width in (1, 255)}
    gone |= {Tile(ENTRIES, 1000, 9).path, Tile(1, 3, 200).path}
    assert left() == whole - gone


def test_a_good_place_passes_its_probe(place: Open) -> None:
    place().probe()


def test_what_a_bucket_keeps_in_memory_is_bounded(tmp_path: Path) -> None:
    files = Bucket(MemoryStore(), "memory://")
    files.write([(Tile(ENTRIES, n).path, bytes(1 << 20)) for n in range(40)])
    assert files._kept._bytes == KEPT_BYTES
    assert files(Tile(ENTRIES, 0, 2)) == bytes(4)


def test_a_cache_in_front_is_told_what_may_be_kept(server: BucketServer) -> None:
    at = server.new_bucket()
    files = open_public_files(at)
    files.write([(Tile(0, 0).path, FULL)])
    files.replace_checkpoint(b"note\n", None)
    base = f"{at.endpoint}/{at.bucket}/{at.prefix}"
    tile = httpx.get(f"{base}/tile/0/000", trust_env=False)
    assert tile.content == FULL
    assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert tile.headers["content-type"] == "application/octet-stream"
    checkpoint = httpx.get(f"{base}/checkpoint", trust_env=False)
    assert checkpoint.content == b"note\n"
    assert checkpoint.headers["cache-control"] == "no-cache"
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert files.wrong_headers("checkpoint") == files.wrong_headers("tile/0/000") == []


def test_what_was_written_is_there_after_the_server_was_killed(server: BucketServer) -> None:
    at = server.new_bucket()
    files = open_public_files(at)
    files.write([(Tile(0, n).path, FULL) for n in range(50)])
    version = files.replace_checkpoint(b"note\n", None)
    server.kill()
    server.restart()
    again = open_public_files(at)
    assert [again(Tile(0, n)) for n in range(50)] == [FULL] * 50
    assert again.checkpoint() == (b"note\n", version)
    with pytest.raises(ContentDiffers):
        again.write([(Tile(0, 3).path, FULL[::-1])])


def test_without_the_extra_a_bucket_says_what_to_install_and_a_folder_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("obstore", "ledger.publicfiles.bucket"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "obstore", None)
    key = tmp_path / "key.toml"
    at = PublicBucket("our-logs", "", "https://s3.example.gov", "us-east-1", key, False, False)
    with pytest.raises(PlaceRefused, match=r"needs obstore; run: pip install 'glassbook\[s3\]'"):
        open_public_files(at)
    open_public_files(tmp_path / "public").prepare()
