"""The process that watches the parts of `glassbook up`: it starts them, passes SIGINT and SIGTERM on, and starts again
what ended by itself. A part that ends at once cannot work as it is set up: then all are ended, and the reason stands
above.

It lives as long as the log is served and does next to nothing, so it needs nothing but the standard library: `up`
becomes this program once it knows what to start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

SETTLED_SECONDS = 15.0
"""A part that ran for less than this and failed is not started again; a busy machine takes seconds to start one."""

STOP_SECONDS = 20.0
"""How long a part may take to end after SIGTERM before it is killed; nothing is lost then either."""

LOOK_SECONDS = 0.1

_FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}
"""By itself glibc's malloc has eight heaps a core for a program's threads, and each keeps what it once had."""


@dataclass(slots=True)
class Part:
    """One child process."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes]
    started: float


def become(commands: dict[str, list[str]]) -> NoReturn:
    """Let this process go on as the one that watches these commands, by the name of each."""
    program = "from publisher.watching import watch; watch()"
    os.execv(sys.executable, [sys.executable, "-c", program, json.dumps(commands)])


def watch() -> NoReturn:
    """What `become` starts."""
    raise SystemExit(supervise(json.loads(sys.argv[1])))


def supervise(commands: dict[str, list[str]]) -> int:
    """Run these commands side by side until a signal or a part that cannot start; returns the exit code."""
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    parts = [_start(name, command) for name, command in commands.items()]
    code = 0
    try:
        while not stopping:
            time.sleep(LOOK_SECONDS)
            for at, part in enumerate(parts):
                ended = part.process.poll()
                if ended is None or stopping:
                    continue
                # Below 0: it was killed, by a person or for want of memory, and says nothing of its settings.
                if ended >= 0 and time.monotonic() - part.started < SETTLED_SECONDS:
                    say(f"{part.name} ended at once with code {ended}; its message stands above. Ending all")
                    code, stopping = (ended if ended > 0 else 3), True
                else:
                    say(f"{part.name} ended with code {ended}; starting it again")
                    parts[at] = _start(part.name, part.command)
    finally:
        _end(parts)
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def _start(name: str, command: list[str]) -> Part:
    # In our own process group, so that a part may ask for a passphrase at the terminal.
    process = subprocess.Popen(command, env=_FEW_ARENAS | os.environ)
    return Part(name, command, process, time.monotonic())


def _end(parts: list[Part]) -> None:
    """SIGTERM to each by its pid, in order: first no new entries, then no new batches, last the publisher."""
    for part in parts:
        if part.process.poll() is None:
            part.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for part in parts:
        try:
            part.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"{part.name} did not end; killing it")
            part.process.kill()
            part.process.wait()


def say(text: str) -> None:
    # Where standard error goes, the disk may be full: no reason to end.
    with suppress(OSError):
        print(f"glassbook: {text}", file=sys.stderr, flush=True)
