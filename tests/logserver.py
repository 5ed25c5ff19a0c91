"""The log of a LogFactory over a real socket, answering truly, or wrongly on demand.

    with LogServer(log) as server:
        server.url                         http://127.0.0.1:PORT/
        server.wrong["checkpoint"] = ...   another answer for one path

An override is bytes (the body), an int (a status without a body) or a function of the handler that does
everything itself: slow bodies, huge ones, redirects.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from logfactory import LogFactory

from ledger.core.encoding import b64decode, b64encode, sha256

Override = bytes | int | Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request to a LogServer."""

    server: "_Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def log_message(self, format: str, *args: Any) -> None:
        self.server.owner.request_lines.append(str(args[0]))

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, body: bytes | None) -> None:
        owner = self.server.owner
        path = self.path.lstrip("/")
        wrong = owner.wrong.get(path)
        try:
            if callable(wrong):
                wrong(self)
            elif isinstance(wrong, int):
                self.send(b"", wrong)
            elif wrong is not None:
                self.send(wrong)
            else:
                self._answer_truly(owner, path, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _answer_truly(self, owner: "LogServer", path: str, body: bytes | None) -> None:
        if body is None:
            found = owner.files.get(path)
            self.send(b"", 404) if found is None else self.send(found)
            return
        asked = json.loads(body)
        if path == "index/proofs":
            answer = owner.log.index_answer(
                [b64decode(text, "label") for text in asked["labels"]], owner.note
            )
        else:
            given = [owner.log.envelopes.get(sha256(b64decode(t, "token"))) for t in asked["tokens"]]
            answer = {"envelopes": [None if one is None else b64encode(one) for one in given]}
        self.send(json.dumps(answer).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: "LogServer"

    def handle_error(self, request: object, client_address: object) -> None:
        """A reader that hangs up in the middle is what some tests are about."""


class LogServer:
    """Serves what `log` is at the moment of the last `refresh`."""

    def __init__(self, log: LogFactory, timestamp: int | None = None) -> None:
        self.log = log
        self.wrong: dict[str, Override] = {}
        self.request_lines: list[str] = []
        self._timestamp = timestamp
        self.files: dict[str, bytes] = {}
        self.refresh()
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def refresh(self) -> None:
        """Publish what the log has become."""
        # What was published before stays, as tlog-tiles asks of partial tiles.
        self.files |= self.log.files() if self._timestamp is None else self.log.files(self._timestamp)
        self.note = self.files["checkpoint"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def __enter__(self) -> "LogServer":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
