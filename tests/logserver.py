"""The log of a LogFactory over a real socket, answering truly, or wrongly on demand.

    with LogServer(log) as server:
        server.url                         http://127.0.0.1:PORT/
        server.wrong["checkpoint"] = ...   another answer for one path

An override is bytes (the body), an int (a status without a body) or a function of the handler that does
everything itself. Ready-made ones misbehave on the wire: `slow_body`, `slow_header`, `huge_header`, `gzip_bomb`,
`cut_gzip`, `endless`, `redirect_loop`, `wrong_length`, `wrong_type`, `fails_first(times)`.

Others misbehave in what they publish, all of it signed by every key of the log:

    fork(server)              another log of the same keys and size
    rollback(server, size)    the log as it was, its index root appended where none stood
    stale(server, seconds)    today's tree under a checkpoint dated long ago
    wrong_root(server)        a root that nothing leads to
    wrong_index(server)       a last index root that is not that of the entries
    unsorted_bundle(server)   two entries of a bundle exchanged
    truncated(server, path)   a file cut short
"""

import gzip
import json
import threading
import time
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from logfactory import NOW, LogFactory

from ledger.core.encoding import b64decode, b64encode, sha256
from ledger.core.entries import IndexRoot
from ledger.core.tiles import decode_bundle, encode_bundle

Override = bytes | int | Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One request to a LogServer."""

    server: "_Server"
    protocol_version = "HTTP/1.1"
    body = b""
    """Of a POST."""

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer(self.body)

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


# -- on the wire ---------------------------------------------------------------------------------------


def slow_body(handler: Handler) -> None:
    """A byte now and then, for a minute."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def slow_header(handler: Handler) -> None:
    """As slow, before any body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def huge_header(handler: Handler) -> None:
    """A header line of a megabyte."""
    handler.send(b"x", X_Huge="x" * (1 << 20))


def gzip_bomb(handler: Handler) -> None:
    """64 MiB of zeros in 64 KiB."""
    handler.send(_bomb(), Content_Encoding="gzip")


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(64 << 20))


def cut_gzip(handler: Handler) -> None:
    """A compressed answer without its end."""
    handler.send(gzip.compress(b"x" * 5000)[:-10], Content_Encoding="gzip")


def endless(handler: Handler) -> None:
    """A body without a length that goes on for 128 MiB."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    for _ in range(2000):
        handler.wfile.write(bytes(1 << 16))


def redirect_loop(handler: Handler) -> None:
    """To itself."""
    handler.send(b"", 302, Location=handler.path)


def wrong_length(handler: Handler) -> None:
    """Promises more bytes than come."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b"x" * 100)
    handler.wfile.flush()
    handler.close_connection = True


def wrong_type(handler: Handler) -> None:
    """The right file, called a picture."""
    handler.send(handler.server.owner.files[handler.path.lstrip("/")], Content_Type="image/png")


def fails_first(times: int, status: int = 503) -> Callable[[Handler], None]:
    """Fails so often, and then gives the right answer."""
    left = [times]

    def answer(handler: Handler) -> None:
        if left[0]:
            left[0] -= 1
            handler.send(b"", status, Retry_After="0")
        else:
            handler.send(handler.server.owner.files[handler.path.lstrip("/")])

    return answer


# -- in what is published --------------------------------------------------------------------------------


def fork(server: LogServer) -> None:
    """Another log of the same keys and size."""
    other = LogFactory(server.log.origin)
    source = other.add_source("Another ministry")
    while other.size < server.log.size - 1:
        other.access(source)
    _publish_instead(server, other)


def rollback(server: LogServer, size: int) -> None:
    """The log as it was when it had about so many entries."""
    other = LogFactory(server.log.origin)
    for raw in server.log.entries[1 : size - 1]:
        other.append(raw)
    _publish_instead(server, other)


def stale(server: LogServer, seconds: int) -> None:
    """The same tree under a checkpoint that the witness dates so long ago."""
    server.files["checkpoint"] = server.note = server.log.note(NOW - seconds)


def wrong_root(server: LogServer) -> None:
    """A signed root that nothing leads to, for one entry more."""
    server.files["checkpoint"] = server.note = server.log.sign(server.log.size, bytes(32))


def wrong_index(server: LogServer) -> None:
    """A last index root that is not that of the entries before it."""
    log = server.log
    log.access(log.sources[0])
    log.append(IndexRoot(log.size, log._frontier.root(), bytes(32), log._index.labels).encode())
    server.refresh()


def unsorted_bundle(server: LogServer) -> None:
    """Two entries of the first bundle exchanged."""
    path = _first_bundle(server)
    entries = decode_bundle(server.files[path], min(256, server.log.size), path)
    entries[1], entries[2] = entries[2], entries[1]
    server.files[path] = encode_bundle(entries)


def truncated(server: LogServer, path: str) -> None:
    """A file cut short."""
    server.files[path] = server.files[path][:-7]


def _first_bundle(server: LogServer) -> str:
    return "tile/entries/000" if server.log.size >= 256 else f"tile/entries/000.p/{server.log.size}"


def _publish_instead(server: LogServer, other: LogFactory) -> None:
    server.files.clear()
    server.log = other
    server.refresh()
