"""The log's signatures, and the memory of what they were given for.

Three places remember the last checkpoint that was signed: a row of the database, the published
`checkpoint`, and a file beside the keys. A database restored from a backup, a lost folder or a lost key
directory each leave the other two, and the newest of them counts. Nothing is signed until every one of them
is shown, by computing it, to be an earlier state of the tree that is to be signed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.errors import GlassbookError
from ledger.core.keys import MLDSA44PrivateKey, SigningKey
from ledger.core.note import (
    Ed25519Signer,
    MLDSASigner,
    SignatureLine,
    VerifierKey,
    format_note,
    open_note,
    parse_note,
)
from ledger.files import read_limited, write_atomic

MAX_NOTE = 1 << 20


class SigningRefused(Exception):
    """To sign would contradict what was signed before, or the clock is wrong; the message says what to do
    next."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint that the log has signed, with the log's own two signature lines and where it was
    remembered."""

    checkpoint: Checkpoint
    lines: tuple[SignatureLine, ...]
    timestamp: int
    where: str

    @property
    def note(self) -> bytes:
        """The checkpoint with the log's signatures and no others."""
        return format_note(self.checkpoint.text, self.lines)


class LogSigner:
    """Both keys of one log: Ed25519 (note type 0x01) and ML-DSA-44 (type 0x06, cosigner name = origin)."""

    def __init__(self, origin: str, ed25519: SigningKey, mldsa: MLDSA44PrivateKey) -> None:
        self.origin = origin
        self._ed25519 = Ed25519Signer(origin, ed25519)
        self._mldsa = MLDSASigner(origin, mldsa)

    @property
    def vkeys(self) -> tuple[VerifierKey, VerifierKey]:
        """Ed25519 first."""
        return self._ed25519.vkey, self._mldsa.vkey

    def sign(self, checkpoint: Checkpoint, now: int) -> Signed:
        """Sign, with `now` (Unix seconds) as the timestamp of the ML-DSA signature. Checks nothing."""
        lines = (self._ed25519.sign(checkpoint.text), self._mldsa.sign(checkpoint.text, now))
        return Signed(checkpoint, lines, now, "just signed")

    def read(self, note: bytes, where: str) -> Signed:
        """Read back something these keys have signed.

        Raises SigningRefused when it is not: then nothing is known about what was signed, and so nothing
        may be.
        """
        try:
            text, good = open_note(note, self.vkeys)
            checkpoint = parse_checkpoint(text)
        except GlassbookError as error:
            raise SigningRefused(
                f"{where} should be a checkpoint signed by this log, but is not: {error}. Find out who"
                " changed it; when it is only damaged, move it away: two other places remember what was"
                " signed"
            ) from None
        if checkpoint.origin != self.origin or {found.vkey for found in good} != set(self.vkeys):
            raise SigningRefused(
                f"{where} is not signed by both keys of {self.origin}; were the keys replaced? A log keeps"
                " its keys"
            )
        ours = {(vkey.name, vkey.key_id) for vkey in self.vkeys}
        lines = tuple(line for line in parse_note(note).lines if (line.name, line.key_id) in ours)
        return Signed(checkpoint, lines, max(found.timestamp or 0 for found in good), where)


class SignedFile:
    """The file beside the keys that holds the last checkpoint signed with them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """The note, None when nothing was ever signed. Raises OSError."""
        try:
            return read_limited(self.path, MAX_NOTE)
        except FileNotFoundError:
            return None

    def write(self, note: bytes) -> None:
        """Durable when it returns. Raises OSError; then the old note stands."""
        write_atomic(self.path, note, 0o600)


def newest(history: Iterable[Signed]) -> Signed | None:
    """The largest checkpoint signed, of those the one signed last."""
    return max(history, key=lambda signed: (signed.checkpoint.size, signed.timestamp), default=None)


def check_history(history: Iterable[Signed], size: int, root_at: Callable[[int], bytes]) -> None:
    """Raise SigningRefused unless everything signed before is an earlier state of the tree of `size` leaves.

    `root_at` computes that tree's root at any size up to `size`.
    """
    for signed in history:
        before = signed.checkpoint
        if before.size > size:
            raise SigningRefused(
                f"the database holds {size} entries, but a checkpoint of {before.size} was signed"
                f" ({signed.where}): the database is older than that, as after restoring a backup. Bring the"
                " newer database back; this log can never be signed without those entries"
            )
        if root_at(before.size) != before.root:
            raise SigningRefused(
                f"the first {before.size} entries in the database are not those that were signed"
                f" ({signed.where}): the database was restored from a backup and went on differently, or was"
                " altered. Bring the right database back; this log can never be signed with this one"
            )


def check_clock(published: Signed | None, now: int) -> None:
    """Raise SigningRefused when the clock is before the published checkpoint's.

    What was signed and never published does not count: a clock that once ran ahead and is right again must not
    keep the log from being signed until that time has come.
    """
    if published is not None and now < published.timestamp:
        # The same words as long as it lasts: they are logged when they change.
        at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(published.timestamp))
        raise SigningRefused(
            f"this machine's clock is before the last checkpoint it published, which is of {at};"
            " set the clock, and publishing goes on by itself"
        )
