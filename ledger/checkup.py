"""What `glassbook doctor` is made of: findings, and the checks that an operator and a department have in common.

Each room offers its checks through the entry point group `glassbook.checks`; the name before the hyphen says whose
folder they are for (`operator-ledger`, `operator-publisher`, `department-source`).  A check is a function of a Place
that yields findings.  It changes nothing, neither in the folder nor elsewhere, and tells no secrets.  One thing cannot
be seen without trying it: into a bucket of public files an object is put, under `.probe/`, and removed again.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, Literal

import httpx

from ledger.core.errors import GlassbookError
from ledger.core.keys import SigningKey
from ledger.core.policy import Policy
from ledger.files import FileRefused, read_private
from ledger.keyfiles import read_key, read_signing_key, read_token_uri

GROUP: Final = "glassbook.checks"

CLOCK_S: Final = 300
"""Readers and witnesses allow a clock this many seconds (docs/formats.md §6)."""

_CLOCK_LOOK_S: Final = 30
_ANSWER_S: Final = 5.0
_FREE_LOOK, _FREE_MEND = 2 << 30, 200 << 20
LARGE: Final = 2 << 30
"""Bytes from which a database is read whole only when asked to."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: whether it is `good`, something to `look` at, or to `mend`; what it means; what to do."""

    mark: Literal["good", "look", "mend"]
    check: str
    says: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder looked at, the passphrase of its keys when there is one, and whether large files are read whole."""

    folder: Path
    passphrase: bytes | None
    thorough: bool
    now: int


Check = Callable[[Place], Iterator[Finding]]


def good(check: str, says: str) -> Finding:
    return Finding("good", check, says)


def look(check: str, says: str, do: str) -> Finding:
    return Finding("look", check, says, do)


def mend(check: str, says: str, do: str) -> Finding:
    return Finding("mend", check, says, do)


def open_unchanged(path: Path) -> sqlite3.Connection:
    """A database to read from, without a byte of it or beside it changed.  Raises sqlite3.Error.

    SQLite puts two files beside a database in WAL mode, also for a reader.  When they are not there nobody has
    the database open, and it is read as a file that nobody writes.
    """
    used = path.with_name(f"{path.name}-wal").exists()
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?{'mode=ro' if used else 'immutable=1'}", uri=True, isolation_level=None
    )
    db.execute("PRAGMA query_only=ON")
    return db


def about_database(path: Path, place: Place) -> Iterator[Finding]:
    """Whether SQLite finds its file sound, and whether it is one that a power cut leaves whole."""
    name = path.name
    size = path.stat().st_size
    if size > LARGE and not place.thorough:
        yield good(name, f"{size >> 20:,} MiB, not read whole; --thorough does")
        return
    try:
        db = open_unchanged(path)
        try:
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
            with path.open("rb") as file:
                head = file.read(20)
        finally:
            db.close()
    except sqlite3.Error as error:
        yield mend(name, f"cannot be read ({error})", "keep it aside, and put the newest backup in its place")
        return
    if found != "ok":
        yield mend(name, "SQLite finds it damaged", "keep it aside, and put the newest backup in its place")
    elif head[18:20] != b"\x02\x02":  # the file format versions, 2 for WAL (SQLite file format §1.3.3)
        yield look(name, "it is not in WAL mode", "start its program once; it sets what it needs")
    else:
        yield good(name, f"is sound ({size >> 10:,} KiB); each commit is synced to disk")


def about_disk(path: Path) -> Finding:
    """Whether there is room where this lies."""
    free = shutil.disk_usage(path).free
    says = f"{free >> 20:,} MiB are free"
    if free < _FREE_MEND:
        return mend("disk", says, "make room: with a full disk nothing more is taken in")
    if free < _FREE_LOOK:
        return look("disk", says, "make room before it is full")
    return good("disk", says)


def about_key(
    path: Path, name: str, expected: bytes | None, whose: str, place: Place, *, in_token: bool = True
) -> Finding:
    """A private key that signs: its file, its token, its passphrase, and whether it is the one that is `expected`.

    `expected` is 32 bytes, or for ML-DSA-44 1,312; None when nothing says which it should be. `whose` says what does.
    `in_token`: whether this key may lie in one.
    """
    try:
        pem = read_private(path)
        uri = read_token_uri(path) if in_token else None
        if b"ENCRYPTED" in pem and place.passphrase is None:
            return look(
                name,
                "encrypted; whether it opens was not tried",
                "give its passphrase: --passphrase-file FILE",
            )
        key: SigningKey = (
            read_signing_key(path, place.passphrase) if uri else read_key(path, place.passphrase)
        )
    except FileNotFoundError:
        return mend(name, "its file is not there", f"put it back: {path}")
    except FileRefused as error:
        return mend(
            name, str(error), "see above" if "chmod" in str(error) else "put the right file in its place"
        )
    except GlassbookError as error:
        return mend(name, str(error), "mend that; nothing can be signed until then")
    except OSError as error:
        return mend(name, f"cannot be read: {error.strerror}", f"look at {path} and who may read it")
    if expected is not None and key.public != expected:
        return mend(name, f"is not the one of {whose}", "put the right key in its place")
    where = (
        f"in token {uri.token!a}" if uri else "encrypted" if b"ENCRYPTED" in pem else "unencrypted, mode 0600"
    )
    return good(name, f"{where}; {'is the one of ' + whose if expected is not None else 'can be read'}")


def about_clock(name: str, url: str, served: tuple[int, ...] = ()) -> Iterator[Finding]:
    """Whether a server answers at all (any status, or one of `served`), and whether its clock is ours."""
    before = time.time()
    try:
        answer = httpx.get(url, timeout=_ANSWER_S, headers={"Accept-Encoding": "identity"})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield mend(
            name, f"{url} does not answer ({type(error).__name__})", "is it running, and is that its address?"
        )
        return
    if served and answer.status_code not in served:
        yield mend(
            name, f"{url} answers {answer.status_code}", "look at what it says of itself: /readyz, its log"
        )
    else:
        yield good(name, f"{url} answers")
    try:
        told = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        yield look(f"{name}, clock", "it does not say its time", "compare the clocks by hand")
        return
    # A Date header has whole seconds.
    off = max(0.0, abs(told + 0.5 - (before + time.time()) / 2) - 0.5)
    ahead = "behind" if told > before else "ahead of"
    if off > CLOCK_S:
        do = "set the clock that is wrong (NTP): nothing is believed that is more than 5 minutes ahead"
        yield mend(f"{name}, clock", f"this machine is {off:.0f} s {ahead} it", do)
    elif off > _CLOCK_LOOK_S:
        yield look(f"{name}, clock", f"this machine is {off:.0f} s {ahead} it", "let NTP set both clocks")
    else:
        yield good(f"{name}, clock", f"agrees within {off:.0f} s")


def about_policy(policy: Policy) -> Iterator[Finding]:
    """What a policy asks for, and whether an auditor stands behind the index."""
    names = [witness.name for witness in policy.witnesses if witness.vkey != policy.log_mldsa]
    own = [witness.name for witness in policy.witnesses if witness.vkey == policy.log_mldsa]
    if policy.quorum_met(own):
        yield look("policy", "asks for no witness at all", "add one: glassbook witness add VKEY URL")
    else:
        yield good("policy", f"witnesses: {len(names)}, of them auditors: {len(policy.auditors)}")
    if policy.auditor_in_quorum:
        yield good("policy, auditor", "nothing counts as published that an auditor has not checked")
    else:
        yield look(
            "policy, auditor",
            "no auditor is needed: that a list is complete rests on the log's word",
            "have somebody else run one: glassbook witness add VKEY URL --auditor",
        )


def about_age(check: str, newest: int | None, now: int, limit_s: int) -> Finding:
    """How old a cosignature may be; `newest` and `now` in Unix seconds."""
    if newest is None:
        return look(check, "carries no time", "let a witness cosign it")
    age = now - newest
    if age < -CLOCK_S:
        return mend(check, f"is cosigned {-age} s ahead of this clock", "set this machine's clock")
    if age > limit_s:
        return mend(
            check,
            f"was last cosigned {age // 60} minutes ago",
            "is the publisher running, and do its witnesses answer?",
        )
    return good(check, f"was cosigned {max(age, 0)} s ago")
