"""What `glassbook doctor` asks of the ledger's side: settings, database, keys, clock."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from ledger.checkup import (
    Finding,
    Place,
    about_clock,
    about_database,
    about_disk,
    about_key,
    good,
    look,
    mend,
)
from ledger.core.note import ED25519
from ledger.core.statements import Charter
from ledger.keyfiles import LEDGER, LOG_ED25519, LOG_MLDSA44, REGISTRAR
from ledger.settings import FILE, Settings, SettingsRefused, read_settings
from ledger.store import StoreBusy, StoreUnusable, inbox
from ledger.store.charter import read_charter
from ledger.store.log import read_size
from ledger.store.unchanged import open_store_unchanged, store_file


def checks(place: Place) -> Iterator[Finding]:
    """Settings first: without them nothing else can be looked at."""
    try:
        settings = read_settings(place.folder)
    except SettingsRefused as error:
        yield mend(FILE, str(error), "correct that member, or leave it out")
        return
    yield good(FILE, f"settings of {settings.origin}")
    yield about_disk(place.folder)
    charter = yield from _about_log(settings, place)
    yield from _about_keys(settings, charter, place)
    yield from about_clock("ledger", f"{settings.ledger_url}/readyz", (200,))


def _about_log(settings: Settings, place: Place) -> Generator[Finding, None, Charter | None]:
    """The database, its schema, its charter and what waits in it; returns the charter, if it can be read."""
    file = store_file(settings.database)
    if file is not None and file.is_file():
        yield from about_database(file, place)
    try:
        store = open_store_unchanged(settings.database)
    except (StoreUnusable, StoreBusy) as error:
        yield mend(
            "database",
            str(error),
            "put the right database in place; one of an older release is taken over by up",
        )
        return None
    try:
        charter = read_charter(store, settings.origin)
        with store.read() as db:
            size, waiting = read_size(db), inbox.backlog(db)
    except (StoreUnusable, StoreBusy) as error:
        yield mend("database", str(error), "bring settings and database of one log together")
        return None
    finally:
        store.close()
    yield good("database", f"is that of {charter.origin}: {size:,} entries in the log")
    if waiting >= settings.inbox_limit:
        yield mend("inbox", f"{waiting:,} entries wait: it is full", "is glassbook ledger sequence running?")
    elif waiting > settings.inbox_limit // 2:
        yield look("inbox", f"{waiting:,} entries wait", "is glassbook ledger sequence running?")
    else:
        yield good("inbox", f"{waiting:,} entries wait")
    return charter


def _about_keys(settings: Settings, charter: Charter | None, place: Place) -> Iterator[Finding]:
    expected = {LEDGER: charter.ledger, REGISTRAR: charter.registrar} if charter else {}
    for vkey in charter.log_vkeys if charter else ():
        expected[LOG_ED25519 if vkey.kind == ED25519 else LOG_MLDSA44] = vkey.key
    for name in (LOG_ED25519, LOG_MLDSA44, LEDGER, REGISTRAR):
        path = settings.keys / name
        if name == REGISTRAR and not path.exists():
            yield good(name, "is kept elsewhere, as it should be")
            continue
        yield about_key(path, name, expected.get(name), "the charter", place, in_token=name != LOG_MLDSA44)
