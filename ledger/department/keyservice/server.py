"""The key service beside the sender: its socket, its thread, its own connection to the outbox."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ledger.department.home import Home
from ledger.department.keyservice.app import PATH, KeyServiceApp
from ledger.department.keyservice.provider import Provider
from ledger.department.keyservice.releasing import Releases
from ledger.department.keyservice.settings import KeyServiceSettings
from ledger.department.recording import Recording
from ledger.department.settings import CannotGoOn
from ledger.slowclients import bounded_protocol

CONNECTIONS: Final = 200
STOP_S: Final = 10
_HEAD_BYTES: Final = 64 << 10
_SAY_AGAIN_S: Final = 60.0
_SAID: Final = 20


class KeyService:
    """Answers while the block lasts; leaving it ends the answers under way first.

    Entering raises CannotGoOn when the address, the registered activities or the schemes will not do.
    """

    def __init__(
        self,
        home: Home,
        settings: KeyServiceSettings,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        provider: Provider | None = None,
    ) -> None:
        self._home, self._settings, self._say, self._clock = home, settings, say, clock
        self._troubles = Troubles(say)
        self._provider = provider or Provider(settings.issuer, say)

    def __enter__(self) -> KeyService:
        self._start()
        return self

    def stay(self) -> None:
        """Start again when one of the threads has ended, which neither does by itself.  Raises as entering does."""
        if self._thread.is_alive() and self._recording.goes_on:
            return
        self._say("Key service: it has ended by a fault, please report this; it is started again")
        self._stop()
        self._start()

    def _start(self) -> None:
        self._socket = _bound(self._settings)
        try:
            self._recording = Recording(self._home.another, self._say, self._clock)
            try:
                releases = Releases(self._recording, self._settings, self._troubles.say)
            except BaseException:
                self._recording.close()
                raise
        except BaseException:
            self._socket.close()
            raise
        app = KeyServiceApp(
            self._settings,
            self._home.settings.identifiers,
            self._provider,
            releases,
            self._troubles.say,
            self._clock,
        )
        proxies = list(self._settings.proxies)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app.asgi(),
                # h11, as it bounds the length of a head.
                http=bounded_protocol(protocol=H11Protocol),
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                # Without proxies nobody's X-Forwarded-For counts: uvicorn would believe this machine's.
                proxy_headers=bool(proxies),
                forwarded_allow_ips=proxies or None,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                h11_max_incomplete_event_size=_HEAD_BYTES,
                timeout_graceful_shutdown=STOP_S,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="glassbook-keyservice", daemon=True
        )
        self._thread.start()
        self._say(f"Keys are given at {self.address}{PATH} to whoever {self._settings.issuer} names.")

    @property
    def address(self) -> str:
        """`http://HOST:PORT`."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._provider.close()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._recording.close()
        self._socket.close()


class Troubles:
    """Says what hinders the service; the same again only after a minute, however many ask meanwhile."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        now = self._clock()
        with self._lock:
            self._said = {other: at for other, at in self._said.items() if now - at < _SAY_AGAIN_S}
            if text in self._said or len(self._said) >= _SAID:
                return
            self._said[text] = now
        self._say(text)


def _bound(settings: KeyServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=128)
    except OSError as error:
        raise CannotGoOn(
            f"department.toml: keyservice.listen {settings.host}:{settings.port}",
            f"cannot listen there: {error.strerror or error}; does another program, or another run, hold it?",
        ) from None
