"""What the operator of a witness has to hear: on standard error, in the witness's file, and at a webhook.

An alarm of one kind for one log is told when it comes up and when its words change, and while it lasts once a minute:
a log that asks four times a second must not fill the disk of who refuses it.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ledger.files import FileRefused
from verifier_cli.witnessfile import WitnessFile

AGAIN_SECONDS = 60.0

EVENT_SCHEMA = "glassbook-witness/1"

Tell = Callable[[dict[str, Any]], object]
"""Takes an alarm, as JSON will have it, to wherever it is wanted."""


def say(text: str) -> None:
    """A line to the operator."""
    # Where standard error goes, the disk may be full: no reason to end.
    with suppress(OSError):
        print(f"witness: {text}", file=sys.stderr, flush=True)


class Alarms:
    """The alarms of one witness. Safe for several threads; never raises."""

    def __init__(
        self, file: WitnessFile, clock: Callable[[], float] = time.time, tell: Tell | None = None
    ) -> None:
        self._file = file
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], tuple[str, float]] = {}
        self._standing = {(alarm.origin, alarm.kind) for alarm in file.alarms() if alarm.ended is None}

    def due(self, origin: str, kind: str, text: str) -> bool:
        """Whether this alarm would be told now: before evidence is written for it."""
        told = self._told.get((origin, kind))
        return told is None or told[0] != text or time.monotonic() - told[1] >= AGAIN_SECONDS

    def raise_(self, origin: str, kind: str, text: str, evidence: str | None = None) -> None:
        """Something is wrong with this log, or with what this witness has of it."""
        with self._lock:
            if not self.due(origin, kind, text):
                return
            self._told[origin, kind] = (text, time.monotonic())
            self._standing.add((origin, kind))
        say(f"ALARM ({kind}) {origin}: {text}" + (f"; evidence: {evidence}" if evidence else ""))
        self._write(lambda: self._file.put_alarm(origin, kind, text, int(self._clock()), evidence))
        self._send(origin, kind, text, evidence, ended=False)

    def end(self, origin: str, kinds: Sequence[str]) -> None:
        """What these alarms were about is over."""
        with self._lock:
            over = [kind for kind in kinds if (origin, kind) in self._standing]
            for kind in over:
                self._standing.discard((origin, kind))
                self._told.pop((origin, kind), None)
        if over:
            say(f"over ({', '.join(over)}): {origin}")
            self._write(lambda: self._file.end_alarms(origin, over, int(self._clock())))
            for kind in over:
                self._send(origin, kind, "over", None, ended=True)

    def _send(self, origin: str, kind: str, text: str, evidence: str | None, ended: bool) -> None:
        if self._tell is None:
            return
        self._tell(
            {
                "schema": EVENT_SCHEMA,
                "witness": self._file.name,
                "log": origin,
                "kind": kind,
                "at": int(self._clock()),
                "ended": ended,
                "message": text,
                "evidence_file": evidence,
            }
        )

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (sqlite3.Error, FileRefused, OSError) as error:
            say(f"cannot keep an alarm in {self._file.path}: {error}")
