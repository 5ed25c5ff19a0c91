"""Several copies of one log: whatever one of them lacks or falsifies, another stands in for it, and it is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from logfactory import NOW, LogFactory
from logserver import LogServer

from ledger.client.folderlog import FolderLog
from ledger.client.mirrors import ASIDE_S, Mirrors
from ledger.client.openlog import open_log
from ledger.client.publiclog import Unreachable
from ledger.client.register import read_register
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.errors import ProofRefuted
from ledger.core.tiles import ENTRIES, Tile, tiles_of


@pytest.fixture(scope="module")
def log() -> LogFactory:
    log = LogFactory()
    source = log.add_source()
    for _ in range(600):
        log.access(source)
    log.seal_batch()
    return log


@pytest.fixture
def folders(log: LogFactory, tmp_path: Path) -> list[Path]:
    return [log.publish(tmp_path / name) for name in ("first", "second")]


def _mirrors(folders: list[Path]) -> Mirrors:
    return Mirrors([FolderLog(folder) for folder in folders])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _read_all(log: Mirrors, of: LogFactory) -> None:
    log.checkpoint()
    files = of.files()
    for tile in tiles_of(of.size):
        assert log.tile(tile) == files[tile.path], tile


def test_each_false_file_of_the_first_is_taken_from_the_second_and_the_first_is_named(
    log: LogFactory, folders: list[Path]
) -> None:
    for tile in tiles_of(log.size):
        path = folders[0] / tile.path
        honest = path.read_bytes()
        for change in ("flip", "cut", "gone"):
            if change == "flip":
                _flip(path)
            elif change == "cut":
                path.write_bytes(honest[:-1])
            else:
                path.unlink()
            mirrors = _mirrors(folders)
            _read_all(mirrors, log)
            assert len(mirrors.complaints) == 1, (tile, change)
            assert mirrors.complaints[0].startswith(f"{folders[0]} is left aside: ")
            assert tile.path in mirrors.complaints[0] or tile.level == 0
            path.write_bytes(honest)


def test_two_copies_that_each_lack_something_make_a_whole_one(log: LogFactory, folders: list[Path]) -> None:
    (folders[0] / "tile/entries/000").unlink()
    (folders[1] / "tile/entries/001").unlink()
    (folders[1] / "checkpoint").unlink()
    mirrors = _mirrors(folders)
    _read_all(mirrors, log)
    assert len(mirrors.complaints) == 2


def test_when_every_copy_is_false_the_reader_is_given_it_and_refutes_it(
    log: LogFactory, folders: list[Path]
) -> None:
    for folder in folders:
        _flip(folder / "tile/entries/001")
    view = View.open(_mirrors(folders), log.policy(), NOW)
    with pytest.raises(ProofRefuted, match="entry|bundle"):
        view.entries(range(256, 512))


def test_a_false_checkpoint_is_refuted_however_many_copies_there_are(
    log: LogFactory, folders: list[Path]
) -> None:
    (folders[0] / "checkpoint").write_bytes(log.sign(log.size, bytes(32)))
    view = View.open(_mirrors(folders), log.policy(), NOW)
    for _ in range(2):
        with pytest.raises(ProofRefuted, match="do not fold"):
            view.entries([0])


def test_a_copy_that_does_not_answer_is_asked_again_after_a_while(
    log: LogFactory, folders: list[Path]
) -> None:
    now = [0.0]
    mirrors = Mirrors([FolderLog(folder) for folder in folders], clock=lambda: now[0])
    (folders[0] / "checkpoint").rename(folders[0] / "away")
    mirrors.checkpoint()
    assert len(mirrors.complaints) == 1
    (folders[0] / "away").rename(folders[0] / "checkpoint")
    (folders[1] / "checkpoint").unlink()
    # The second lacks it as well by now, so the first is asked before its time.
    mirrors.checkpoint()
    now[0] = ASIDE_S + 1
    mirrors.checkpoint()
    with pytest.raises(Unreachable):
        (folders[0] / "checkpoint").unlink()
        mirrors.checkpoint()


def test_tiles_of_a_smaller_tree_than_the_newest_are_given_unchecked(
    log: LogFactory, folders: list[Path]
) -> None:
    mirrors = _mirrors(folders)
    assert mirrors.tile(Tile(0, 0, 5)) == log.files()["tile/0/000"][: 5 * 32]
    mirrors.checkpoint()
    assert mirrors.tile(Tile(0, 0, 5)) == log.files()["tile/0/000"][: 5 * 32]


@pytest.fixture
def server(log: LogFactory) -> Iterator[LogServer]:
    with LogServer(log) as server:
        yield server


def test_a_url_and_a_folder_stand_in_for_each_other(
    log: LogFactory, folders: list[Path], server: LogServer
) -> None:
    said: list[str] = []
    source = open_log(["http://127.0.0.1:9/", server.url, str(folders[0])], told=said.append)
    server.wrong[Tile(ENTRIES, 0).path] = 404
    server.wrong["index/proofs"] = 500
    view = View.open(source, log.policy(), NOW)
    assert list(read_register(view).register.sources) == [1]
    stream = log.stream(log.sources[0], "nhs:9434765919", 2026)
    found = source.envelopes([stream.fetch_token(1)])
    assert found is not None and found[0] is not None
    assert [line.split(" ")[0] for line in said] == ["http://127.0.0.1:9/", server.url]
    source.close()


def test_one_name_given_twice_is_one_copy(server: LogServer) -> None:
    source = open_log([server.url, server.url])
    assert isinstance(source, UrlLog)
    source.close()
