"""Real S3 servers of the tests' own, each a process with its data in a folder that goes with it.

    with BucketServer() as server:
        at = server.new_bucket()             # a fresh bucket, as [bucket] in the settings names it
        server.kill()                        # as a power cut does; restart() brings it back at the same address
        server.restart()

`SilentServer` is one that overwrites on put-if-absent and answers 200.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from ledger.settings import PublicBucket

BIN = Path(sys.executable).parent
KEY_ID, SECRET = "key-of-the-tests", "secret-of-the-tests"
START_SECONDS = 60.0
GRPC = 10_000
"""A port of SeaweedFS for gRPC is its HTTP port and this, where nothing else is said."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens at, each with the one 10,000 above it free as well.

    Both below those that the system gives to connections: after kill() they must still be free.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_240, 22_000)
        try:
            for at in (port, port + GRPC):
                socket.create_server(("127.0.0.1", at)).close()
        except OSError:
            continue
        if port not in found:
            found.append(port)
    return found


class _Server:
    """A program that serves S3 at `endpoint` with the key KEY_ID and SECRET, from a folder of its own."""

    PORTS = 1

    def __init__(self) -> None:
        # Short: a socket's path may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="s3-"))
        self._ports = free_ports(self.PORTS)
        self._buckets = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it for the first time: elsewhere if somebody took a port just now."""
        for last in (False, False, True):
            try:
                return self.restart()
            except AssertionError:
                if last or self._process is None or self._process.poll() is None:
                    raise
                self._ports = free_ports(self.PORTS)

    def restart(self) -> None:
        """Start it on the data it has, at the address it had; returns when it takes objects."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._takes_objects():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "the S3 server does not start"
            time.sleep(0.05)

    def _takes_objects(self) -> bool:
        try:
            httpx.get(self.endpoint, trust_env=False, timeout=5)
            obstore.put(self.client("ready"), "ready", b"")
        except (httpx.TransportError, BaseError, FileNotFoundError):
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, by its pid."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def new_bucket(self, prefix: str = "logs/one", endpoint: str | None = None) -> PublicBucket:
        """A bucket that holds nothing; `endpoint` where it is asked through something in between."""
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        self._make(name)
        return PublicBucket(
            bucket=name,
            prefix=prefix,
            endpoint=endpoint or self.endpoint,
            region="us-east-1",
            credentials=self.credentials(),
            virtual_hosted=False,
            allow_http=True,
        )

    def credentials(self) -> Path:
        """The file that [bucket] credentials names."""
        path = self.folder / "key.toml"
        path.touch(0o600)
        path.write_text(f'key_id = "{KEY_ID}"\nsecret = "{SECRET}"\n')
        return path

    def settings(self, at: PublicBucket) -> str:
        """The lines of glassbook.toml for this bucket, `public` first."""
        return (
            f'public = "{at.url}"\n\n[bucket]\nendpoint = "{at.endpoint}"\ncredentials = "{at.credentials}"\n'
        )

    def _make(self, name: str) -> None:
        raise NotImplementedError

    def client(self, bucket: str) -> S3Store:
        """A client of obstore's own for this bucket."""
        return S3Store(
            bucket,
            config={
                "aws_endpoint_url_s3": self.endpoint,
                "region": "us-east-1",
                "access_key_id": KEY_ID,
                "secret_access_key": SECRET,
            },
            client_options={"allow_http": True, "timeout": timedelta(seconds=10)},
            retry_config={"max_retries": 0},
        )


class BucketServer(_Server):
    """SeaweedFS: conditional puts as S3 has them. Anybody may read what is in it, without a key."""

    PORTS = 5

    def __init__(self) -> None:
        super().__init__()
        identities = [
            {
                "name": "tests",
                "credentials": [{"accessKey": KEY_ID, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List"],
            },
            {"name": "anonymous", "actions": ["Read"]},
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (self.folder / "data").mkdir()

    def _command(self) -> list[str]:
        named = zip(("s3", "master", "filer", "volume", "admin"), self._ports, strict=True)
        ports = [
            f"-{name}.port{kind}={at}"
            for name, port in named
            for kind, at in (("", port), (".grpc", port + GRPC))
        ]
        return [
            str(BIN / "weed"), "-logtostderr=true", "mini", f"-dir={self.folder}/data", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.iam=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self.folder}/s3.json",
            f"-s3.localSocket={self.folder}/s3.sock", f"-filer.localSocket={self.folder}/filer.sock", *ports,
        ]  # fmt: skip

    def _make(self, name: str) -> None:
        # It makes a bucket for whoever may do everything and puts into one that is not there.
        client = self.client(name)
        obstore.put(client, "made", b"")
        obstore.delete(client, "made")


class SilentServer(_Server):
    """`rclone serve s3`, which takes every put: what a publisher must not be given."""

    def __init__(self) -> None:
        super().__init__()
        # It remembers for minutes which there are.
        for name in ("ready", *(f"bucket-{number}" for number in range(1, 10))):
            (self.folder / "data" / name).mkdir(parents=True)

    def _command(self) -> list[str]:
        return [
            str(BIN / "rclone"), "serve", "s3", "--addr", f"127.0.0.1:{self._ports[0]}",
            "--auth-key", f"{KEY_ID},{SECRET}", "--config", "/dev/null", str(self.folder / "data"),
        ]  # fmt: skip

    def _make(self, name: str) -> None:
        assert (self.folder / "data" / name).is_dir(), "make more of them before it starts"
