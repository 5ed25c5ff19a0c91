"""The publisher goes on, and mends, when the entries of full published bundles have left the database."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest
from bucketserver import BucketServer
from engines import ENGINES
from smalllog import NOW, SmallLog, walk

from ledger.core.entries import decode_entry
from ledger.core.index import check_index_proof
from ledger.core.tiles import FULL_WIDTH, decode_bundle, encode_bundle
from ledger.publicfiles import Folder, open_public_files
from ledger.sequencer.leaving import Leaving
from ledger.store.publication import read_publication
from ledger.store.retention import first_leaf_held
from publisher.run import Publisher
from publisher.signing import SigningRefused


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def let_leave(small: SmallLog) -> int:
    """All that may leave; the first leaf that is still there."""
    leaving = Leaving(small.store, small.store, 0)
    while leaving.step():
        pass
    with small.store.read() as db:
        return first_leaf_held(db)


def published(small: SmallLog) -> list[bytes]:
    return walk(small.public, small.policy(), NOW)


@pytest.fixture
def log(small: SmallLog) -> SmallLog:
    """Three batches, each published; of the 603 leaves 512 have left."""
    publisher = small.publisher()
    for count in (100, 300, 198):
        small.append(count)
        assert publisher.round()
    assert let_leave(small) == 512
    return small


def edge(log: SmallLog) -> Path:
    """The partial hash tile at the right edge: whoever starts reads it."""
    (size,) = {len(published(log))}
    return log.public / f"tile/0/00{size // 256}.p/{size % 256}"


def goes_on(log: SmallLog, publisher: Publisher | None = None) -> None:
    """More is sequenced, published, and proven absent and present; what was published stays."""
    before = published(log)[:-1]
    size = log.append(300)
    log.reopen()
    publisher = log.publisher()
    assert publisher.round()
    whole = published(log)
    assert len(whole) == size and whole[: len(before)] == before
    labels = {at: decode_entry(raw).index_label for at, raw in enumerate(whole)}
    asked = {at: label for at, label in labels.items() if label is not None and at % 50 == 7}
    view, proofs = log.published.prove([*asked.values(), bytes(32)])
    found = [
        check_index_proof(view.index_root.index_root, size - 1, label, proof)
        for label, proof in zip([*asked.values(), bytes(32)], proofs, strict=True)
    ]
    assert found == [*asked, None]
    assert let_leave(log) == size // 256 * 256


def test_a_publisher_that_starts_needs_what_has_left(log: SmallLog) -> None:
    goes_on(log)


def test_what_is_not_published_leaves_while_the_publisher_is_away(log: SmallLog) -> None:
    for count in (300, 1, 700):
        log.append(count)
    assert let_leave(log) == 512
    goes_on(log)


@pytest.mark.parametrize("full", [None, "tile/0/000", "tile/0/001"])
def test_damaged_hash_tiles_are_not_mended_without_the_entries(log: SmallLog, full: str | None) -> None:
    before = published(log)
    edge(log).write_bytes(bytes(32))
    if full is not None:
        (log.public / full).write_bytes(bytes(8192))
    publisher = log.publisher()
    publisher.round()
    assert published(log) == before
    goes_on(log)


def exchanged(bundle: bytes) -> bytes:
    entries = decode_bundle(bundle, FULL_WIDTH, "bundle")
    return encode_bundle([*entries[:9], entries[10], entries[9], *entries[11:]])


def flipped(bundle: bytes) -> bytes:
    return bundle[:-1] + bytes([bundle[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda _: None, "is not there"),
        (lambda bundle: bundle[:-3], "is damaged"),
        (flipped, "has another entry 511 than"),
        (exchanged, "has another entry 265 than"),
    ],
)
def test_a_damaged_bundle_of_what_has_left_is_signed_over_or_not_named(
    log: SmallLog, damage: object, words: str
) -> None:
    before = published(log)
    bundle = log.public / "tile/entries/001"
    kept, note = bundle.read_bytes(), (log.public / "checkpoint").read_bytes()
    partial = edge(log)
    assert callable(damage)
    wrong = damage(kept)
    bundle.unlink() if wrong is None else bundle.write_bytes(wrong)
    partial.write_bytes(bytes(32))
    log.append(5)
    publisher = log.publisher()
    for _ in range(2):
        with pytest.raises(SigningRefused) as refused:
            publisher.round()
        assert f"{bundle}: {words}" in str(refused.value)
        assert "Bring this file back from a copy" in str(refused.value)
    assert (log.public / "checkpoint").read_bytes() == note
    bundle.write_bytes(kept)
    assert publisher.round()
    assert published(log)[: len(before)] == before
    goes_on(log)


def test_a_new_place_is_begun_without_the_files_that_are_nowhere_else(log: SmallLog, tmp_path: Path) -> None:
    before, other = published(log), tmp_path / "other"
    publisher = log.publisher(Folder(other))
    with pytest.raises(SigningRefused) as refused:
        publisher.round()
    assert f"{other}/tile/entries/000: is not there" in str(refused.value)
    assert "into a new place copy all of tile/ first" in str(refused.value)
    assert not (other / "checkpoint").exists()
    shutil.copytree(log.public / "tile/entries", other / "tile/entries")
    assert publisher.round()
    assert walk(other, log.policy(), NOW) == before
    # And as it is told: all of it, with its checkpoint.
    third = tmp_path / "third"
    shutil.copytree(log.public, third)
    publisher = log.publisher(Folder(third))
    log.append(1)
    assert publisher.round()
    assert walk(third, log.policy(), NOW)[: len(before)] == before


def test_a_new_bucket_is_begun_without_the_bundles_or_mended_without_reading_them(
    log: SmallLog, server: BucketServer
) -> None:
    before, at = published(log), server.new_bucket()
    files = open_public_files(at)
    publisher = log.publisher(files)
    with pytest.raises(SigningRefused) as refused:
        publisher.round()
    assert f"{at.url}/tile/entries/000: is not there" in str(refused.value)
    tiles = [path for path in (log.public / "tile").rglob("*") if path.is_file()]
    files.write([(str(path.relative_to(log.public)), path.read_bytes()) for path in tiles])
    assert publisher.round()

    def read(name: str) -> bytes | None:
        answer = httpx.get(f"{at.endpoint}/{at.bucket}/{at.prefix}/{name}", trust_env=False, timeout=20)
        return answer.content if answer.status_code == 200 else None

    assert walk(read, log.policy(), NOW) == before
    size = len(before)
    files.mend([(f"tile/0/00{size // 256}.p/{size % 256}", bytes(32)), ("tile/0/000", bytes(8192))])
    log.append(3)
    assert log.publisher(open_public_files(at)).round()
    assert walk(read, log.policy(), NOW)[:size] == before


def test_a_checkpoint_that_went_back_cannot_be_caught_up_with(small: SmallLog) -> None:
    """An older one put back, below what has left: the published size in the database goes back with it."""
    publisher = small.publisher()
    small.append(50)
    assert publisher.round()
    old = (small.public / "checkpoint").read_bytes()
    small.append(500)
    assert publisher.round()
    assert let_leave(small) == 512
    before = published(small)
    (small.public / "checkpoint").write_bytes(old)
    again = small.publisher()
    sizes = set()
    for _ in range(3):
        again.round()
        with small.store.read() as db:
            sizes.add(read_publication(db).published_size)
        assert let_leave(small) == 512
    assert published(small) == before and len(before) in sizes
    goes_on(small)
