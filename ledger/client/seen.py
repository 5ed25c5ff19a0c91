"""The last checkpoint seen of a log, kept in a file: what a fork or a rollback is found against.

The file is the signed note itself, so it can be read, handed on and given to any C2SP tool.
"""

import hashlib
import os
from pathlib import Path

from ledger.client.publiclog import MAX_CHECKPOINT
from ledger.core.policy import Policy
from ledger.files import read_limited, write_atomic


def default_path(policy: Policy) -> Path:
    """Where the checkpoint is kept when nobody says another place."""
    return data_path(policy, "seen", ".checkpoint")


def data_path(policy: Policy, kind: str, suffix: str) -> Path:
    """One file per log key, in the user's data folder (XDG Base Directory; `%LOCALAPPDATA%` on Windows)."""
    base = os.environ.get("XDG_DATA_HOME") or os.environ.get("LOCALAPPDATA") or ""
    folder = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "share"
    # The key and not the origin: two logs that only share a name must not be taken for one.
    name = hashlib.sha256(policy.log.text.encode()).hexdigest()[:16]
    return folder / "glassbook" / kind / f"{name}{suffix}"


def load_seen(path: Path) -> bytes | None:
    """The note kept at `path`; None when there is none yet. Raises OSError or FileRefused."""
    try:
        return read_limited(path, MAX_CHECKPOINT)
    except FileNotFoundError:
        return None


def save_seen(path: Path, note: bytes) -> None:
    """Keep `note`, durably and in one step. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, note)
