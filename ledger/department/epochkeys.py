"""Destroying the VRF key of an epoch: announced, asked for twice, and then for good.

    announced, not before a day ──► asked for (a code) ──► confirmed (the code) ──► destroying ──► destroyed
                                                              durable from here on:   persons unlinked
                                                              nothing uses the key    file overwritten, removed

Without the key nobody can compute which labels are whose: no keys can be given for that year, whoever asks, and the
entries of the year are of nobody any more.  What was given before goes on working.  So it happens only

- when the last seal that the epoch can have has opened (docs/formats.md §4), and the year is over,
- on or after an announced day, at least `notice_days` after the announcement and after that opening,
- when no record of the epoch waits for its receipt,
- while no agent runs, which would keep the key in its memory.

What is known stands in `epochs.json` in the department's folder, which holds nothing personal.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from ledger.core.completeness import LAST_SEAL, StatesStreams
from ledger.core.encoding import SECONDS_PER_DAY, day_of, format_date
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.jose import integer, members, parse_json
from ledger.department.erasures import note_receipts
from ledger.department.outbox import Outbox
from ledger.department.retention import first_day_of
from ledger.department.settings import CannotGoOn
from ledger.files import FileRefused, read_limited, sync_folder, write_atomic

FILE: Final = "epochs.json"
CODE_S: Final = SECONDS_PER_DAY
"""Seconds for which a code confirms."""

_MEMBERS: Final = ("announced", "not_before", "opening", "code", "asked", "confirmed", "destroyed")


@dataclass(frozen=True, slots=True)
class EpochState:
    """How far an epoch has come; times are Unix seconds, 0 or empty: not yet.

    `not_before` and `opening`, the last one as it was known when that was announced, are days since 1970-01-01.
    """

    announced: int = 0
    not_before: int = 0
    opening: int = 0
    code: str = ""
    asked: int = 0
    confirmed: int = 0
    destroyed: int = 0


def read_epochs(home: Path) -> dict[int, EpochState]:
    """The epochs of which something is known.  Raises Malformed for a file that is not right."""
    path = home / FILE
    try:
        data = read_limited(path, 1 << 20)
    except FileNotFoundError:
        return {}
    except FileRefused as error:
        raise Malformed(str(path), str(error)) from None
    except OSError as error:
        raise CannotGoOn(str(path), f"cannot be read: {error.strerror}") from None
    found = members(parse_json(data, str(path)), str(path), ("epochs",))["epochs"]
    if not isinstance(found, dict):
        raise Malformed(str(path), "epochs is no object")
    return {_year(name, path): _state(value, f"{path}: {name}") for name, value in found.items()}


def _year(name: str, path: Path) -> int:
    if not (name.isascii() and name.isdigit() and len(name) == 4):
        raise Malformed(str(path), "names an epoch that is no year")
    return int(name)


def _state(value: Any, where: str) -> EpochState:
    found = members(value, where, _MEMBERS)
    if not isinstance(found["code"], str):
        raise Malformed(where, "code is no text")
    numbers = {name: integer(found[name], f"{where} {name}") for name in _MEMBERS if name != "code"}
    return EpochState(code=found["code"], **numbers)


def _write(home: Path, epochs: Mapping[int, EpochState]) -> None:
    document = {"epochs": {str(epoch): asdict(state) for epoch, state in sorted(epochs.items())}}
    write_atomic(home / FILE, json.dumps(document, indent=2).encode() + b"\n", 0o600)


def _put(home: Path, epoch: int, state: EpochState) -> None:
    _write(home, read_epochs(home) | {epoch: state})


def destroyed_epochs(home: Path) -> dict[int, int]:
    """The epochs whose key is destroyed or about to be, and since when, as a day: nothing uses such a key."""
    return {epoch: day_of(state.confirmed) for epoch, state in read_epochs(home).items() if state.confirmed}


def last_opening(epoch: int, versions: Sequence[StatesStreams]) -> int:
    """The first day, since 1970-01-01, on which no record of the epoch can be sealed any more, nor made.

    The longest seal that any version of the source allowed decides, used or not: what another outbox sealed, before
    this one was begun, is not known here.
    """
    december = (epoch - 1970) * 12 + 11
    longest = max((version.seal_months for version in versions), default=0)
    return max(first_day_of(min(december + longest, LAST_SEAL)), first_day_of(december + 1))


def earliest(epoch: int, versions: Sequence[StatesStreams], notice_days: int, today: int) -> int:
    """The first day that can be announced `today` for the destruction of an epoch's key."""
    return max(today, last_opening(epoch, versions)) + notice_days


