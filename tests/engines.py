"""The databases that a log can be kept in: tests of what must hold on each take `engine` in ENGINES.

And POOLED: PostgreSQL behind a pooler, which keeps nothing of a session from one transaction to the next.
"""

from __future__ import annotations

from pathlib import Path

from pooler import Pooler
from postgresserver import PostgresServer

ENGINES = ("sqlite", "postgresql")
POOLED = "pooled"


def new_url(engine: str, folder: Path) -> str:
    """The URL of a database that nobody has used."""
    if engine == "sqlite":
        return f"sqlite:///{folder / 'ledger.sqlite'}"
    url = PostgresServer.shared().new_database()
    return Pooler.shared().url(url) if engine == POOLED else url
