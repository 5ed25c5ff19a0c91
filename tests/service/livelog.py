"""A ledger on a real socket; with `publishing`, its sequencer, a publisher and a plain witness as well."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from smallledger import LEDGER_KEY, LOG_KEY, LOG_MLDSA, LOG_VKEYS, NOW, ORIGIN, SmallLedger
from starlette.types import ASGIApp

from ledger.core.encoding import b64encode
from ledger.core.policy import Policy, parse_policy
from ledger.publicfiles import open_public_files
from ledger.sequencer.run import run_sequencer
from ledger.service.app import create_app
from ledger.service.body import Submission
from ledger.settings import Settings, parse_settings
from publisher.policy import PolicyFile, PolicyWitness, format_policy
from publisher.published import Published
from publisher.run import Publisher
from publisher.serve import Site, public_app
from publisher.signing import LogSigner, SignedFile
from verifier_cli.witness import witness_app
from verifier_cli.witnessfile import WitnessFile


def as_object(submission: Submission) -> dict[str, str]:
    """The JSON object of a submission."""
    found = {"entry": b64encode(submission.entry)}
    if submission.envelope is not None:
        found["envelope"] = b64encode(submission.envelope)
    if submission.fetch is not None:
        found["fetch"] = b64encode(submission.fetch)
    return found


class Server:
    """An application on a real socket, in a thread."""

    def __init__(self, app: ASGIApp) -> None:
        bound = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        config = uvicorn.Config(app, access_log=False, log_level="error", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [bound]}, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.005)

    def begin_to_end(self) -> None:
        """Without waiting for it, which `close` does."""
        self._server.should_exit = True

    def close(self) -> None:
        self.begin_to_end()
        self._thread.join(10)


class LiveLedger:
    """`ledger.small` is the database below; `client` talks to the service."""

    def __init__(self, home: Path, clock: Callable[[], float], url: str | None = None, **limits: int) -> None:
        home.mkdir()
        (home / "keys").mkdir()
        self.home, self.clock = home, clock
        self.small = SmallLedger(home, url)
        lines = "".join(f"{name} = {value}\n" for name, value in limits.items())
        self.settings: Settings = parse_settings(f'origin = "{ORIGIN}"\n[ledger]\n{lines}'.encode(), home)
        self._ends: list[Callable[[], object]] = [self.small.close]
        self._published = Published(self.small.store)
        self._folder = open_public_files(self.settings.public)
        self._policy_file = PolicyFile(home / "policy.txt", *LOG_VKEYS)
        self.publisher = Publisher(
            self.small.store,
            self._folder,
            LogSigner(ORIGIN, LOG_KEY, LOG_MLDSA),
            SignedFile(home / "keys" / "signed"),
            self._policy_file,
            self._published,
            clock,
        )
        self._ends.append(self.publisher.close)
        site = Site(
            self.small.store,
            self._folder,
            self._published,
            ORIGIN,
            LOG_VKEYS,
            lambda: self._policy_file.text,
            lambda: self.publisher.status,
        )
        self.public = Server(public_app(site))
        self._ends.append(self.public.close)
        self.settings = replace(self.settings, public_url=self.public.url)
        app = create_app(self.settings, self.small.store, clock=clock, key=LEDGER_KEY)
        self.server = Server(app)
        self._ends.append(self.server.close)
        self.client = httpx.Client(base_url=self.server.url, timeout=20)
        self._ends.append(self.client.close)

    def publishing(self) -> Policy:
        """Start sequencer, witness and publisher; the policy under which receipts hold."""
        file = WitnessFile.create(self.home / "witness.sqlite", "witness.example/w1")
        for vkey in LOG_VKEYS:
            file.add_log(vkey)
        witness = Server(witness_app(file, self.clock))
        named = [PolicyWitness("W1", file.vkeys[0], witness.url)]
        text = format_policy(*LOG_VKEYS, named)
        self._policy_file.path.write_text(text)
        stop = threading.Event()

        def sequence() -> None:
            run_sequencer(self.small.store, ORIGIN, interval_s=0.05, batch=1000, stop=stop.is_set)

        def publish() -> None:
            while not stop.wait(0.02):
                self.publisher.round()

        threads = [threading.Thread(target=work, daemon=True) for work in (sequence, publish)]
        for thread in threads:
            thread.start()

        def end() -> None:
            stop.set()
            for thread in threads:
                thread.join(10)
            witness.close()
            file.close()

        self._ends.append(end)
        return parse_policy(text)

    def post(self, *items: object, wait: bool = False) -> list[dict[str, Any]]:
        """POST as a JSON document; the results."""
        answer = self.client.post(
            "/v1/entries", params={"wait": "published"} if wait else None, json={"entries": list(items)}
        )
        assert answer.status_code == 200, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        assert len(results) == len(items)
        return results

    def close(self) -> None:
        self._ends.pop()()  # the threads of `publishing`, or the client: neither may meet a server that ends
        for server in (self.server, self.public):
            server.begin_to_end()  # both at once: each looks only now and then whether it should
        for end in reversed(self._ends):
            end()


def codes(results: list[dict[str, Any]]) -> list[str]:
    """For each result its problem code, or its status when it has none."""
    return [
        result["problem"]["type"].removeprefix("urn:glassbook:problem:")
        if "problem" in result
        else result["status"]
        for result in results
    ]


NOON = float(NOW)
