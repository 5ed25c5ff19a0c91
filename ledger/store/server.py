"""What a PostgreSQL server says of itself: what `glassbook doctor` looks at."""

from __future__ import annotations

from typing import NamedTuple

from ledger.store.engine import Store, run
from ledger.store.leases import Lease
from ledger.store.postgres import LEAST_VERSION, version_of

ROLES = ("sequencer", "publisher")
SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "server_encoding")


class Server(NamedTuple):
    """`version` as the server says it; settings it does not know are left out; `now` is its clock, Unix seconds."""

    version: str
    old: bool
    settings: dict[str, str]
    now: float
    leases: dict[str, Lease | None]


def read_server(store: Store) -> Server | None:
    """None when the database is a file.  Raises StoreBusy."""
    if store.engine.dialect.name == "sqlite":
        return None
    with store.read() as db:
        columns = ", ".join("current_setting(?, true)" for _ in SETTINGS)
        found = run(
            db,
            f"SELECT version(), CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS float8), {columns}",
            SETTINGS,
        ).one()
    settings = {name: value for name, value in zip(SETTINGS, found[2:], strict=True) if value is not None}
    text = str(found[0])
    return Server(
        " ".join(text.split()[:2]).rstrip(","),
        version_of(text) < (LEAST_VERSION,),
        settings,
        float(found[1]),
        {role: store.lease(role) for role in ROLES},
    )
