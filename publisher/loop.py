"""The loop around the rounds: for as long as the process runs, whatever fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from ledger.core.errors import GlassbookError
from ledger.publicfiles import PlaceRefused
from ledger.store import Leadership, LeadershipLost, Store, StoreBusy
from publisher.policy import PolicyRefused
from publisher.recovery import Superseded
from publisher.run import PUBLISHING, STANDING_BY, Publisher, Status
from publisher.signing import SigningRefused

log = structlog.get_logger("publisher")

POLL_SECONDS = 0.02
RETRY_SECONDS = 1.0

SAY_AGAIN_SECONDS = 60
"""How often a fault that lasts is repeated in the log."""

LEAST_PATIENCE_SECONDS, MOST_PATIENCE_SECONDS = 3.0, 96.0
HANDED_ON_SECONDS = 4.0
"""For how long whoever has handed on stands by: others look once a second."""


class Patience:
    """How long a leader may get nothing done of what is due, before it lets another publisher try.

    Its own way to the bucket or to a witness may be cut, and that of the other whole.  When nobody does better it is
    its turn again, and it waits twice as long: where the bucket itself is away, or all are slow, the lead must not go
    to and fro.
    """

    def __init__(self, publisher: Publisher, clock: Callable[[], float] = time.monotonic) -> None:
        self._publisher, self._clock = publisher, clock
        self._seconds = LEAST_PATIENCE_SECONDS
        self._moved_at = 0.0
        self._longest = 0.0  # that nothing was got done, since something was

    def lasts(self) -> bool:
        """Asked by the thread that renews the lease, twice a second."""
        moved_at = self._publisher.moved_at
        late = self._clock() - moved_at
        if late > self._seconds:
            self._seconds = min(2 * self._seconds, MOST_PATIENCE_SECONDS)
            log.warning(
                "nothing gets done; another publisher may try",
                for_s=round(late),
                why=list(self._publisher.status.reasons),
            )
            return False
        if moved_at != self._moved_at:
            if self._longest < self._seconds / 4:
                self._seconds = max(LEAST_PATIENCE_SECONDS, self._seconds * 0.75)
            self._moved_at, self._longest = moved_at, late
        self._longest = max(self._longest, late)
        return True


def publish_until(publisher: Publisher, store: Store, stop: threading.Event) -> None:
    """Publish for as long as `stop` is not set; stands by while another process does. Never raises."""
    patience = Patience(publisher)
    while not stop.is_set():
        pause = RETRY_SECONDS
        try:
            with store.lead("publisher") as leadership:
                if leadership is not None:
                    publisher.lead(leadership)
                    leadership.is_of_use = patience.lasts
                    _publish_leading(publisher, leadership, stop)
                    pause = HANDED_ON_SECONDS
                else:
                    publisher.observe()
                    publisher.say(Status(STANDING_BY, ("another publisher of this log is running",)))
        except LeadershipLost as error:
            publisher.say(Status(STANDING_BY, (str(error),)))
        except StoreBusy as error:
            publisher.say(Status("failing", (str(error),)))
        except OSError as error:
            publisher.say(_failing(publisher, error))
        stop.wait(pause)


def _publish_leading(publisher: Publisher, leadership: Leadership, stop: threading.Event) -> None:
    said = time.monotonic()
    while not stop.is_set() and not leadership.lost:
        pause = RETRY_SECONDS
        try:
            publisher.round()
            pause = POLL_SECONDS
        except LeadershipLost:
            raise
        except Superseded:
            pause = POLL_SECONDS
        except SigningRefused as error:
            publisher.say(Status("refusing to sign", (str(error),)))
        except PolicyRefused as error:
            publisher.say(Status("no policy", (str(error),)))
        except OSError as error:
            publisher.say(_failing(publisher, error))
        except PlaceRefused as error:
            publisher.say(Status("failing", (str(error),)))
        except (StoreBusy, LookupError, GlassbookError) as error:
            publisher.say(Status("failing", (f"{error}; trying again",)))
        except Exception as error:  # one that has stopped tells nobody why
            log.exception("unexpected fault")
            publisher.say(Status("failing", (f"unexpected fault {type(error).__name__}; trying again",)))
        status = publisher.status
        if status.state in (PUBLISHING, "starting"):
            said = time.monotonic()
        elif time.monotonic() - said >= SAY_AGAIN_SECONDS:
            said = time.monotonic()
            log.warning(status.state, why=list(status.reasons), still=True)
        stop.wait(pause)


def _failing(publisher: Publisher, error: OSError) -> Status:
    return Status("failing", (f"{publisher.place(error)}: {error.strerror}; trying again",))
