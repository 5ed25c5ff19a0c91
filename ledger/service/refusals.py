"""Requests that are sent away: counted each, and said in the log now and then, or the log itself would be the load."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from ledger.service.metrics import Metrics

SAY_S = 10.0
_log = structlog.get_logger("ledger.service")


class Refusals:
    """`clock` gives seconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._clock = metrics, clock
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def note(self, reason: str, why: str) -> None:
        """One more; `reason` is one of a few words, `why` for people."""
        self._metrics.refused.labels(reason).inc()
        count = self._unsaid.get(reason, 0) + 1
        now = self._clock()
        last = self._said.get(reason)
        if last is None or now - last >= SAY_S:
            self._said[reason] = now
            _log.warning("busy", reason=reason, why=why, refused=count)
            count = 0
        self._unsaid[reason] = count
