"""Counters that were lost, rebuilt by asking the public index which labels are taken.

How far a stream was counted is public to whoever can compute its labels.  But an entry handed in by the lost outbox
may still be on its way, so the index is believed only under a checkpoint that must hold all of them:

- a witness dated it at least `merge_delay_s` after recovery began (docs/formats.md §6: by then an accepted
  entry is published, or the ledger has broken its promise), or
- the operator of the ledger says that nothing of this source waits any more (`--nothing-waits`).

From then on every stream that the outbox does not know is asked for at its first use; streams that it does
know, from a backup, are asked for at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from ledger.client.publiclog import Moved
from ledger.client.view import View
from ledger.core.entries import record_index_label
from ledger.core.errors import Malformed
from ledger.department.outbox import Outbox
from ledger.department.ownlog import want
from ledger.department.records import RecordMaker
from ledger.department.refusals import code_of
from ledger.department.settings import CannotGoOn

BEGAN: Final = "recovery began"
PROBE: Final = "unknown streams are asked for"

RECOVERING: Final = "its counters are being recovered; run: glassbook department recover"

_FIRST_ROUND: Final = 8
_ATTEMPTS: Final = 5
Name = tuple[int, int, str]


def count_streams(view: View, maker: RecordMaker, streams: list[Name]) -> list[int]:
    """How many records of each stream (epoch, seal, subject) the index holds under `view`, counted from 1.

    Asks for 8 numbers of each, then 16, 32 … of those that go on.  Raises what `view.proofs` raises.
    """
    found = dict.fromkeys(streams, 0)
    open_, width = list(found), _FIRST_ROUND
    while open_:
        asked = [(name, found[name] + i) for name in open_ for i in range(1, width + 1)]
        labels = [
            record_index_label(maker.source, epoch, seal, maker.key_of(epoch, seal, subject).label(n))
            for (epoch, seal, subject), n in asked
        ]
        present = {
            pair: located.index is not None for pair, located in zip(asked, view.proofs(labels), strict=True)
        }
        going_on = []
        for name in open_:
            start = found[name]
            while present.get((name, found[name] + 1)):
                found[name] += 1
            if found[name] == start + width:
                going_on.append(name)
        open_, width = going_on, 2 * width
    return [found[name] for name in streams]


def asking(open_view: Callable[[], View], maker: RecordMaker) -> Callable[[list[Name]], list[int]]:
    """`count_streams` under the newest checkpoint, begun again when the log moves on in between."""

    def find(streams: list[Name]) -> list[int]:
        if not streams:
            return []
        for _ in range(_ATTEMPTS - 1):
            try:
                return count_streams(open_view(), maker, streams)
            except Moved:
                continue
        return count_streams(open_view(), maker, streams)

    return find


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a recovery did: streams whose counter was behind, and records given another number."""

    streams: int
    behind: int
    renumbered: int


def begin(outbox: Outbox, now: int) -> int:
    """Take note that recovery begins now, unless it has begun; the time it began, Unix seconds."""
    kept = outbox.get(BEGAN)
    if kept is not None:
        return _number(kept)
    outbox.put(BEGAN, str(now).encode())
    return now


def is_recovering(outbox: Outbox) -> bool:
    """Recovery has begun and not ended: no number may be given."""
    return outbox.get(BEGAN) is not None


def must_ask(outbox: Outbox) -> bool:
    """An outbox was lost once, so a stream that this one does not know may have records."""
    return outbox.get(PROBE) is not None


def finish(
    outbox: Outbox, view: View, maker: RecordMaker, merge_delay_s: int, nothing_waits: bool
) -> Recovered:
    """Rebuild the counters under `view` and end the recovery.

    Raises CannotGoOn while entries handed in before may still be on their way.
    """
    began = _number(outbox.get(BEGAN) or b"0")
    due = began + merge_delay_s
    newest = view.opened.newest
    if not nothing_waits and (newest is None or newest < due):
        seen = (
            "no witness dates the checkpoint"
            if newest is None
            else f"the checkpoint is {max(0, due - newest)} s too early"
        )
        raise CannotGoOn(
            "recover",
            f"entries handed in before may still be on their way for merge_delay_s ({merge_delay_s} s), and {seen}; "
            "run this again later, or with --nothing-waits when the ledger's operator says that none of yours wait",
        )
    streams = list(outbox.streams())
    counts = count_streams(view, maker, [(s.epoch, s.seal, s.subject) for s in streams])
    behind = 0
    with outbox.transaction():
        for stream, count in zip(streams, counts, strict=True):
            if count > stream.given:
                behind += 1
            outbox.raise_counter(stream.id, count)
    renumbered = 0
    for record in outbox.refused():
        if code_of(record.problem) != "label-conflict":
            continue
        with outbox.transaction():
            outbox.replace_record(record, partial(maker.renumber, record))
        renumbered += 1
    with outbox.transaction():
        outbox.put(PROBE, b"yes")
        # Nor are the receipts known of what the lost outbox had logged, which coverages count.
        want(outbox)
        outbox.put(BEGAN, None)
    return Recovered(len(streams), behind, renumbered)


def _number(kept: bytes) -> int:
    if not kept.isdigit():
        raise Malformed("outbox", "does not know when recovery began")
    return int(kept)
