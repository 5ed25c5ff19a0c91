"""How far the log has come, for whoever watches the ledger."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ledger.store import Store, inbox, log, publication, witnesses
from ledger.store.publication import Publication
from ledger.store.witnesses import WitnessProgress


class Look(NamedTuple):
    """Entries waiting in the inbox, the log's size, what is published of it, and the witnesses that do not cosign."""

    waiting: int
    size: int
    publication: Publication
    absent: list[WitnessProgress]

    def about(self) -> dict[str, object]:
        """Sizes in leaves; what is sequenced and not published waits for the witnesses named, or for the publisher."""
        return {
            "waiting": self.waiting,
            "sequenced_size": self.size,
            "published_size": self.publication.published_size,
            "witnesses_missing": [
                {"name": witness.vkey.split("+")[0], "standing": witness.standing, "since": witness.since}
                for witness in self.absent
            ],
        }


class Lookout:
    """Looks, one at a time and in a thread of its own: however much is handed in, and however often it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, "look")
        self._looking: asyncio.Future[Look] | None = None

    async def look(self) -> Look:
        """What is found now; who asks while another looks gets the same.  Raises StoreBusy."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().run_in_executor(self._thread, self._look)
        return await asyncio.shield(self._looking)

    def close(self) -> None:
        self._thread.shutdown()

    def _look(self) -> Look:
        with self._store.read() as db:
            absent = [w for w in witnesses.read_witnesses(db).values() if w.standing != witnesses.COSIGNS]
            return Look(inbox.backlog(db), log.read_size(db), publication.read_publication(db), absent)
