"""A department's folder opened for work: settings, keys, policy, outbox and registration put together."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ledger.client.openlog import open_log
from ledger.client.publiclog import ClosableLog, Unreachable
from ledger.client.view import View
from ledger.core.errors import GlassbookError
from ledger.core.keys import Ed25519PrivateKey, SigningKey
from ledger.core.policy import Policy
from ledger.department.epochkeys import destroyed_epochs
from ledger.department.outbox import Outbox
from ledger.department.publicview import open_view
from ledger.department.records import RecordMaker
from ledger.department.registration import Registration, find_registration, kept_registration
from ledger.department.settings import FILE, CannotGoOn, Settings, is_url, read_policy, read_settings
from ledger.files import FileRefused, read_private
from ledger.keyfiles import ask_passphrase, read_ed25519, read_signing_key

Say = Callable[[str], None]
_Key = TypeVar("_Key")


class Home:
    """One department.  Close it, or use it in a `with`.

    Raises CannotGoOn for what is missing or not as it should be, Malformed for files that are not right.
    """

    def __init__(self, folder: Path, passphrase: bytes | None = None) -> None:
        self._stamp = stamp_of(folder / FILE)
        self.settings: Settings = read_settings(folder)
        self.outbox = Outbox(self.settings.outbox)
        self._passphrase = passphrase
        self._policy: Policy | None = None
        self._log: ClosableLog | None = None
        self._lock: int | None = None

    def close(self) -> None:
        self._disconnect()
        self.outbox.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def another(self) -> Home:
        """The same department with settings read anew and an outbox connection for the thread that asks."""
        return Home(self.settings.home, self._passphrase)

    @property
    def policy(self) -> Policy:
        if self._policy is None:
            self._policy = read_policy(self.settings)
        return self._policy

    def view(self, now: int) -> View:
        """The published log at its newest checkpoint; raises Unreachable, Malformed or Refuted.

        Connections to it are kept for the next look, unless this one fails.
        """
        try:
            return open_view(self.settings, self.policy, now, self._connected())
        except GlassbookError:
            self._disconnect()
            raise

    def _connected(self) -> ClosableLog | None:
        """The log at its URL; None for a folder, which is opened for each look: it would keep its index in memory."""
        if self._log is None and is_url(self.settings.log):
            self._log = open_log(self.settings.log)
        return self._log

    def _disconnect(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def registration(self, now: int, say: Say) -> Registration:
        """What the register says about this source: from the log, or as it was kept when the log does not answer."""
        try:
            view = self.view(now)
        except Unreachable as error:
            kept = kept_registration(self.outbox, self.settings.origin)
            if kept is None:
                raise
            say(f"{error}; going on with the registration as it was last seen")
            return kept
        return self.find_registration(view)

    def find_registration(self, view: View) -> Registration:
        """What the register says under this view."""
        return find_registration(view, [key.public for key in self.signing_keys()], self.outbox)

    def signing_keys(self) -> list[SigningKey]:
        """The key that signs records, and the next one where there is one; they may lie in a token."""
        paths = [self.settings.key, self.settings.next_key]
        return [self._read_key(path, read_signing_key) for path in paths if path is not None]

    def key(self, registration: Registration | None = None) -> SigningKey:
        """The key that the register has in force, as last seen when it is not said; the first when none of them is."""
        known = registration or kept_registration(self.outbox, self.settings.origin)
        keys = self.signing_keys()
        return next((key for key in keys if known and key.public == known.newest.key), keys[0])

    def has_changed(self) -> bool:
        """department.toml was written since its settings were read."""
        return stamp_of(self.settings.home / FILE) != self._stamp

    def reload(self) -> None:
        """Read the settings again.  Raises as opening does, and then goes on with those it has."""
        stamp = stamp_of(self.settings.home / FILE)
        self.settings = read_settings(self.settings.home)
        self._stamp, self._policy = stamp, None
        self._disconnect()

    def seeds(self) -> dict[int, Ed25519PrivateKey]:
        """The VRF keys by epoch, each a 32-byte secret in an Ed25519 key file (RFC 9381 §5.5 takes the same)."""
        self.hold_keys()
        gone = destroyed_epochs(self.settings.home)
        return {
            epoch: self._read_key(path, read_ed25519)
            for epoch, path in sorted(self.settings.vrf.items())
            if epoch not in gone
        }

    def hold_keys(self, alone: bool = False) -> None:
        """Until this is closed, VRF keys are in its memory; `alone`: in no other's, as one is to be destroyed.

        Raises CannotGoOn when the one is wanted while the other goes on.  It ends with the process, however that ends.
        """
        if self._lock is None:
            path = self.settings.home / "keys.lock"
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            if alone:
                what = "another program has the keys in its memory; stop glassbook department run, and what records"
            else:
                what = "a key is being destroyed at this moment; start again when that is done"
            raise CannotGoOn(str(self.settings.home), what) from None

    def maker(self, registration: Registration) -> RecordMaker:
        return RecordMaker(
            registration, self.key(registration), self.seeds(), forms=self.settings.identifiers
        )

    def _read_key(self, path: Path, read: Callable[[Path, bytes | None], _Key]) -> _Key:
        try:
            encrypted = b"ENCRYPTED" in read_private(path)
            if encrypted and self._passphrase is None:
                # Asked for once: the keys of one department are made under one passphrase.
                self._passphrase = ask_passphrase(f"Passphrase of {path}: ")
            return read(path, self._passphrase if encrypted else None)
        except FileNotFoundError:
            raise CannotGoOn(str(path), "this key file is not there; department.toml names it") from None
        except FileRefused as error:
            raise CannotGoOn("key", str(error)) from None
        except OSError as error:
            raise CannotGoOn(str(path), f"cannot be read: {error.strerror}") from None


def stamp_of(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written: its time of change in nanoseconds and its inode; None without a file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