def announce(
    home: Path, epoch: int, day: int, versions: Sequence[StatesStreams], notice_days: int, now: int
) -> None:
    """Take note that the key of `epoch` is destroyed on `day` or later.  Raises CannotGoOn for a day too early."""
    _must_exist(home, epoch, versions)
    first = earliest(epoch, versions, notice_days, day_of(now))
    if day < first:
        raise CannotGoOn(
            f"epoch {epoch}",
            f"people have {notice_days} days to fetch their keys, from today or from when the last seal of the year "
            f"has opened, {format_date(last_opening(epoch, versions))}: announce {format_date(first)} or later",
        )
    _put(home, epoch, EpochState(announced=now, not_before=day, opening=last_opening(epoch, versions)))


def withdraw(home: Path, epoch: int) -> bool:
    """Take an announcement back; False when there is none.  Raises CannotGoOn when it is too late."""
    epochs = read_epochs(home)
    state = epochs.pop(epoch, None)
    if state is None:
        return False
    if state.confirmed:
        raise CannotGoOn(f"epoch {epoch}", "its key is destroyed, which cannot be undone")
    _write(home, epochs)
    return True


def ask(
    home: Path, epoch: int, versions: Sequence[StatesStreams], outbox: Outbox, now: int
) -> tuple[EpochState, str]:
    """The first step: everything is checked, and a code given that confirms.  Raises CannotGoOn."""
    state = _ready(home, epoch, versions, outbox, now)
    code = f"{secrets.randbelow(10**6):06}"
    state = replace(state, code=code, asked=now)
    _put(home, epoch, state)
    return state, code


def confirm(
    home: Path, epoch: int, versions: Sequence[StatesStreams], outbox: Outbox, code: str, now: int
) -> None:
    """The second step: everything is checked again, and so is the code; from here on nothing uses the key."""
    state = _ready(home, epoch, versions, outbox, now)
    if not state.code:
        raise CannotGoOn(
            f"epoch {epoch}", "nothing to confirm; run this without --confirm first, and read it"
        )
    if not 0 <= now - state.asked <= CODE_S:
        raise CannotGoOn(
            f"epoch {epoch}", "the code is more than a day old; run this without --confirm again"
        )
    if not secrets.compare_digest(state.code.encode(), code.encode("utf-8", "replace")):
        # One code, one attempt: it guards against a slip, not against somebody who guesses.
        _put(home, epoch, replace(state, code="", asked=0))
        raise CannotGoOn(f"epoch {epoch}", "that is not the code; run this without --confirm again")
    _put(home, epoch, replace(state, code="", confirmed=now))


def _must_exist(home: Path, epoch: int, versions: Sequence[Any]) -> EpochState:
    if epoch not in versions[-1].vrf:
        raise CannotGoOn(f"epoch {epoch}", "has no VRF key in the register")
    state = read_epochs(home).get(epoch, EpochState())
    if state.confirmed:
        raise CannotGoOn(f"epoch {epoch}", "its key is destroyed already")
    return state


