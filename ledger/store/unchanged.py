"""The database opened to be looked at: nothing of it is changed, an older schema is not brought up to date."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

from ledger.checkup import open_unchanged
from ledger.store.engine import BEGIN, Store, StoreUnusable


def store_file(url: str) -> Path | None:
    """SQLite's file of a database URL; None for another engine."""
    parsed = make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def open_store_unchanged(url: str) -> Store:
    """As `Store.open`, to read only.  Raises StoreUnusable, StoreBusy."""
    file = store_file(url)
    if file is None:
        store = Store(sqlalchemy.create_engine(url, hide_parameters=True))
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
