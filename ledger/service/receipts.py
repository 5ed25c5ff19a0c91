"""Receipts of published entries (docs/formats.md §6).

The inclusion proof is made from the store's tiles.  The index proof, the index root and the checkpoint come from the
publisher's public `POST /index/proofs`: whatever checkpoint it answers with is the one the receipt is for, so
all parts of a receipt belong together, and the ledger holds no second copy of the published index.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import httpx

from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.encoding import b64decode, b64encode
from ledger.core.entries import decode_entry
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.jose import members, parse_json
from ledger.core.merkle import InclusionPaths, Node, leaf_hash, node_hash, tree_root
from ledger.core.note import parse_note
from ledger.core.receipt import IndexRootProof, Receipt, index_root_object, read_index_root, receipt_object
from ledger.core.tiles import TILE_HEIGHT
from ledger.core.tlogproof import TlogProof
from ledger.service.problems import busy
from ledger.service.publicentries import PublicEntries
from ledger.store import Connection, Store, keys, log, publication, treetiles

TIMEOUT_S = 10.0
PROOFS_LIMIT = 10_000
MAKING = 4
"""Requests whose receipts are made at a time; 10,000 receipts with their proofs take some 60 MB meanwhile."""


class Standing(NamedTuple):
    """How far an entry has come: its index `at`, None while it waits in the inbox; and the size that is published."""

    at: int | None
    entry: bytes
    published_size: int

    @property
    def published(self) -> bool:
        """Whether the published checkpoint holds it."""
        return self.at is not None and self.at < self.published_size


class PublishedProofs(NamedTuple):
    """The publisher's answer: all under one checkpoint, `note`."""

    note: bytes
    checkpoint: Checkpoint
    index_root: IndexRootProof
    proofs: list[bytes]


class StoredNodes:
    """Hashes of subtrees out of the store's tiles, each computed once: many proofs share most of their nodes."""

    def __init__(self, db: Connection, size: int) -> None:
        self._db = db
        self._size = size
        self._known: dict[tuple[int, int], bytes] = {}
        self._tiles: dict[tuple[int, int], bytes] = {}

    def __call__(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self._hash(level, n) for level, n in nodes]

    def _hash(self, level: int, n: int) -> bytes:
        known = self._known.get((level, n))
        if known is None:
            if level % TILE_HEIGHT == 0:
                tile_level, tile = level // TILE_HEIGHT, n >> TILE_HEIGHT
                slot = n % (1 << TILE_HEIGHT) * 32
                known = self._tile(tile_level, tile)[slot : slot + 32]
            else:
                known = node_hash(self._hash(level - 1, 2 * n), self._hash(level - 1, 2 * n + 1))
            self._known[level, n] = known
        return known

    def _tile(self, level: int, n: int) -> bytes:
        tile = self._tiles.get((level, n))
        if tile is None:
            width = min(1 << TILE_HEIGHT, (self._size >> TILE_HEIGHT * level) - (n << TILE_HEIGHT))
            tile = self._tiles[level, n] = treetiles.read_tile(self._db, level, n, width)
        return tile