def _ready(home: Path, epoch: int, versions: Sequence[StatesStreams], outbox: Outbox, now: int) -> EpochState:
    state = _must_exist(home, epoch, versions)
    where, today = f"epoch {epoch}", day_of(now)
    if not state.announced:
        raise CannotGoOn(where, "its destruction was not announced; run this with --announce DATE first")
    opening = last_opening(epoch, versions)
    if today < opening:
        raise CannotGoOn(
            where, f"the last seal of the year opens on {format_date(opening)}; until then its key is kept"
        )
    if state.opening < opening:
        raise CannotGoOn(
            where,
            "the register lets records of the year be sealed for longer than when it was announced; announce it anew",
        )
    if today < state.not_before:
        raise CannotGoOn(where, f"people were told that they have until {format_date(state.not_before)}")
    if now < state.announced:
        raise CannotGoOn("clock", "is before the day of the announcement; set it")
    owed = count_owed(outbox, epoch)
    if owed:
        raise CannotGoOn(
            where, f"{owed} records of the year have no receipt yet; run: glassbook department send --wait"
        )
    return state


def count_owed(outbox: Outbox, epoch: int) -> int:
    """Records of the epoch without a receipt."""
    with outbox.reading() as db:
        found: int = db.execute(
            "SELECT count(*) FROM records AS r JOIN streams AS s ON s.id = r.stream WHERE s.epoch = ?",
            (epoch,),
        ).fetchone()[0]
    return found


def unlink_persons(outbox: Outbox, epoch: int) -> int:
    """Forget whose the epoch's records are; receipts stay, of nobody.  Returns how many streams were forgotten."""
    with outbox.transaction() as db:
        of_epoch = "stream IN (SELECT id FROM streams WHERE epoch = ?)"
        db.execute(
            f"INSERT OR IGNORE INTO unlinked SELECT leaf_hash, position, receipt FROM receipts WHERE {of_epoch}",
            (epoch,),
        )
        db.execute(f"DELETE FROM receipts WHERE {of_epoch}", (epoch,))
        forgotten = db.execute("DELETE FROM streams WHERE epoch = ?", (epoch,)).rowcount
    with outbox.reading() as db:
        # Until the write-ahead log is emptied the names can be read in it.
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return forgotten


def destroy_file(path: Path) -> bool:
    """Overwrite a key file with random bytes, and remove it; False when it is gone already.

    Durable when it returns, as far as a file system lets a file be overwritten: one that copies on write, a disk's
    own wear levelling and every backup keep what they have.  The keys are encrypted under a passphrase for that.
    """
    try:
        size = path.stat().st_size
        with path.open("r+b", buffering=0) as file:
            for _ in range(2):
                file.seek(0)
                file.write(secrets.token_bytes(max(size, 1)))
                os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return False
    sync_folder(path.parent)
    return True


def finish(home: Path, epoch: int, key: Path | None, outbox: Outbox, now: int) -> int:
    """Everything after the confirmation; run again after a crash it goes on.  Returns how many streams it forgot."""
    note_receipts(outbox)  # the rules of retention go on for the year's details, whosever they are
    forgotten = unlink_persons(outbox, epoch)
    if key is not None:
        destroy_file(key)
    state = read_epochs(home)[epoch]
    _put(home, epoch, replace(state, destroyed=state.destroyed or now))
    return forgotten


def is_unfinished(home: Path, epoch: int) -> bool:
    """A destruction was confirmed and cut short."""
    state = read_epochs(home).get(epoch, EpochState())
    return bool(state.confirmed and not state.destroyed)


def epoch_words(home: Path) -> list[str]:
    """What `status` says: announced, to be confirmed, destroyed."""
    lines = []
    try:
        epochs = read_epochs(home)
    except GlassbookError as error:
        return [str(error)]
    for epoch, state in sorted(epochs.items()):
        if state.destroyed:
            lines.append(f"The VRF key of {epoch} was destroyed on {format_date(day_of(state.confirmed))}.")
        elif state.confirmed:
            lines.append(
                f"The destruction of the VRF key of {epoch} was cut short; "
                f"run: glassbook department erase-epoch {epoch}"
            )
        else:
            lines.append(
                f"The VRF key of {epoch} is to be destroyed on {format_date(state.not_before)} or later, as announced "
                f"on {format_date(day_of(state.announced))}."
            )
    return lines
