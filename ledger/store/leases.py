"""Who leads a role (`sequencer`, `publisher`): a row under compare-and-swap, judged by the database's clock.

A lease runs for LENGTH_MS and is renewed every RENEW_S by a thread of its own, so also while a long batch is
computed or witnesses are waited for.  Each take-over counts `term` up.  Whoever writes as a leader has the row
checked, and held, in the transaction that writes: FOR KEY SHARE goes side by side with the renewal, which
changes no key, and against a take-over, which locks the row FOR UPDATE.  So a process that was stopped, was taken over
from, and goes on finds another holder, whatever its own clock says.

Times are milliseconds since 1970 of the database.  Why no advisory lock: docs/adr/0024.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import NamedTuple

from sqlalchemy import Connection

from ledger.store.errors import LeadershipLost
from ledger.store.statements import run

LENGTH_MS = 6_000
RENEW_S = 2.0

_NOW = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)"


class Lease(NamedTuple):
    """A row of `leases`, with what is left of it in milliseconds, 0 or less when it is free."""

    holder: str
    term: int
    left_ms: int


def new_holder() -> str:
    """A name for one attempt to lead: host, process, and chance, so that no two are ever the same."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def read_lease(db: Connection, role: str) -> Lease | None:
    """The lease of a role as it stands; None when nobody ever had it."""
    row = run(db, f"SELECT holder, term, expires - {_NOW} FROM leases WHERE role = ?", (role,)).first()
    return None if row is None else Lease(*row)


def take_lease(db: Connection, role: str, holder: str) -> int | None:
    """The term of the lease that `holder` has now; None when another holds it."""
    run(
        db,
        "INSERT INTO leases (role, holder, term, expires) VALUES (?, '', 0, 0) ON CONFLICT (role) DO NOTHING",
        (role,),
    )
    # Waits for a write of the former leader that is under way, and keeps off those that would follow.
    row = run(db, f"SELECT term, expires > {_NOW} FROM leases WHERE role = ? FOR UPDATE", (role,)).one()
    if row[1]:
        return None
    run(
        db,
        f"UPDATE leases SET holder = ?, term = ?, expires = {_NOW} + ? WHERE role = ?",
        (holder, row[0] + 1, LENGTH_MS, role),
    )
    return int(row[0]) + 1


def renew_lease(db: Connection, role: str, holder: str, term: int) -> bool:
    """Let it run for LENGTH_MS from now, if it is still this holder's; one that ran out and that nobody took is."""
    changed = run(
        db,
        f"UPDATE leases SET expires = {_NOW} + ? WHERE role = ? AND holder = ? AND term = ?",
        (LENGTH_MS, role, holder, term),
    )
    return changed.rowcount == 1


def end_lease(db: Connection, role: str, holder: str, term: int) -> None:
    """Free it, if it is still this holder's, so that the next need not wait."""
    run(
        db,
        "UPDATE leases SET expires = 0 WHERE role = ? AND holder = ? AND term = ?",
        (role, holder, term),
    )


def check_lease(db: Connection, role: str, holder: str, term: int) -> None:
    """Nobody takes the lease over until this transaction ends.  Raises LeadershipLost when somebody has."""
    row = run(
        db,
        "SELECT 1 FROM leases WHERE role = ? AND holder = ? AND term = ? FOR KEY SHARE",
        (role, holder, term),
    ).first()
    if row is None:
        raise LeadershipLost(f"another {role} has taken over")
