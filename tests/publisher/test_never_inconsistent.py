"""A log never signs what contradicts what it signed before, whichever of its three memories is left."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from smalllog import NOW, SmallLog, walk

from ledger.store.publication import read_publication
from publisher.signing import SigningRefused


def back_up(small: SmallLog) -> Path:
    """A copy of the database as it is now."""
    path = small.home / "backup.sqlite"
    source, target = sqlite3.connect(small.database), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path


def restore(small: SmallLog, backup: Path) -> None:
    """Put the copy in the database's place, as an operator would."""
    small.store.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{small.database}{suffix}").unlink(missing_ok=True)
    shutil.copyfile(backup, small.database)
    small.reopen()


def signed_sizes(small: SmallLog) -> tuple[int, int]:
    """The size in the file beside the keys, and the one the witness saw."""
    note = (small.home / "keys" / "signed").read_text()
    return int(note.split("\n")[1]), small.witnesses[0].file.seen(small.policy().origin).size


@pytest.fixture
def restored(small: SmallLog) -> SmallLog:
    """Published up to 12 entries; then the database is put back to the 6 it had before."""
    small.append(3)
    assert small.publisher().round()
    backup = back_up(small)
    small.append(5)
    assert small.publisher().round()
    restore(small, backup)
    return small


@pytest.mark.parametrize("grow", [0, 2, 5, 40], ids="after {} other entries".format)
@pytest.mark.parametrize("lost", ["nothing", "folder", "signed"])
def test_a_restored_database_is_refused(restored: SmallLog, grow: int, lost: str) -> None:
    if lost == "folder":
        shutil.rmtree(restored.public)
    if lost == "signed":
        (restored.home / "keys" / "signed").unlink()
    if grow:
        restored.append(grow)
    publisher = restored.publisher()
    before = restored.witnesses[0].file.seen(restored.policy().origin)
    for _ in range(2):
        with pytest.raises(SigningRefused, match="restor"):
            publisher.round()
    assert restored.witnesses[0].file.seen(restored.policy().origin) == before
    with restored.store.read() as db:
        assert read_publication(db).signed_size == 6, "nothing was signed"
    if lost != "folder":
        assert len(walk(restored.public, restored.policy(), NOW)) == 12, "what was published stays readable"


def test_a_signature_that_was_never_published_binds_as_well(small: SmallLog) -> None:
    assert small.publisher().round()
    backup = back_up(small)
    small.witnesses[0].stop()
    small.append(5)
    assert not small.publisher().round()
    assert signed_sizes(small)[0] == 8
    small.witnesses[0].start()
    restore(small, backup)
    small.append(5)
    with pytest.raises(SigningRefused, match="not those that were signed"):
        small.publisher().round()
    assert signed_sizes(small) == (8, 2)


def test_a_backup_that_only_forgot_the_signature_is_gone_on_with(small: SmallLog) -> None:
    small.append(3)
    backup = back_up(small)
    assert small.publisher().round()
    restore(small, backup)
    publisher = small.publisher()
    assert not publisher.round(), "all is published already"
    assert publisher.status.state == "publishing"
    with small.store.read() as db:
        row = read_publication(db)
    assert row.published_note == (small.public / "checkpoint").read_bytes() and row.signed_size == 6
    small.append(1)
    assert publisher.round()
    assert len(walk(small.public, small.policy(), NOW)) == 8


def test_a_lost_folder_is_written_anew(small: SmallLog) -> None:
    small.append(600)
    assert small.publisher().round()
    shutil.rmtree(small.public)
    assert small.publisher().round()
    assert len(walk(small.public, small.policy(), NOW)) == 603


@pytest.mark.parametrize("name", ["tile/0/002.p/91", "tile/1/000.p/2", "tile/entries/002.p/91"])
@pytest.mark.parametrize("damage", ["gone", "altered"])
def test_a_damaged_right_edge_is_written_anew(small: SmallLog, name: str, damage: str) -> None:
    small.append(600)
    assert small.publisher().round()
    path = small.public / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(bytes(len(path.read_bytes())))
    small.append(1)
    assert small.publisher().round()
    assert len(walk(small.public, small.policy(), NOW)) == 605


def test_a_database_whose_last_leaf_does_not_fit_is_not_signed(small: SmallLog) -> None:
    assert small.publisher().round()
    small.append(3)
    with small.store.write() as db:
        db.exec_driver_sql("UPDATE entries SET entry = randomblob(146) WHERE number = 3")
    with pytest.raises(SigningRefused, match="not the index root of those before it"):
        small.publisher().round()
    assert signed_sizes(small) == (2, 2)


def test_a_folder_of_another_log_is_not_overwritten(small: SmallLog, tmp_path: Path) -> None:
    assert small.publisher().round()
    note = (small.public / "checkpoint").read_text()
    (small.public / "checkpoint").write_text(note.replace("log.example.gov", "log.other.gov"))
    with pytest.raises(SigningRefused, match="should be a checkpoint signed by this log"):
        small.publisher().round()


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"half a no"])
def test_a_damaged_memory_is_refused_with_a_way_out(small: SmallLog, content: bytes) -> None:
    assert small.publisher().round()
    (small.home / "keys" / "signed").write_bytes(content)
    small.append(1)
    if content:
        with pytest.raises(SigningRefused, match="move it away"):
            small.publisher().round()
        (small.home / "keys" / "signed").unlink()
    assert small.publisher().round()
