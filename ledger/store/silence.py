"""A connection to PostgreSQL that does not wait for ever for a server that says nothing.

The keepalives of TCP notice a peer that is gone.  One that is there and silent they do not notice: a pooler that
stands still, a server whose disk does, a proxy that goes on answering for it.  And what the server's own time-outs have
to say does not reach us then.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")


class Connection(psycopg.Connection[Any]):
    """Ends itself when the server has been silent for `patience` seconds; None waits without end."""

    patience: float | None = 10.0

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **named: Any) -> T:
        """See psycopg.  Raises OperationalError, and is closed then, when nothing comes for too long."""
        if self.patience is None:
            return super().wait(gen, *args, **named)
        try:
            return super().wait(_watched(gen, self.patience), *args, **named)
        except _Silent:
            self.close()  # or it would be given out again, with an answer to come that nobody asked for
            raise psycopg.OperationalError(f"it said nothing for {self.patience:g} s") from None


class _Silent(Exception):
    pass


def _watched(gen: Generator[Any, Any, T], patience: float) -> Generator[Any, Any, T]:
    """The generator, until it was found not ready for so long.  psycopg looks ten times a second."""
    try:
        wanted = next(gen)
        heard = time.monotonic()
        while True:
            ready = yield wanted
            now = time.monotonic()
            if ready:
                heard = now
            elif now - heard >= patience:
                raise _Silent
            wanted = gen.send(ready)
    except StopIteration as end:
        result: T = end.value
        return result
