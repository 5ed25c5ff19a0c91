"""The receiver beside the sender: its socket, its thread, and what it tells the operator."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Final

import uvicorn

from ledger.department.access import Fate, Outcome
from ledger.department.home import Home
from ledger.department.importers.formats import FORMATS
from ledger.department.mapfile import MapFile
from ledger.department.otlp.app import OtlpApp
from ledger.department.recording import Recording
from ledger.department.registration import Registration
from ledger.department.settings import CannotGoOn, OtlpSettings
from ledger.files import FileRefused, read_private

SAY_EVERY: Final = 60.0
"""Seconds between two lines that say what came in; a rejection for a new reason is said at once."""

_CONNECTIONS: Final = 256
_LONGEST_LINE: Final = 65_536
_TOKEN_BYTES: Final = 16
_REASONS: Final = 1000


class Receiver:
    """Receives while the block lasts; leaving it answers what has come and records it.

    Entering raises CannotGoOn when the mapping, the token or the address will not do, Malformed for a mapping that is
    not right or does not fit the registration.
    """

    def __init__(
        self, home: Home, settings: OtlpSettings, registration: Registration, say: Callable[[str], None]
    ) -> None:
        self._home, self._settings = home, settings
        self._tally = Tally(say)
        self._say = say
        map_file = MapFile(FORMATS["ldv"], settings.map)
        map_file.check(registration)
        self._mapping = map_file.mapping
        self._token = _token(settings)

    def __enter__(self) -> Receiver:
        self._start()
        return self

    def stay(self) -> None:
        """Start again when one of the threads has ended, which neither does by itself.  Raises as entering does."""
        if self._thread.is_alive() and self._recording.goes_on:
            return
        self._say("OTLP: the receiver has ended by a fault, please report this; it is started again")
        self._stop()
        self._start()

    def _start(self) -> None:
        self._socket = _bound(self._settings)
        try:
            self._recording = Recording(self._home.another, self._say)
        except BaseException:
            self._socket.close()
            raise
        self._app = OtlpApp(self._recording, self._mapping, self._token, self._tally.add, self._tally.trouble)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app,
                http="h11",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=_LONGEST_LINE,
                limit_concurrency=_CONNECTIONS,
                timeout_graceful_shutdown=20,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="glassbook-otlp", daemon=True
        )
        self._thread.start()
        self._say(f"OTLP is received on {self.address} (/v1/traces, /v1/logs).")

    @property
    def address(self) -> str:
        """`http://HOST:PORT`."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._tally.tell()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._app.close()
        self._recording.close()
        self._socket.close()


class Tally:
    """Counts what came, and says it now and then: never what was in it."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._counts: Counter[str] = Counter()
        self._reasons: set[str] = set()
        self._told_at = clock()
        self._trouble = ("", clock())
        self._lock = threading.Lock()

    def add(self, outcomes: list[Outcome], before: list[bool]) -> None:
        """The fates of a request's events, and whether each was recorded before."""
        new: list[str] = []
        with self._lock:
            for outcome, again in zip(outcomes, before, strict=True):
                self._counts["recorded before" if again else outcome.fate.value] += 1
                known = outcome.reason in self._reasons or len(self._reasons) >= _REASONS
                if outcome.fate is Fate.REJECTED and not known:
                    self._reasons.add(outcome.reason)
                    new.append(outcome.reason)
            due = self._clock() - self._told_at >= SAY_EVERY
        for reason in new:
            self._say(f"OTLP: rejected, and not recorded: {reason}")
        if due:
            self.tell()

    def trouble(self, text: str) -> None:
        """Say what hinders recording; the same again only after a while."""
        with self._lock:
            now = self._clock()
            if (text, True) == (self._trouble[0], now - self._trouble[1] < SAY_EVERY):
                return
            self._trouble = (text, now)
        self._say(text)

    def tell(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            self._told_at = self._clock()
        if counts:
            self._say("OTLP: " + ", ".join(f"{count} {fate}" for fate, count in sorted(counts.items())) + ".")


def _bound(settings: OtlpSettings) -> socket.socket:
    where = f"department.toml: otlp.listen {settings.host}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(128)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        what = (
            f"cannot listen there: {error.strerror or error}; does another program, or another run, hold it?"
        )
        raise CannotGoOn(where, what) from None
    return bound


def _token(settings: OtlpSettings) -> bytes | None:
    if settings.token is None:
        return None
    try:
        token = read_private(settings.token, 4096).strip()
    except FileRefused as error:
        raise CannotGoOn("otlp.token", str(error)) from None
    except OSError as error:
        raise CannotGoOn(
            str(settings.token), f"cannot be read: {error.strerror}; otlp.token names it"
        ) from None
    if len(token) < _TOKEN_BYTES or not token.isascii() or b" " in token or b"\n" in token:
        raise CannotGoOn(
            str(settings.token), f"must hold one line of at least {_TOKEN_BYTES} characters without a space"
        )
    return token
