"""A webhook over a real socket that takes events, or answers as told."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_POST(self) -> None:
        owner = self.server.owner
        body = self.rfile.read(int(self.headers["Content-Length"]))
        owner.asked += 1
        if owner.hang:
            time.sleep(owner.hang)
        if owner.status == 200:
            assert self.headers["Content-Type"] == "application/json"
            owner.events.append(json.loads(body))
        self.send_response(owner.status)
        self.send_header("Content-Length", "0")
        if owner.status == 302:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: "Hook"

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hangs up does so on purpose here."""


class Hook:
    """Events taken so far, `status` answered next, seconds to `hang` before that."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.status = 200
        self.hang = 0.0
        self.asked = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/services/s3cret?token=s3cret"

    def __enter__(self) -> "Hook":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
