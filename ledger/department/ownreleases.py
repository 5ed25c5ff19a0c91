"""Releases of keys that the log takes no record of any more: the department's own list of them, `releases.ndjson`.

A retired or revoked source still owes people their keys (docs/formats.md §5: it counts for completeness), and its
records would be violations.  So each release is a line here, durable before the keys leave, and every keys file
given to the person from then on names it (`notices`, ledger/core/notices.py).  One line is

    {"at": 1836000000, "source": 1, "subjects": ["nhs:9434765919"], "by": ["carer@example.org"]}

The file has mode 0600.  A line that a crash cut short is of keys that were not given, and is passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from ledger.core.notices import Notices, Released, parse_notices
from ledger.department.settings import CannotGoOn
from ledger.files import sync_folder

FILE: Final = "releases.ndjson"


def keep_release(home: Path, source: int, subjects: Collection[str], by: Collection[str], at: int) -> None:
    """Keep one release, at Unix seconds; durable when it returns.  Raises CannotGoOn; then it may not be given."""
    path = home / FILE
    line = (
        json.dumps({"at": at, "source": source, "subjects": list(subjects), "by": list(by)}).encode() + b"\n"
    )
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(handle).st_size
            # After a line that was cut short a new one begins.
            whole = not size or os.pread(handle, 1, size - 1) == b"\n"
            data = line if whole else b"\n" + line
            if os.write(handle, data) != len(data):
                raise OSError(0, "the disk took a part of the line only")
            os.fsync(handle)
        finally:
            os.close(handle)
        if not size:
            sync_folder(home)
    except OSError as error:
        raise CannotGoOn(str(path), f"cannot be written: {error.strerror}") from None


def kept_releases(home: Path, subjects: Collection[str]) -> tuple[Released, ...]:
    """The releases of these identifiers, the oldest first.  Raises CannotGoOn when the list cannot be read."""
    path = home / FILE
    found: list[Released] = []
    try:
        with path.open("rb") as file:
            for line in file:
                found += [one for one in _read(line).released if one.subject in subjects]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise CannotGoOn(str(path), f"cannot be read: {error.strerror}") from None
    return tuple(found)


def _read(line: bytes) -> Notices:
    try:
        value = json.loads(line)
        return parse_notices({"released": [value | {"subject": subject} for subject in value["subjects"]]})
    except (ValueError, TypeError, KeyError, RecursionError):
        return Notices()
