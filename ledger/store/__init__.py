"""The ledger's database: SQLAlchemy Core, and the only place that knows SQL.

    schema.py        the tables, what each column holds, which rows are ever changed
    engine.py        Store: open, one transaction to read or to write, leadership; SQLite or PostgreSQL
    migrations/      how an older database becomes a present one
    log.py           the sequenced log: state, entries, registrations, counts per day
    treetiles.py     its tree: hash tiles and leaf hashes
    inbox.py         what is accepted and not yet sequenced
    acceptances.py   when entries were accepted, until they are published
    envelopes.py     encrypted details, by the hash of their fetch token
    recents.py       labels and keys that have not settled, packed
    recentlabels.py  these labels in memory
    labels.py        the index: labels that have settled, and its bucket hashes persisted
    labelfilter.py   which labels may have settled, in memory
    knownlabels.py   which labels are taken, for whoever accepts
    buckets.py       the index over these, as of any size
    keys.py          entries by leaf hash and by hash of fetch token
    keyruns.py       how keys settle
    settling.py      labels and keys on their way from recents.py to where the rest lies
    publication.py   what was signed and what is published, under compare-and-swap
    retention.py     which entries may leave, once the public files have them
    witnesses.py     how far each witness has come, and since when it is missing
    charter.py       the charter at leaf 0

Functions take the connection of an open transaction, so that a caller decides what is atomic:

    store = Store.open("sqlite:////srv/glassbook/ledger.sqlite")
    with store.read() as db:
        state = log.read_state(db)
        entries = log.read_entries(db, 0, state.size)
"""

from ledger.store.engine import Connection, Store
from ledger.store.errors import LeadershipLost, OutcomeUnknown, StoreBusy, StoreContended, StoreUnusable
from ledger.store.leadership import Leadership, Writer

__all__ = [
    "Connection",
    "Leadership",
    "LeadershipLost",
    "OutcomeUnknown",
    "Store",
    "StoreBusy",
    "StoreContended",
    "StoreUnusable",
    "Writer",
]
