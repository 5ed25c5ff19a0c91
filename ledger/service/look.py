"""How far the log has come, for whoever watches the ledger."""

from __future__ import annotations

from typing import NamedTuple

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
