"""The charter at leaf 0: what everything else in an operator's folder has to agree with."""

from __future__ import annotations

from ledger.core.errors import GlassbookError
from ledger.core.statements import Charter, parse_charter
from ledger.store.engine import Store
from ledger.store.errors import StoreUnusable
from ledger.store.log import read_charter_entry


def read_charter(store: Store, origin: str) -> Charter:
    """The charter of the log in this database, which the settings call `origin`.

    Raises StoreUnusable when it is another log's, or none that can be used; StoreBusy.
    """
    try:
        with store.read() as db:
            raw = read_charter_entry(db)
        charter = parse_charter(raw)
    except (GlassbookError, LookupError) as error:
        raise StoreUnusable(
            f"the database has no charter at leaf 0 that can be used: {error}; bring the right database back"
        ) from None
    if charter.origin != origin:
        raise StoreUnusable(
            f"the settings say origin = {origin!r}, but the charter in the database is that of {charter.origin!r};"
            " a log keeps its origin for ever: mend glassbook.toml, or name the right database there"
        )
    return charter
