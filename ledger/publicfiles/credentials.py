"""The file with the key of a bucket: TOML, mode 0600.

    key_id = "…"
    secret = "…"
    session_token = "…"      # only with temporary keys

It is read again every few minutes, so that a key can be replaced while the publisher runs. Its path may be told;
nothing that stands in it ever is.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.files import FileRefused, read_private

if TYPE_CHECKING:
    from obstore.store import S3Credential

USED_FOR = timedelta(minutes=10)
"""How long obstore is told that a key holds; it asks anew 5 minutes before that is over."""

_LIMIT = 1 << 16
_MEMBERS = ("key_id", "secret", "session_token")


@dataclass(frozen=True, slots=True)
class BucketKey:
    """What a request is signed with."""

    key_id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def read_bucket_key(path: Path) -> BucketKey:
    """Raises FileRefused, OSError."""
    try:
        document = tomllib.loads(read_private(path, _LIMIT).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise FileRefused(f'{path}: not TOML; write key_id = "…" and secret = "…", one a line') from None
    for name in document:
        if name not in _MEMBERS:
            raise FileRefused(f"{path}: holds something other than {', '.join(_MEMBERS)}")
    for name in _MEMBERS:
        value = document.get(name, None if name == "session_token" else "")
        if value is not None and (not isinstance(value, str) or not value or not value.isprintable()):
            raise FileRefused(f"{path}: {name} must be a text in quotes, not empty")
    return BucketKey(**document)


class Credentials:
    """What obstore asks for the key. `fault` says why the file could not be used when it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault = ""

    def __call__(self) -> S3Credential:
        try:
            key = read_bucket_key(self._path)
        except FileRefused as error:
            self.fault = str(error)
            raise
        except OSError as error:
            self.fault = f"{self._path}: cannot be read: {error.strerror}"
            raise
        self.fault = ""
        return {
            "access_key_id": key.key_id,
            "secret_access_key": key.secret,
            "token": key.session_token,
            "expires_at": datetime.now(UTC) + USED_FOR,
        }
