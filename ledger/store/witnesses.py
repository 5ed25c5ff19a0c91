"""How far each witness has come, and since when it gives no cosignature; written by the publisher alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass

from ledger.store import schema
from ledger.store.engine import Connection, run
from ledger.store.statements import among, insert_rows

COSIGNS, MISSING, BEHIND, REFUSES = "cosigns", "missing", "behind", "refuses"
"""How a witness stands: it cosigned when last asked; it gave no answer of use; it is an auditor that has still to check
entries; it answered that it will not cosign this."""


@dataclass(frozen=True, slots=True)
class WitnessProgress:
    """One witness, by its vkey: the size it `confirmed` last (leaves), when it `cosigned` last, how it stands, since
    when it does not cosign, and why. Times are Unix seconds, 0 for never."""

    vkey: str
    confirmed: int = 0
    cosigned: int = 0
    standing: str = COSIGNS
    since: int = 0
    why: str = ""


def read_witnesses(db: Connection) -> dict[str, WitnessProgress]:
    """All that is known, by vkey."""
    rows = run(db, "SELECT vkey, confirmed, cosigned, standing, since, why FROM witnesses")
    return {row[0]: WitnessProgress(*row) for row in rows}


def write_witnesses(db: Connection, changed: Iterable[WitnessProgress]) -> None:
    """Replace what is known of these."""
    insert_rows(
        db,
        schema.witnesses,
        [astuple(progress) for progress in changed],
        conflict="ON CONFLICT (vkey) DO UPDATE SET confirmed = excluded.confirmed, cosigned = excluded.cosigned,"
        " standing = excluded.standing, since = excluded.since, why = excluded.why",
    )


def keep_witnesses(db: Connection, vkeys: Collection[str]) -> None:
    """Forget all but these: what left the policy and comes back later begins anew."""
    gone = read_witnesses(db).keys() - set(vkeys)
    if gone:
        those, params = among(db, "vkey", sorted(gone))
        run(db, f"DELETE FROM witnesses WHERE {those}", params)
