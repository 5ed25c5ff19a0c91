"""Where publishing stands, learned anew from the disk: after a start, and after anything that failed.

The public `checkpoint` is what is published. What was signed is the newest of three memories (see
signing.py), and all of them must be earlier states of the tree in the database before anything else is
done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from ledger.core.errors import GlassbookError
from ledger.core.merkle import tree_root
from ledger.core.tiles import TileHashes
from ledger.publicfiles import PublicFiles, StoredNote
from ledger.store import Connection, Store, Writer
from ledger.store.log import read_size
from ledger.store.publication import Publication, read_publication, swap_signed
from ledger.store.treetiles import read_tile
from publisher.signing import LogSigner, Signed, SignedFile, check_history, newest
from publisher.tiles import Edge

log = structlog.get_logger("publisher")


class Superseded(Exception):
    """Another publisher has signed or published since we looked: look again."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is durable: the tree's edge in the public files, the database's row, the newest signature, the
    published note.

    `whole` is False when the files have to be written anew, up to the published size at least.
    """

    edge: Edge
    whole: bool
    row: Publication
    signed: Signed | None
    stored: StoredNote | None
    published: Signed | None


def recover(
    store: Store, writer: Writer, files: PublicFiles, signer: LogSigner, signed_file: SignedFile
) -> Recovered:
    """Raises SigningRefused when the database contradicts what was signed, Superseded, LeadershipLost, OSError,
    StoreBusy."""
    files.prepare()
    with store.read() as db:
        row, size = read_publication(db), read_size(db)
    stored = files.checkpoint()
    published = signer.read(stored.note, f"{files.where}/checkpoint") if stored is not None else None
    history = [published] if published else []
    for found, where in (
        (row.signed_note, "the database's last signature"),
        (row.published_note, "the database's published checkpoint"),
        (signed_file.read(), str(signed_file.path)),
    ):
        if found:
            history.append(signer.read(found, where))
    edge, whole = _load_edge(files, published)
    check_history(history, size, lambda at: _root_at(store, size, at))
    last = newest(history)
    if last is not None:
        row = _remember(writer, signed_file, row, last)
    return Recovered(edge, whole, row, last, stored, published)


def _load_edge(files: PublicFiles, published: Signed | None) -> tuple[Edge, bool]:
    if published is None:
        return Edge(), True
    try:
        edge = Edge.load(published.checkpoint.size, files)
        if edge.root() == published.checkpoint.root:
            return edge, True
        why = "its tiles do not lead to the published root"
    except (LookupError, GlassbookError) as error:
        why = str(error)
    log.warning("writing all tiles anew from the database", where=files.where, why=why)
    return Edge(), False


def _root_at(store: Store, size: int, at: int) -> bytes:
    """The root of the first `at` entries in the database, which holds `size`."""
    with store.read() as db:
        return tree_root(at, TileHashes(lambda tile: read_tile(db, tile.level, tile.n, tile.width), size))


def _remember(writer: Writer, signed_file: SignedFile, row: Publication, last: Signed) -> Publication:
    """Bring the database and the file beside the keys up to the newest signature, wherever it was found."""
    if row.signed_size != last.checkpoint.size or row.signed_note != last.note:
        before = row

        def swap(db: Connection) -> None:
            if not swap_signed(db, before, last.checkpoint.size, last.note):
                raise Superseded

        writer.change(swap)
        row = replace(row, signed_size=last.checkpoint.size, signed_note=last.note)
    if signed_file.read() != last.note:
        signed_file.write(last.note)
    return row
