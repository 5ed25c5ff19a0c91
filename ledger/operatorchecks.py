"""What `glassbook doctor` asks of the ledger's side: settings, database, keys, clock."""

from __future__ import annotations

import time
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
from ledger.store.retention import first_leaf_held
from ledger.store.server import Server, read_server
from ledger.store.unchanged import open_store_unchanged, store_file

CLOCK_APART_S = 5


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
    try:
        file = store_file(settings.database)
        if file is not None and file.is_file():
            yield from about_database(file, place)
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
            size, waiting, held = read_size(db), inbox.backlog(db), first_leaf_held(db)
        server = read_server(store)
    except (StoreUnusable, StoreBusy) as error:
        yield mend("database", str(error), "bring settings and database of one log together")
        return None
    finally:
        store.close()
    if server is not None:
        yield from _about_server(server)
    left = f", those below {held:,} in the public files alone" if held else ""
    yield good("database", f"is that of {charter.origin}: {size:,} entries in the log{left}")
    if waiting >= settings.inbox_limit:
        yield mend("inbox", f"{waiting:,} entries wait: it is full", "is glassbook ledger sequence running?")
    elif waiting > settings.inbox_limit // 2:
        yield look("inbox", f"{waiting:,} entries wait", "is glassbook ledger sequence running?")
    else:
        yield good("inbox", f"{waiting:,} entries wait")
    return charter


def _about_server(server: Server) -> Iterator[Finding]:
    """Whether the server is one that keeps what it has committed, and who leads."""
    if server.old:
        yield mend("database server", f"{server.version} is too old", "bring it to PostgreSQL 13 or newer")
    else:
        yield good("database server", server.version)
    off = [name for name in ("fsync", "synchronous_commit") if server.settings.get(name) == "off"]
    if off:
        what = f"has {' and '.join(off)} off: what was accepted may be lost in a crash"
        yield mend("database server, durability", what, "switch it on in postgresql.conf")
    elif server.settings.get("full_page_writes") == "off":
        what = "has full_page_writes off"
        do = "switch it on, unless its file system never tears a page"
        yield look("database server, durability", what, do)
    else:
        yield good("database server, durability", "each commit is synced to disk")
    encoding = server.settings.get("server_encoding", "UTF8")
    if encoding != "UTF8":
        what = f"the database's encoding is {encoding}"
        yield mend(
            "database server, encoding", what, "make a database of ENCODING 'UTF8' and move the log there"
        )
    apart = abs(server.now - time.time())
    if apart > CLOCK_APART_S:
        what = f"its clock and this machine's are {apart:.0f} s apart"
        yield look("database server, clock", what, "have both set by NTP")
    else:
        yield good("database server, clock", "agrees with this machine's")
    for role, lease in server.leases.items():
        if lease is not None and lease.left_ms > 0:
            yield good(role, f"{lease.holder} leads, term {lease.term}")
        else:
            yield look(role, "none leads", "start it, unless the log is meant to stand still")


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
