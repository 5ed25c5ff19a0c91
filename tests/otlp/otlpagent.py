"""A department that receives OTLP, as a process that can be killed.

agent = Agent(SmallDepartment(tmp_path)); agent.start(); agent.kill(); agent.said()
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from logfactory import NOW
from smalldepartment import SmallDepartment

GLASSBOOK = Path(sys.executable).parent / "glassbook"
START = NOW * 10**9
"""When every span of these tests began, Unix nanoseconds."""

MAP = """\
format = "ldv"
[subject]
from = 'attributes."person"'
scheme = "id"
empty = "nobody"
[activity]
default = 1
from = { field = 'attributes."activity"' }
[actor]
id = { field = 'attributes."enduser.id"' }
[reason]
text = { field = 'attributes."reason"' }
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def configure(small: SmallDepartment, more: str = "", listen: str = "") -> str:
    """Give the department an [otlp] section; returns the address."""
    address = listen or f"127.0.0.1:{free_port()}"
    (small.home_folder / "otlp.toml").write_text(MAP)
    with (small.home_folder / "department.toml").open("a") as settings:
        settings.write(f'[otlp]\nlisten = "{address}"\nmap = "otlp.toml"\n{more}')
    return address


class Agent:
    """`glassbook department run` of a department with [otlp]."""

    def __init__(self, small: SmallDepartment, more: str = "") -> None:
        self.small = small
        self.address = configure(small, more)
        self.url = f"http://{self.address}"
        self._log = small.folder / "agent.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            str(GLASSBOOK),
            "department",
            "run",
            "--dir",
            str(self.small.home_folder),
            "--interval",
            "5",
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        host, port = self.address.split(":")
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, self.said()
                assert time.monotonic() < deadline, self.said()
                time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(30)

    def said(self) -> str:
        return self._log.read_text()
