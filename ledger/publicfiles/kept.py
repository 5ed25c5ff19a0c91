"""Contents in memory of files that never change."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable


class Kept:
    """The files used last, of at most `limit` bytes together. Safe for several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> bytes | None:
        with self._lock:
            data = self._files.get(name)
            if data is not None:
                self._files.move_to_end(name)
            return data

    def put(self, name: str, data: bytes) -> None:
        with self._lock:
            self._drop(name)
            self._files[name] = data
            self._bytes += len(data)
            while self._bytes > self._limit:
                self._drop(next(iter(self._files)))

    def drop(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._drop(name)

    def clear(self) -> None:
        with self._lock:
            self._files.clear()
            self._bytes = 0

    def _drop(self, name: str) -> None:
        self._bytes -= len(self._files.pop(name, b""))
