"""How the tests run commands: as somebody with an empty home folder, in the folder of a demo."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class DemoRun:
    """A demo that runs: its folder, what it printed, and a home folder that it had for itself."""

    folder: Path
    output: str
    home: Path
    pids: dict[str, int]


def environment(home: Path) -> dict[str, str]:
    """The environment of somebody who has nothing yet: an empty home folder, our commands first on the path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "GLASSBOOK_"))}
    return kept | {"HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def command(home: Path, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as that person, in a folder."""
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]], cwd=cwd, env=environment(home), capture_output=True, text=True
    )


def is_running(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet (state Z) has."""
    if Path("/proc/self").exists():
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][:1]
        except OSError:
            return False
    else:
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
        ).stdout.strip()
    return bool(state) and not state.startswith("Z")
