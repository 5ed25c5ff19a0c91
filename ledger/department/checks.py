"""What `glassbook doctor` asks of a department: settings, keys, outbox, and the log and the ledger it works with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ledger.checkup import (
    Finding,
    Place,
    about_age,
    about_clock,
    about_database,
    about_disk,
    about_key,
    about_policy,
    good,
    look,
    mend,
    open_unchanged,
)
from ledger.client.openlog import open_log
from ledger.client.publiclog import Unreachable
from ledger.client.seen import load_seen
from ledger.client.view import View
from ledger.core.encoding import day_of, format_date
from ledger.core.errors import GlassbookError
from ledger.core.policy import Policy
from ledger.department.epochkeys import destroyed_epochs, read_epochs
from ledger.department.outbox import Outbox
from ledger.department.outboxschema import VERSION
from ledger.department.promises import standing
from ledger.department.recovery import is_recovering
from ledger.department.refusals import what_next
from ledger.department.registration import Registration, kept_registration
from ledger.department.sentence import printable
from ledger.department.settings import FILE, CannotGoOn, Settings, read_policy, read_settings
from ledger.files import FileRefused, read_private

OLD_S = 3600
"""A published log is cosigned at least every ten minutes; the doctor gives it an hour."""

IN_TIME_MONTH = 11
"""From this month on, next year's VRF key should be registered."""


class UnchangedOutbox(Outbox):
    """The outbox to be looked at: nothing of it is changed, an older one is not brought up to date."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._guard():
            self._db = open_unchanged(path)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != VERSION:
            self._db.close()
            raise CannotGoOn(
                str(path),
                f"has format {version}, not {VERSION}; an older one is brought up to date by any command",
            )


def checks(place: Place) -> Iterator[Finding]:
    """Settings first: without them nothing else can be looked at."""
    try:
        settings = read_settings(place.folder)
    except GlassbookError as error:
        yield mend(FILE, str(error), "correct that member, or leave it out")
        return
    yield good(FILE, f"settings of a source of {settings.origin}")
    yield about_disk(place.folder)
    policy = None
    try:
        policy = read_policy(settings)
    except GlassbookError as error:
        yield mend("policy", str(error), "no receipt can be checked without it")
    else:
        yield from about_policy(policy)
    if settings.map is not None and not settings.map.is_file():
        yield mend(
            "mapping file", f"{settings.map} is not there", "put it there, or correct map in department.toml"
        )
    registration = None
    if settings.outbox.is_file():
        yield from about_database(settings.outbox, place)
        try:
            with UnchangedOutbox(settings.outbox) as outbox:
                registration = kept_registration(outbox, settings.origin)
                yield from _about_outbox(outbox, registration, place.now)
        except GlassbookError as error:
            yield mend("outbox", str(error), "see docs/operating.md, The outbox was lost")
    else:
        yield good("outbox", "there is none yet: nothing was recorded")
    yield from _about_keys(settings, registration, place)
    if settings.otlp is not None and settings.otlp.token is not None:
        yield _about_token(settings.otlp.token)
    yield from about_clock("ledger", f"{settings.ledger}/readyz", (200,))
    if policy is not None:
        yield from _about_log(settings, policy, place.now)


def _about_outbox(outbox: Outbox, registration: Registration | None, now: int) -> Iterator[Finding]:
    counts = outbox.counts()
    if is_recovering(outbox):
        yield mend("outbox", "its counters are being recovered", "run: glassbook department recover")
    if counts.refused:
        for problem, count in outbox.problems():
            yield mend("outbox", printable(f"{count} records are refused: {problem}"), what_next(problem))
    if counts.waiting or counts.handed_in:
        says = f"{counts.waiting} records wait, {counts.handed_in} are handed in and have no receipt yet"
        yield look("receipts", says, "is glassbook department run running?")
    else:
        yield good("receipts", f"every record that is not refused has one: {counts.receipts}")
    if registration is None:
        return
    found = standing(outbox, registration.charter.merge_delay_s, now)
    if found.overdue or found.bad:
        do = "run: glassbook department promises --out DIR; what it writes is evidence"
        yield mend("promises", " ".join(found.words), do)
    else:
        yield good("promises", f"none of {found.kept} is overdue")


def about_epochs(settings: Settings, now: int) -> Iterator[Finding]:
    """What was announced of years' keys, and whether one that was destroyed is there again (docs/erasure.md)."""
    for epoch, state in sorted(read_epochs(settings.home).items()):
        check, command = f"erasure of {epoch}", f"glassbook department erase-epoch {epoch}"
        day = format_date(state.not_before)
        file = settings.vrf.get(epoch)
        if not state.confirmed and day_of(now) < state.not_before:
            yield good(check, f"its key is to be destroyed on {day} or later, as announced")
        elif not state.confirmed:
            yield look(
                check, f"was announced for {day}, which has come", f"run: {command}; or with --withdraw"
            )
        elif not state.destroyed:
            yield mend(check, "was confirmed and cut short", f"run: {command}")
        elif file is not None and file.exists():
            do = "overwrite and remove it; was it put back with a backup?"
            yield mend(check, f"its key was destroyed, and {file} is there again", do)
        else:
            yield good(check, f"its key was destroyed on {format_date(day_of(state.confirmed))}")


