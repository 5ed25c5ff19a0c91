"""Entries that have left the database: read from the published bundles, and held against the tree.

The publisher serves the bundles at `public_url`, from its folder or bucket.  Each entry is compared with its leaf hash
in the database's own tiles, which stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from ledger.core.errors import GlassbookError
from ledger.core.merkle import leaf_hash
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle
from ledger.service.problems import busy
from ledger.store import Store, log, treetiles


class PublicEntries:
    """Reads entries of one log by index, wherever they are."""

    def __init__(self, store: Store, client: httpx.AsyncClient) -> None:
        self._store = store
        self._client = client

    async def read(self, indices: Sequence[int]) -> dict[int, bytes]:
        """The entries at these indices of the log.

        Raises RequestRefused (busy) when the publisher does not give what has left; StoreBusy.
        """
        found, leaves = await asyncio.to_thread(self._stored, indices)
        for n in sorted({index // FULL_WIDTH for index in leaves}):
            bundle = await self._bundle(n)
            for index in [index for index in leaves if index // FULL_WIDTH == n]:
                entry = bundle[index % FULL_WIDTH]
                if leaf_hash(entry) != leaves[index]:
                    raise busy(
                        "the publisher shows another log than the ledger holds; its operator has to look", 60
                    )
                found[index] = entry
        return found

    def _stored(self, indices: Sequence[int]) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """Those that are in the database, and the leaf hashes of those that have left."""
        with self._store.read() as db:
            found = log.read_entries_at(db, indices)
            return found, treetiles.read_leaf_hashes(db, [index for index in indices if index not in found])

    async def _bundle(self, n: int) -> list[bytes]:
        path = Tile(ENTRIES, n).path
        try:
            answer = await self._client.get(f"/{path}")
        except httpx.HTTPError as error:
            raise busy(f"the publisher does not answer ({type(error).__name__})", 2) from None
        if answer.status_code != 200:
            raise busy(f"the publisher answers {answer.status_code} for an entry bundle", 2)
        try:
            return decode_bundle(answer.content, FULL_WIDTH, path)
        except GlassbookError as error:
            raise busy(f"the publisher's entry bundle cannot be read: {error.what}", 60) from None
