"""Events told to webhooks: one JSON POST each, in order, again and again until it is taken.

Every webhook has a thread of its own, so that none can hold up the watching or another. An address may hold a secret:
messages name its host only, and what is kept across restarts goes by the address's hash.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import httpx
import tenacity

from ledger.core.encoding import sha256
from ledger.core.errors import Malformed
from verifier_cli.watchalerts import WAITING

ANSWER_SECONDS = 10.0
FIRST_WAIT = 1.0  # seconds before the second attempt; twice as long before each one after that
LONGEST_WAIT = 300.0


def host_of(url: str) -> str:
    """The host of a webhook's address. Raises `Malformed` for what is no http(s) address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Malformed("--webhook", "must be http(s)://host[:port]/path")
    return str(parts.hostname)


class Webhook:
    """One address that events are posted to. `say` is told when it fails, and when it works again."""

    def __init__(
        self,
        url: str,
        waiting: Iterable[dict[str, Any]],
        say: Callable[[str], None],
        first_wait: float = FIRST_WAIT,
    ) -> None:
        """Begin with the events that were left over. Raises `Malformed` for what is no http(s) address."""
        self.host = host_of(url)
        self.key = sha256(url.encode()).hex()[:16]
        self.delivered = 0
        self.failures = 0
        self.lost = 0
        self._url = url
        self._say = say
        self._first_wait = first_wait
        self._waiting = deque(waiting)
        self._failed_in_a_row = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"webhook {self.host}", daemon=True)
        self._thread.start()

    def put(self, event: dict[str, Any]) -> None:
        """Have this told, after all that waits."""
        with self._changed:
            self._waiting.append(event)
            if len(self._waiting) > WAITING:
                self._waiting.popleft()
                self.lost += 1
            self._changed.notify_all()

    def waiting(self) -> list[dict[str, Any]]:
        """The events that it has not taken yet."""
        with self._changed:
            return list(self._waiting)

    def flush(self, seconds: float) -> bool:
        """Wait until all is taken, or an attempt has failed, `seconds` at most; whether all is taken."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._failed_in_a_row > 1, seconds)
            return not self._waiting

    def close(self, seconds: float) -> None:
        """Tell no more; an attempt under way has `seconds` to end."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(seconds)

    def _run(self) -> None:
        again = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda taken: not taken),
            wait=tenacity.wait_exponential(multiplier=self._first_wait, max=LONGEST_WAIT),
            stop=tenacity.stop_when_event_set(self._closing),
            sleep=tenacity.sleep_using_event(self._closing),
            retry_error_callback=lambda _: None,
        )
        with httpx.Client(timeout=ANSWER_SECONDS, follow_redirects=False) as client:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                if self._closing.is_set():
                    return
                again(self._tell_first, client)

    def _tell_first(self, client: httpx.Client) -> bool:
        """Post what has waited longest; whether that, or nothing, is left to be done."""
        with self._changed:
            if self._closing.is_set() or not self._waiting:
                return True
            event = self._waiting[0]
        fault = self._post(client, event)
        with self._changed:
            if fault is None:
                self.delivered += 1
                # Unless there were too many meanwhile, it still is the first.
                if self._waiting[0] is event:
                    self._waiting.popleft()
            else:
                self.failures += 1
            before, self._failed_in_a_row = self._failed_in_a_row, self._failed_in_a_row + 1 if fault else 0
            self._changed.notify_all()
        if fault is not None and not before:
            self._say(f"webhook at {self.host} {fault}; trying again, and keeping what it was to be told")
        elif fault is None and before:
            self._say(f"webhook at {self.host} takes events again")
        return fault is None

    def _post(self, client: httpx.Client, event: dict[str, Any]) -> str | None:
        """What went wrong, or None. The answer's body is of no interest and is not read."""
        headers = {"Content-Type": "application/json", "User-Agent": "glassbook-verify"}
        content = json.dumps(event, ensure_ascii=False).encode()
        try:
            with client.stream("POST", self._url, content=content, headers=headers) as response:
                status = response.status_code
        except httpx.TimeoutException:
            return "does not answer in time"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return f"cannot be reached ({type(error).__name__})"
        return None if 200 <= status < 300 else f"answered {status}"
