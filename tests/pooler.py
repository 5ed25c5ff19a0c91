"""A real PgBouncer, Debian's, before the shared PostgreSQL: one a process that runs tests.

    pooler = Pooler.shared()
    pooler.url(url)         the database of this URL, through the pooler

It deals out its connections to the server in turn, a transaction each.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from postgresserver import SUPERUSER, PostgresServer
from sqlalchemy.engine import make_url

STARTED_S = 20.0
CONNECTIONS = 3
"""Of the server, for each database, taken in turn."""

SETTINGS = f"""\
[databases]
* = host=127.0.0.1 port={{server}} user={SUPERUSER}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {{port}}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {CONNECTIONS}
server_round_robin = 1
server_idle_timeout = 30
max_client_conn = 500
"""


class Pooler:
    """One PgBouncer on a free port of 127.0.0.1."""

    _shared: Pooler | None = None

    def __init__(self, server: PostgresServer) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="glassbook-pooler-"))
        with socket.create_server(("127.0.0.1", 0)) as bound:
            self._port = int(bound.getsockname()[1])
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(SETTINGS.format(server=server.port, port=self._port))
        self._folder.chmod(0o755)
        user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None  # it does not run as root
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") or "pgbouncer",
                    str(settings),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                extra_groups=None if user is None else [],
            )
        try:
            self._wait_open(server)
        except BaseException:
            self.close()
            raise

    @classmethod
    def shared(cls) -> Pooler:
        """The pooler of this process, before its server."""
        if cls._shared is None:
            cls._shared = cls(PostgresServer.shared())
            atexit.register(cls._shared.close)
        return cls._shared

    def _wait_open(self, server: PostgresServer) -> None:
        deadline = time.monotonic() + STARTED_S
        while True:
            try:
                psycopg.connect(self._address(server.url()), connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text()[-2000:]) from None
                time.sleep(0.02)

    def url(self, direct: str) -> str:
        """The URL of a database of the server, through the pooler, which has all its connections to it open."""
        url = self._address(direct)
        with contextlib.ExitStack() as stack:
            for _ in range(CONNECTIONS):  # transactions at the same time
                stack.enter_context(psycopg.connect(url)).execute("SELECT 1")
        return url

    def _address(self, direct: str) -> str:
        return make_url(direct).set(port=self._port).render_as_string(hide_password=False)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
