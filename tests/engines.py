"""The databases that a log can be kept in: tests of what must hold on each take `engine` in ENGINES."""

from __future__ import annotations

from pathlib import Path

from postgresserver import PostgresServer

ENGINES = ("sqlite", "postgresql")


def new_url(engine: str, folder: Path) -> str:
    """The URL of a database that nobody has used."""
    if engine == "sqlite":
        return f"sqlite:///{folder / 'ledger.sqlite'}"
    return PostgresServer.shared().new_database()
