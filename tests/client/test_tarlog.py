"""A tar of a published folder reads as the folder does; a hostile one is refused, and writes no file anywhere."""

import gzip
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from logfactory import NOW, LogFactory

from ledger.client import tarlog
from ledger.client.openlog import open_log
from ledger.client.publiclog import Unreachable
from ledger.client.register import read_register
from ledger.client.tarlog import TarLog
from ledger.client.view import View
from ledger.core.errors import Malformed
from ledger.core.tiles import ENTRIES, Tile, decode_bundle


@pytest.fixture(scope="module")
def log() -> LogFactory:
    log = LogFactory()
    source = log.add_source()
    for _ in range(300):
        log.access(source)
    return log


@pytest.fixture
def public(log: LogFactory, tmp_path: Path) -> Path:
    folder = log.publish(tmp_path / "public")
    (folder / "index.html").write_text("the page")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("-cf", "x.tar", "-C", "public", "."),
        ("-cf", "x.tar", "public"),
        ("-czf", "x.tar", "public"),
        ("--format=pax", "-cf", "x.tar", "public"),
        ("--format=ustar", "-czf", "x.tar", "-C", "public", "checkpoint", "tile"),
    ],
)
def test_a_tar_however_made_reads_as_the_folder(
    public: Path, log: LogFactory, arguments: tuple[str, ...]
) -> None:
    subprocess.run(["tar", *arguments], cwd=public.parent, check=True)
    source = open_log(str(public.parent / "x.tar"))
    view = View.open(source, log.policy(), NOW)
    assert list(read_register(view).register.sources) == [1]
    assert view.entries([2, 300]) == {2: log.entries[2], 300: log.entries[300]}
    assert source.envelopes([bytes(32)]) is None
    source.close()


def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one(public: Path, log: LogFactory) -> None:
    subprocess.run(["tar", "-cf", "x.tar", "public"], cwd=public.parent, check=True)
    source = TarLog(public.parent / "x.tar")
    assert decode_bundle(source.tile(Tile(ENTRIES, 0, 7)), 7, "") == log.entries[:7]
    with pytest.raises(Unreachable, match="not whole"):
        source.tile(Tile(0, 9))
    source.close()


Member = tuple[str, bytes, dict[str, object]]


def _tar(path: Path, *members: Member) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data, changes in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in changes.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return path


GOOD: Member = ("checkpoint", b"x", {})


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("/checkpoint", b"x", {})], "leads out"),
        ([GOOD, ("a/../../etc/passwd", b"x", {})], "leads out"),
        ([GOOD, ("..", b"", {"type": tarfile.DIRTYPE})], "leads out"),
        (
            [GOOD, ("tile/0/000", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})],
            "link or a device",
        ),
        (
            [GOOD, ("tile/0/000", b"", {"type": tarfile.LNKTYPE, "linkname": "checkpoint"})],
            "link or a device",
        ),
        ([GOOD, ("tile/0/000", b"", {"type": tarfile.CHRTYPE})], "link or a device"),
        ([GOOD, ("pipe", b"", {"type": tarfile.FIFOTYPE})], "link or a device"),
        ([GOOD, GOOD], "twice"),
        ([GOOD, ("./checkpoint", b"y", {})], "twice"),
        ([GOOD, ("other/checkpoint", b"y", {})], "two logs"),
        ([("checkpoint", bytes((1 << 20) + 1), {})], "longer than 1048576"),
        ([GOOD, ("tile/0/000", bytes(8193), {})], "longer than 8192"),
        ([("index.html", b"x", {})], "no file of a log"),
        ([GOOD, ("n" * ((1 << 20) + 512), b"x", {})], "header longer"),
    ],
)
def test_what_no_copy_of_a_folder_holds_is_refused(tmp_path: Path, members: list[Member], said: str) -> None:
    with pytest.raises(Malformed, match=said):
        TarLog(_tar(tmp_path / "x.tar", *members))


def _bomb(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        for _ in range(100):
            file.write(bytes(1 << 20))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b""), "no file of a log|damaged"),
        (lambda path: path.write_bytes(b"no tar at all"), "neither a tar"),
        (lambda path: path.write_bytes(os.urandom(5000)), "neither a tar"),
        (lambda path: path.write_bytes(b"\x1f\x8b damaged"), "damaged or breaks off"),
        (lambda path: path.write_bytes(gzip.compress(b"x" * 9999)[:-9]), "damaged or breaks off"),
        (_bomb, "unpacks to more than"),
    ],
)
def test_what_is_no_tar_is_said_to_be_none(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    make(tmp_path / "x.tar")
    with pytest.raises(Malformed, match=said):
        open_log(str(tmp_path / "x.tar"))


def test_headers_that_follow_each_other_without_end_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) * 20_000)
    with pytest.raises(Malformed):
        TarLog(tmp_path / "x.tar")


def test_a_tar_with_more_files_than_can_be_held_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarlog, "MAX_FILES", 3)
    with pytest.raises(Malformed, match="more than 3 files"):
        TarLog(_tar(tmp_path / "x.tar", GOOD, *[(f"f{n}", b"", {}) for n in range(3)]))


def test_a_tar_that_breaks_off_could_not_be_checked(public: Path) -> None:
    subprocess.run(["tar", "-cf", "x.tar", "public"], cwd=public.parent, check=True)
    path = public.parent / "x.tar"
    path.write_bytes(path.read_bytes()[:-30_000])
    with pytest.raises((Malformed, Unreachable)):
        source = TarLog(path)
        for n in range(2):
            for level in (0, ENTRIES):
                source.tile(Tile(level, n, 256 if n == 0 else 46))
