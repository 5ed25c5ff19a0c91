"""Wires between a process and what it talks to, that can be cut: TCP proxies, all in one thread of their own.

network = Network()
wire = network.wire(5432)                  listens at wire.port, passes on to 127.0.0.1:5432
wire.set("refuses")                        see Mode
wire.set("passes")
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

from bucketserver import free_ports

Mode = Literal["passes", "refuses", "hangs", "slow", "hangs inside"]
"""refuses: connections are reset and none is taken.  hangs: everything stays open, new connections are taken, and not a
byte passes; what is under way goes on when the wire passes again, as after a cut that was shorter than anybody's
patience.  slow: each piece comes SLOW_S late.  hangs inside: passes until something long is sent, and then hangs with
half of it on its way."""

SLOW_S = 0.3
LONG = 4_000
"""Bytes in one piece: more than any message of a transaction that carries no entries."""

T = TypeVar("T")


class Network:
    """A thread in which all wires of a test run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._wires: list[Wire] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def wire(self, target: int) -> Wire:
        """A new wire to this port of 127.0.0.1."""
        wire = Wire(self, target)
        self.call(wire.listen())
        self._wires.append(wire)
        return wire

    def close(self) -> None:
        for wire in self._wires:
            self.call(wire.end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Wire:
    """Passes bytes both ways, as `mode` says."""

    def __init__(self, network: Network, target: int) -> None:
        self.mode: Mode = "passes"
        self.overheard: list[bytearray] | None = (
            None  # what was sent through it, by connection, when it is a list
        )
        (self.port,) = free_ports(1)  # one that nobody is given while the wire refuses
        self._network = network
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def set(self, mode: Mode) -> None:
        """From now on."""
        self._network.call(self._set(mode))

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=128)

    async def end(self) -> None:
        await self._refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "hangs":
            self._flowing.clear()
        else:
            self._flowing.set()
        if mode == "refuses":
            await self._refuse()
        elif self._server is None:
            await self.listen()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        self._writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        writers = [writer]
        try:
            await self._flowing.wait()
            there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there[1])
            writers.append(there[1])
            if self.mode != "refuses":
                await asyncio.gather(self._pump(reader, there[1], True), self._pump(there[0], writer, False))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for one in writers:
                self._writers.discard(one)
                with contextlib.suppress(RuntimeError):
                    one.transport.abort()
            self._tasks.discard(task)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        overheard = bytearray()
        if up and self.overheard is not None:
            self.overheard.append(overheard)
        while data := await reader.read(1 << 16):
            if up and self.overheard is not None:
                overheard += data
            if self.mode == "hangs inside" and up and len(data) > LONG:
                writer.write(data[: len(data) // 2])
                data = data[len(data) // 2 :]
                self.mode = "hangs"
                self._flowing.clear()
            if self.mode == "slow":
                await asyncio.sleep(SLOW_S)
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
