"""The processes of a run by what they do: the CPU time each has taken, and the memory it holds (Linux).

Everything that a measurement starts descends from this process. A process is named by the words it was started
with, `ledger serve` for one; what has no such words does the load generator's work and is `client`, as this one is.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

CLIENT = "client"
SIGNATURES = "signature children"
_NAMES = {
    "ledger serve": "ledger serve",
    "ledger sequence": "sequencer",
    "publisher run": "publisher",
    "witness": "witness",
    "up": "up",
    "watch": "auditor",
}


def family(pid: int) -> list[int]:
    """A process and all that descend from it, as far as they still run; the process itself first.

    By the parents that all processes name: the kernel's own list of children (`/proc/…/children`) may leave some out.
    """
    children: dict[int, list[int]] = defaultdict(list)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has just ended
                # pid (name) state parent …; a name may hold spaces and brackets
                parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children[int(parent)].append(int(folder.name))
    found = [pid]
    for one in found:
        found += children[one]
    return found


def role(pid: int) -> str:
    """What the process does: one of the names above."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return CLIENT
    if "postgres" in words[0]:
        return "postgres"
    code, arguments = (words[2], words[3:]) if words[1:2] == ["-c"] else ("", [])
    if "ledger.service.signatures" in code:
        return SIGNATURES
    if "publisher.watching" in code:
        return _NAMES["up"]
    if "main()" not in code:
        return CLIENT
    return _NAMES.get(" ".join(arguments[:2])) or _NAMES.get(arguments[0], CLIENT)


def cpu_s(pid: int) -> float:
    """CPU seconds that all threads of a running process have taken, to the nanosecond; 0 for one that has ended."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # the clock of another process: clock_getcpuclockid(3)
    except OSError:
        return 0.0


class CpuWindow:
    """CPU time from now until `seconds`, by what the processes do; those that begin meanwhile count whole."""

    def __init__(self, also: Sequence[int] = ()) -> None:
        """`also`: processes that do not descend from this one, a database server for one."""
        self._roots = [os.getpid(), *also]
        self._before = {pid: cpu_s(pid) for pid in self._pids()}

    def _pids(self) -> set[int]:
        return {pid for root in self._roots for pid in family(root)}

    def seconds(self) -> dict[str, float]:
        """CPU seconds by role, the greatest first."""
        spent: dict[str, float] = defaultdict(float)
        for pid in self._pids():
            spent[role(pid)] += cpu_s(pid) - self._before.get(pid, 0.0)
        return dict(sorted(spent.items(), key=lambda one: -one[1]))


def proportional_mib(pid: int) -> float:
    """Its own memory, and its part of what it shares with others."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def memory_by_role(root: int) -> dict[str, list[float]]:
    """MiB of each process below `root` and of `root` itself, by role."""
    found: dict[str, list[float]] = defaultdict(list)
    for pid in family(root):
        try:
            found[role(pid)].append(proportional_mib(pid))
        except (OSError, ValueError):
            continue  # it has just ended
    return dict(found)


class Resident:
    """The most memory that a process and its children had at one time, looked at twice a second."""

    def __init__(self, pid: int) -> None:
        self.mib = 0.0
        threading.Thread(target=self._watch, args=(pid,), daemon=True).start()

    def _watch(self, pid: int) -> None:
        while Path(f"/proc/{pid}").exists():
            self.mib = max(self.mib, sum(map(sum, memory_by_role(pid).values())))
            time.sleep(0.5)
