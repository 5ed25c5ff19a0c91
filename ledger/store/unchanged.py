"""The database opened to be looked at: nothing of it is changed, an older schema is not brought up to date."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from sqlalchemy.pool import StaticPool

from ledger.checkup import open_unchanged
from ledger.store import postgres
from ledger.store.engine import BEGIN, Store, parse_url
from ledger.store.errors import StoreUnusable


def store_file(url: str) -> Path | None:
    """SQLite's file of a database URL; None for another engine.  Raises StoreUnusable."""
    parsed = parse_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def open_store_unchanged(url: str) -> Store:
    """As `Store.open`, to read only.  Raises StoreUnusable, StoreBusy."""
    file = store_file(url)
    if file is None:
        store = Store(postgres.make_engine(parse_url(url)))
    elif not file.is_file():
        raise StoreUnusable(f"{file}: no database there; {BEGIN}")
    else:
        store = Store(
            sqlalchemy.create_engine(
                "sqlite://", creator=lambda: open_unchanged(file), poolclass=StaticPool, hide_parameters=True
            )
        )
    try:
        store.check_version()
    except BaseException:
        store.close()
        raise
    return store
