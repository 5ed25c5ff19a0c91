"""The ledger's promises that are kept: the outbox's table `promises`, from the ledger's answer to the receipt."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.department.outbox import Outbox


@dataclass(frozen=True, slots=True)
class KeptPromise:
    """The ledger's promise to publish an entry (docs/formats.md §6), accepted then (Unix seconds), and the entry."""

    leaf_hash: bytes
    entry: bytes
    accepted: int
    promise: bytes


def keep_promise(outbox: Outbox, kept: KeptPromise) -> None:
    """The ledger's promise for a record; of two for the same one the earlier is kept, which binds more.

    It stays until the receipt comes, also when the record is refused later: then it is evidence.  Inside a
    transaction.
    """
    with outbox.reading() as db:
        # Another sender may have the receipt already: then there is nothing left to be promised.
        db.execute(
            "INSERT INTO promises SELECT :leaf, :entry, :accepted, :promise "
            "WHERE EXISTS (SELECT 1 FROM records WHERE leaf_hash = :leaf) OR EXISTS (SELECT 1 FROM coverages "
            "WHERE leaf_hash = :leaf AND state <> 'done') "
            "ON CONFLICT (leaf_hash) DO UPDATE SET accepted = :accepted, promise = :promise WHERE :accepted < accepted",
            {"leaf": kept.leaf_hash, "entry": kept.entry, "accepted": kept.accepted, "promise": kept.promise},
        )


def forget_promise(outbox: Outbox, leaf_hash: bytes) -> None:
    """It was kept; inside a transaction."""
    with outbox.reading() as db:
        db.execute("DELETE FROM promises WHERE leaf_hash = ?", (leaf_hash,))


def kept_promises(outbox: Outbox, accepted_before: int | None = None) -> list[KeptPromise]:
    """The promises whose records have no receipt, oldest first; with a time (Unix seconds), those before it."""
    before = 2**62 if accepted_before is None else accepted_before
    with outbox.reading() as db:
        rows = db.execute(
            "SELECT leaf_hash, entry, accepted, promise FROM promises WHERE accepted < ? ORDER BY accepted",
            (before,),
        ).fetchall()
    return [KeptPromise(*row) for row in rows]


def count_promises(outbox: Outbox, accepted_before: int) -> tuple[int, int]:
    """How many promises are kept, and how many of them are from before that time (Unix seconds)."""
    with outbox.reading() as db:
        kept, before = db.execute(
            "SELECT count(*), count(*) FILTER (WHERE accepted < ?) FROM promises", (accepted_before,)
        ).fetchone()
    return kept, before
