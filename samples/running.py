"""The demo's running parts: started in the background, written down in `pids`, ended by number."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from samples.stage import DemoFailed, Stage, program

PIDS = "pids"
PATIENCE_S = 30


@dataclass
class Running:
    """The background processes of one demo folder."""

    stage: Stage
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> Path:
        """Start a command in the background; its output goes to `logs/<name>.log`, which is returned."""
        log = self.stage.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [program(command[0]), *command[1:]],
                cwd=self.stage.folder,
                env=self.stage.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # Not in our group: Ctrl-C is for the demo, which then ends them in order.
                start_new_session=True,
            )
        self.write_pids()
        return log

    def write_pids(self) -> None:
        """One line for each process: its number and its name."""
        text = "".join(f"{process.pid} {name}\n" for name, process in self.processes.items())
        (self.stage.folder / PIDS).write_text(text, encoding="utf-8")

    def wait_for(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready`; raise DemoFailed when a process ends first, or after 30 seconds."""
        until = time.monotonic() + PATIENCE_S
        with self.stage.waiting(f"waiting for {what} …"):
            while not ready():
                for name, process in self.processes.items():
                    if process.poll() is not None:
                        raise DemoFailed(
                            f"{name} ended with exit code {process.returncode}:\n{self._tail(name)}"
                        )
                if time.monotonic() > until:
                    tails = "\n".join(f"--- {name}\n{self._tail(name)}" for name in self.processes)
                    raise DemoFailed(f"waited {PATIENCE_S} s for {what}; the logs end so:\n{tails}")
                time.sleep(0.05)

    def _tail(self, name: str) -> str:
        text = (self.stage.folder / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-12:])

    def stop(self) -> None:
        """End all, the last one started first, and forget their numbers."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.processes.clear()
        (self.stage.folder / PIDS).unlink(missing_ok=True)


def stop_detached(folder: Path) -> list[str]:
    """End what `pids` in a demo folder names; returns the names of those that were still running.

    A number is used only if its process still works in that folder: it may belong to something else by now.
    Raises DemoFailed when there is no `pids`, or when a process does not end.
    """
    file = folder / PIDS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DemoFailed(f"{file}: not there, so nothing of a demo runs in {folder}") from None
    ended = []
    for line in reversed(lines):
        number, _, name = line.partition(" ")
        if not number.isdecimal() or not _works_in(int(number), folder):
            continue
        os.kill(int(number), signal.SIGTERM)
        until = time.monotonic() + 10
        while _works_in(int(number), folder):
            if time.monotonic() > until:
                raise DemoFailed(f"{name} (process {number}) does not end; kill it by hand: kill -9 {number}")
            time.sleep(0.05)
        ended.append(name)
    file.unlink()
    return ended


def _works_in(pid: int, folder: Path) -> bool:
    """Whether this process is alive and has `folder` as its working directory."""
    proc = Path("/proc") / str(pid)
    if Path("/proc/self").exists():
        try:
            state = (proc / "stat").read_text(encoding="utf-8").rpartition(") ")[2][:1]
            return state != "Z" and (proc / "cwd").resolve() == folder.resolve()
        except OSError:
            return False
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return "glassbook" in listed.stdout


def free_ports(number: int) -> list[int]:
    """Ports on the loopback address that nothing listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


def answers(url: str) -> bool:
    """Whether a GET there is answered with success."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(200 <= answer.status < 300)
    except (urllib.error.URLError, OSError):
        return False
