"""Connections that end at a moment set by whoever asks, header included.

httpx bounds the wait for each piece of an answer, not the whole of it: a server that sends one byte of its header now
and then holds a reader for days. Here every read and write of a request has at most what is left until its deadline.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

SocketOption = Any  # as socket.setsockopt takes it


class DeadlineTransport(httpx.HTTPTransport):
    """An `HTTPTransport` whose requests, made within `until`, end by then. Safe to use from several threads."""

    def __init__(self, max_connections: int, tls: SSLContext) -> None:
        super().__init__(verify=tls)
        self._backend = _Backend()
        # The pool is what httpx makes itself, but for the backend, which it has no parameter for.
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=max_connections,
            network_backend=self._backend,
        )

    @contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """What this thread asks for within ends by `deadline`, by the monotonic clock."""
        self._backend.local.deadline = deadline
        try:
            yield
        finally:
            del self._backend.local.deadline


class _Backend(httpcore.NetworkBackend):
    """Opens connections whose reads and writes look at the deadline of the thread that makes them."""

    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()
        self.local = threading.local()

    def left(self, timeout: float | None, error: type[Exception]) -> float | None:
        """Seconds for one operation. Raises `error` when the deadline has passed."""
        deadline = getattr(self.local, "deadline", None)
        if deadline is None:
            return timeout
        left: float = deadline - time.monotonic()
        if left <= 0:
            raise error("the deadline of the whole request has passed")
        return left if timeout is None else min(timeout, left)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.NetworkStream:
        left = self.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self, self._inner.connect_tcp(host, port, left, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, backend: _Backend, inner: httpcore.NetworkStream) -> None:
        self._backend = backend
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._backend.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._backend.left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._backend.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend, self._inner.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