class Receipts:
    """Makes receipts for one log."""

    def __init__(self, store: Store, origin: str, client: httpx.AsyncClient) -> None:
        self._store = store
        self._origin = origin
        self._client = client
        self._entries = PublicEntries(store, client)
        self._making = asyncio.Semaphore(MAKING)

    async def find(self, leaf: bytes) -> Standing | None:
        """The entry with this leaf hash in log or inbox, or None.  Raises StoreBusy, RequestRefused (busy)."""
        standing, left = await asyncio.to_thread(self._find, leaf)
        if standing is None and left is not None:
            entry = (await self._entries.read([left])).get(left)
            if entry is not None:
                published = await asyncio.to_thread(self._published_size)
                return Standing(left, entry, published)
        return standing

    def _find(self, leaf: bytes) -> tuple[Standing | None, int | None]:
        """The entry as the database has it; or the index of the leaf, when its entry has left."""
        with self._store.read() as db:
            published = publication.read_publication(db).published_size
            numbers = keys.find_numbers(db, keys.LEAF, [leaf]).get(keys.short_key(leaf), [])
            entries = log.read_numbered(db, numbers)
            indices = log.index_of(db, numbers)
            for number, entry in entries.items():
                if leaf_hash(entry) == leaf:
                    return Standing(indices.get(number), entry, published), None
            leaves = treetiles.read_leaf_hashes(db, list(indices.values()))
        return None, next((index for index, digest in leaves.items() if digest == leaf), None)

    def _published_size(self) -> int:
        with self._store.read() as db:
            return publication.read_publication(db).published_size

    def indices(self, numbers: Collection[int]) -> dict[int, int]:
        """The log indices of the entries with these numbers, as far as they are sequenced."""
        with self._store.read() as db:
            return log.index_of(db, numbers)

    async def entries(self, indices: Sequence[int]) -> dict[int, bytes]:
        """The entries at these indices.  Raises StoreBusy, RequestRefused (busy)."""
        return await self._entries.read(indices)

    async def ask(self, wanted: Sequence[bytes]) -> PublishedProofs | None:
        """Index proofs of these labels from the publisher; None while nothing is published.

        Raises RequestRefused (busy) when the publisher does not answer, or not as it should.
        """
        try:
            answer = await self._client.post(
                "/index/proofs", json={"labels": [b64encode(label) for label in wanted]}
            )
        except httpx.HTTPError as error:
            raise busy(f"the publisher does not answer ({type(error).__name__})", 2, "publisher") from None
        if answer.status_code == 503 and b"not-published" in answer.content[:1000]:
            return None
        if answer.status_code != 200:
            after = answer.headers.get("retry-after", "")
            seconds = min(int(after), 60) if after.isascii() and after.isdigit() and len(after) < 4 else 2
            raise busy(f"the publisher answers {answer.status_code}", max(1, seconds), "publisher")
        try:
            return _read_proofs(answer.content, self._origin, len(wanted))
        except GlassbookError as error:
            raise busy(f"the publisher's answer is not what it should be: {error}", 10, "publisher") from None

    def make(
        self, found: PublishedProofs, entries: Sequence[tuple[int, bytes]]
    ) -> list[dict[str, Any] | None]:
        """The receipt of each (index, entry), in the order of `found.proofs`; None beyond the checkpoint."""
        size = found.checkpoint.size
        receipts: list[dict[str, Any] | None] = []
        with self._store.read() as db:
            read = StoredNodes(db, size)
            try:
                if tree_root(size, read) != found.checkpoint.root:
                    raise busy(
                        "the publisher shows another log than the ledger holds; its operator has to look", 60
                    )
                paths, index_root = InclusionPaths(size, read), index_root_object(found.index_root)
                for (index, entry), proof in zip(entries, found.proofs, strict=True):
                    if index >= size:
                        receipts.append(None)
                        continue
                    tlog_proof = TlogProof(index, paths.prove(index), found.note)
                    receipt = Receipt(entry, tlog_proof, found.index_root, proof)
                    receipts.append(receipt_object(receipt, index_root))
            except LookupError:
                raise busy(
                    "the ledger's database is behind what is published; its operator has to look", 60
                ) from None
        return receipts

    async def receipts(self, entries: Sequence[tuple[int, bytes]]) -> list[dict[str, Any] | None]:
        """The receipt of each (index, entry), in order; None for what is not published yet."""
        made: list[dict[str, Any] | None] = []
        for start in range(0, len(entries), PROOFS_LIMIT):
            part = entries[start : start + PROOFS_LIMIT]
            wanted = [decode_entry(entry).index_label or b"" for _, entry in part]
            async with self._making:
                found = await self.ask(wanted)
                made += (
                    [None] * len(part) if found is None else await asyncio.to_thread(self.make, found, part)
                )
        return made


def _read_proofs(data: bytes, origin: str, count: int) -> PublishedProofs:
    where = "index proofs"
    value = members(parse_json(data, where), where, ("checkpoint", "index_root", "proofs"))
    note, proofs = value["checkpoint"], value["proofs"]
    if not isinstance(note, str) or not isinstance(proofs, list) or len(proofs) != count:
        raise Malformed(where, f"not a checkpoint and {count} proofs")
    if not all(isinstance(proof, str) for proof in proofs):
        raise Malformed(where, "a proof is not a text")
    checkpoint = parse_checkpoint(parse_note(note.encode(), where).text)
    if checkpoint.origin != origin:
        raise Malformed(where, "the checkpoint is another log's")
    return PublishedProofs(
        note.encode(),
        checkpoint,
        read_index_root(value["index_root"], f"{where} index_root"),
        [b64decode(proof, where) for proof in proofs],
    )