def _about_keys(settings: Settings, registration: Registration | None, place: Place) -> Iterator[Finding]:
    newest = registration.newest if registration is not None else None
    if newest is None:
        yield look(
            "register",
            "was not read here yet, so keys cannot be compared with it",
            "once statement.json is registered, run: glassbook department send",
        )
    elif newest.status == "retired":
        do = "keep its keys and go on giving people theirs; to record again, register a new source"
        yield look("register", f"source {newest.source} is retired", do)
    elif newest.status != "active":
        yield mend(
            "register", f"source {newest.source} is {newest.status}", "it comes back as a new source only"
        )
    else:
        yield good("register", f"source {newest.source}, version {newest.version}, active")
    signing = {"source key": settings.key}
    if settings.next_key is not None:
        signing["next source key"] = settings.next_key
    expected_key = newest.key if newest else None
    found = [about_key(path, name, expected_key, "the register", place) for name, path in signing.items()]
    for one in found:
        # While a key is rotated two are named, and the register decides which of them signs.
        if len(found) == 2 and one.says.startswith("is not the one") and any(f.mark == "good" for f in found):
            yield good(
                one.check, "is not the one in force; the other one is, until the register names another"
            )
        else:
            yield one
    gone = destroyed_epochs(settings.home)
    for epoch, path in sorted(settings.vrf.items()):
        if epoch not in gone:
            expected = newest.vrf.get(epoch) if newest else None
            yield about_key(path, f"VRF key of {epoch}", expected, "the register", place, in_token=False)
    yield from about_epochs(settings, place.now)
    if newest is not None:
        for epoch in sorted(newest.vrf.keys() - settings.vrf.keys() - gone.keys()):
            do = f"name its file under [vrf] in {FILE}; nobody else has it, and it can never be changed"
            yield mend(f"VRF key of {epoch}", "is registered, and no file is named for it", do)
    today = time.gmtime(place.now)
    known = set(newest.vrf) if newest else set(settings.vrf)
    for year, needed in ((today.tm_year, True), (today.tm_year + 1, today.tm_mon >= IN_TIME_MONTH)):
        if year in known or not needed or (newest is not None and newest.status != "active"):
            continue
        do = f"run: glassbook department epochs {year}, and have the registrar register the new statement"
        says = "is not registered" if newest else f"is not named in {FILE}"
        if year == today.tm_year:
            yield mend(f"VRF key of {year}", f"{says}: nothing of this year can be recorded", do)
        else:
            yield look(f"VRF key of {year}", f"{says} yet; from 1 January on it is needed", do)


def _about_token(path: Path) -> Finding:
    try:
        read_private(path, 4096)
    except (FileRefused, OSError) as error:
        return mend("otlp.token", str(error), "senders cannot be told apart without it")
    return good("otlp.token", "only its owner can read it")


def _about_log(settings: Settings, policy: Policy, now: int) -> Iterator[Finding]:
    """The published log at its newest checkpoint, against the last one seen; neither is remembered."""
    try:
        view = View.open(open_log(settings.log), policy, now)
        note = load_seen(settings.seen)
        seen = policy.open(note, now).checkpoint.size if note is not None else 0
    except Unreachable as error:
        yield mend("published log", str(error), "does its operator publish at that address?")
        return
    except GlassbookError as error:
        do = "set this machine's clock if it is wrong; otherwise keep the checkpoint, and ask its operator"
        yield mend("published log", str(error), do)
        return
    if view.size < seen:
        do = "run glassbook department send, which keeps the evidence, and show it to the witnesses"
        yield mend("published log", f"has {view.size:,} entries, and had {seen:,} before", do)
    else:
        yield good("published log", f"{view.size:,} entries, under a checkpoint that fulfils the policy")
    yield about_age("checkpoint", view.opened.newest, now, OLD_S)
    if settings.log.startswith(("http://", "https://")):
        yield from about_clock("publisher", f"{settings.log}/checkpoint", (200,))
