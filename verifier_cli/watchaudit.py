"""The audit that a watch takes on from one look to the next: in memory between them, and kept in a file.

What is in memory may be ahead of what is proven when an audit is cut short. Then it is dropped, and the next one goes
on from what was saved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from ledger.client.publiclog import PublicLog
from ledger.client.view import View
from ledger.core.errors import Malformed
from ledger.core.replay import Replay
from ledger.files import FileRefused
from verifier_cli.auditfile import AuditFile
from verifier_cli.auditing import Advanced, Auditor
from verifier_cli.consistency import check_audited

WORTH_A_BAR = 20_000
"""Entries to audit from which on progress is shown."""


Bar = AbstractContextManager[Callable[[int, int], None] | None]
"""What shows the progress of one audit: called with the entries audited and all there are."""


class WatchedAudit:
    """The audit of `log`, kept at `path`; `jobs` processes check signatures. One thread at a time."""

    def __init__(self, log: PublicLog, origin: str, path: Path, jobs: int) -> None:
        """Raises `Malformed`, OSError, sqlite3.Error for the file."""
        self._origin = origin
        self._file = AuditFile.open(path)
        self._auditor = Auditor(log, origin, jobs)
        self.replay: Replay | None = None
        """What was audited, as long as it is in memory."""

    def advance(
        self, view: View, newest: int, bar: Callable[[], Bar], stop: threading.Event
    ) -> tuple[Replay, Advanced] | None:
        """Audit up to `view`; None when another program has audited a newer checkpoint with this file.

        `newest` (Unix seconds) decides what lies in the future. Raises as `Auditor.advance` and `check_audited`, and
        FileRefused, OSError, sqlite3.Error for the file.
        """
        try:
            replay = self._loaded(view, newest)
            if replay.size > view.size:
                return None
            replay.newest = newest
            with bar() if view.size - replay.size > WORTH_A_BAR else nullcontext() as progress:
                advanced = self._auditor.advance(
                    replay, view.opened.checkpoint, save=self._save, progress=progress, stop=stop
                )
        except BaseException:
            self.replay = None
            raise
        if advanced.summary is None:
            self.replay = None
        return replay, advanced

    def close(self) -> None:
        """End the processes, let go of the file."""
        self._auditor.close()
        self._file.close()

    def _loaded(self, view: View, newest: int) -> Replay:
        if self.replay is None:
            with _of_this_computer():
                replay = self._file.load(self._origin, newest, view.size)
            if replay.size <= view.size:
                check_audited(view, replay)
            self.replay = replay
        return self.replay

    def _save(self, replay: Replay) -> None:
        with _of_this_computer():
            self._file.save(replay)


@contextmanager
def _of_this_computer() -> Iterator[None]:
    """A file kept here that is not what it should be: no fault of the log, which `Malformed` would stand for."""
    try:
        yield
    except Malformed as error:
        raise FileRefused(str(error)) from None
