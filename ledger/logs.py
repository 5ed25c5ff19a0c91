"""Log lines of the operator's processes: JSON on standard error, one object a line.

What is logged is counts, sizes, durations and codes.  No entry, label, token, subject, address or query ever is.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import Any

import structlog


class _Lines(structlog.PrintLogger):
    """Lines on standard error. One that cannot be written is lost, and not the process with it.

    A log often lies on the disk that the database filled: when there is room again, work goes on.
    """

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def _lines(*_: Any) -> _Lines:
    return _Lines(sys.stderr)


def configure_logs(level: int = logging.INFO) -> None:
    """Set structlog up for this process; the standard library's loggers (uvicorn's) write warnings and worse."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
