"""A proxy between an HTTP client and a server, which refuses, hangs or loses an answer when told to.

proxy.fault = lambda method, path: "lost" if path.endswith("/checkpoint") else None
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["refused", "lost", "cut", "hangs", "slow", "late"] | None
"""refused: 503. lost: the server does it, and its answer is not passed on. cut: closed at once. hangs: no answer until
the proxy is closed or `release` is set. slow: `slow_s` late. late: passed on when `release` is set."""

SLOW_SECONDS = 0.2


class BreakingProxy:
    """Passes everything on to `target` and back as it is, but for what `fault` says of a request."""

    def __init__(self, target: str) -> None:
        self.fault: Callable[[str, str], Fault] = lambda _method, _path: None
        self.asked: list[tuple[str, str]] = []
        self.release = threading.Event()
        self.slow_s = SLOW_SECONDS
        self.late: list[int] = []  # what the server answered to each request that was passed on late
        proxy, address = self, urlsplit(target).netloc

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.asked.append((self.command, self.path))
                fault = proxy.fault(self.command, self.path)
                if fault in ("cut", "hangs"):
                    if fault == "hangs":
                        proxy.release.wait()
                    self.close_connection = True
                    return
                if fault == "refused":
                    self.answer(503, [], b"")
                    return
                if fault in ("slow", "late"):
                    proxy.release.wait(proxy.slow_s if fault == "slow" else None)
                status, headers, content = self.forward(body)
                if fault == "late":
                    proxy.late.append(status)
                if fault == "lost":
                    self.close_connection = True
                else:
                    self.answer(status, headers, content)

            do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

            def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
                server = http.client.HTTPConnection(address, timeout=60)
                try:
                    server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        server.putheader(name, value)
                    server.endheaders(body)
                    answer = server.getresponse()
                    return answer.status, answer.getheaders(), answer.read()
                finally:
                    server.close()

            def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the tests say what went wrong."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that gave up is what the tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
