"""`glassbook department run`: the agent with all its parts and servers, from start to SIGTERM."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ledger.department import recovery
from ledger.department.home import Home, Say
from ledger.department.promisecommand import promise_words
from ledger.department.settings import CannotGoOn
from ledger.department.statuscommand import line

if TYPE_CHECKING:
    from ledger.department.sending import Sender


def run_agent(home: Home, interval: float, say: Say) -> None:
    """Until SIGTERM or SIGINT; `interval` is the seconds between two rounds, on average."""
    from ledger.department.agent import Agent
    from ledger.department.erasing import erase_daily

    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stopping.append(received))
    sender = open_sender(home, None, say)
    last: list[str] = []

    def tell() -> None:
        words = " ".join([line(home.outbox.counts()), *promise_words(home)])
        if last != [words]:
            last[:] = [words]
            say(words)

    def erase() -> None:
        erase_daily(
            home.outbox,
            home.settings.retention,
            sender.maker.registration,
            sender.maker.key,
            sender.ledger,
            int(time.time()),
            say,
        )

    also = {"erasure": erase, "standing": tell}
    with ExitStack() as servers:
        if home.settings.otlp is not None:
            from ledger.department.otlp.receiver import Receiver

            receiver = Receiver(home, home.settings.otlp, sender.maker.registration, say)
            also["otlp"] = servers.enter_context(receiver).stay
        if home.settings.keyservice is not None:
            from ledger.department.keyservice.server import KeyService

            also["keys"] = servers.enter_context(KeyService(home, home.settings.keyservice, say)).stay
        Agent(home, sender, interval, say, also).run(lambda: bool(stopping))
    say("Stopped. " + line(home.outbox.counts()))


def open_sender(home: Home, patience: int | None, say: Say) -> Sender:
    """What hands in for this department.  Raises CannotGoOn during a recovery."""
    # Loaded here: an HTTP client takes longer to import than most of the other commands take altogether.
    from ledger.department.handin import LedgerClient
    from ledger.department.sending import Sender

    if recovery.is_recovering(home.outbox):
        raise CannotGoOn("outbox", recovery.RECOVERING)
    maker = home.maker(home.registration(int(time.time()), say))
    return Sender(
        outbox=home.outbox,
        maker=maker,
        ledger=LedgerClient(home.settings.ledger),
        policy=home.policy,
        open_view=home.view,
        batch=home.settings.batch,
        say=say,
        patience=float(patience or home.settings.wait_s),
    )
