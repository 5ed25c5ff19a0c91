"""The loop around the rounds: for as long as the process runs, whatever fails."""

from __future__ import annotations

import threading
import time

import structlog

from ledger.core.errors import GlassbookError
from ledger.publicfiles import PlaceRefused
from ledger.store import Leadership, LeadershipLost, Store, StoreBusy
from publisher.policy import PolicyRefused
from publisher.recovery import Superseded
from publisher.run import PUBLISHING, STANDING_BY, Publisher, Status
from publisher.signing import SigningRefused

log = structlog.get_logger("publisher")

POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0

SAY_AGAIN_SECONDS = 60
"""How often a fault that lasts is repeated in the log."""


def publish_until(publisher: Publisher, store: Store, stop: threading.Event) -> None:
    """Publish for as long as `stop` is not set; stands by while another process does. Never raises."""
    while not stop.is_set():
        try:
            with store.lead("publisher") as leadership:
                if leadership is not None:
                    publisher.lead(leadership)
                    _publish_leading(publisher, leadership, stop)
                else:
                    publisher.observe()
                    publisher.say(Status(STANDING_BY, ("another publisher of this log is running",)))
        except LeadershipLost as error:
            publisher.say(Status(STANDING_BY, (str(error),)))
        except StoreBusy as error:
            publisher.say(Status("failing", (str(error),)))
        except OSError as error:
            publisher.say(_failing(publisher, error))
        stop.wait(RETRY_SECONDS)


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
