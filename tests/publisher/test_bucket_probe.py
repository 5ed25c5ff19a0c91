"""A publisher takes no bucket that cannot hold a log, and says what is wrong with it; no secret is ever told."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import obstore
import pytest
from breakingproxy import BreakingProxy
from bucketserver import KEY_ID, SECRET, BucketServer, SilentServer
from runninglog import BIN, free_port, run

from ledger.core.tiles import Tile
from ledger.files import FileRefused
from ledger.publicfiles import PlaceRefused, open_public_files
from ledger.publicfiles.bucket import Bucket, open_bucket
from ledger.publicfiles.credentials import BucketKey, Credentials, read_bucket_key
from ledger.settings import PublicBucket


@pytest.fixture(scope="module")
def silent() -> Iterator[SilentServer]:
    with SilentServer() as server:
        yield server


def test_a_server_that_overwrites_silently_is_refused_by_publisher_and_doctor(
    tmp_path: Path, silent: SilentServer
) -> None:
    at = silent.new_bucket()
    with pytest.raises(PlaceRefused, match="it overwrites an object that was put only if nothing is there"):
        open_public_files(at).probe()
    home = tmp_path / "home"
    run(
        "glassbook", "init", home, "--origin", "log.example.gov/a", "--yes", "--no-passphrase",
        "--listen", f"127.0.0.1:{free_port()}", "--public-listen", f"127.0.0.1:{free_port()}",
    )  # fmt: skip
    settings = home / "glassbook.toml"
    settings.write_text(settings.read_text().replace('public = "public"\n', silent.settings(at)))
    for words in (["publisher", "run"], ["up"]):
        done = subprocess.run([BIN / "glassbook", *words, home], capture_output=True, text=True, timeout=60)
        assert done.returncode == 3
        assert f"{at.url}: this server cannot hold a log's public files: it overwrites" in done.stderr
        assert "docs/operating.md" in done.stderr and "Traceback" not in done.stderr
    told = subprocess.run([BIN / "glassbook", "doctor", home], capture_output=True, text=True, timeout=60)
    assert told.returncode == 3
    assert "✗ bucket: " in told.stdout and "it overwrites an object" in told.stdout
    assert SECRET not in done.stderr + told.stdout + told.stderr
    assert list((silent.folder / "data" / at.bucket).rglob("[0-9a-f]*")) == [], "the probe's object is gone"


def test_what_the_probe_put_is_removed_again(server: BucketServer) -> None:
    files = open_bucket(server.new_bucket())
    files.probe()
    assert list(obstore.list(files._objects)) == []


def test_a_key_that_may_not_remove_anything_will_do(server: BucketServer) -> None:
    proxy = BreakingProxy(server.endpoint)
    proxy.fault = lambda method, _path: "refused" if method in ("POST", "DELETE") else None
    try:
        files = open_bucket(server.new_bucket(endpoint=proxy.url))
        files.probe()
        files.write([("tile/0/000", bytes(8192)), ("tile/0/000.p/9", bytes(288))])
        files.prune(0, 256)
        assert files.file(Tile(0, 0, 9)) == bytes(288)
    finally:
        proxy.close()


def test_wrong_names_and_keys_are_said_without_the_key(server: BucketServer, tmp_path: Path) -> None:
    at = server.new_bucket()
    key = tmp_path / "key.toml"
    key.touch(0o600)
    key.write_text(f'key_id = "{KEY_ID}"\nsecret = "not-the-{SECRET}"\n')
    for wrong, said in (
        (replace(at, bucket="nobody-made-this"), "there is no such bucket"),
        (replace(at, credentials=key), "answers 403 SignatureDoesNotMatch"),
    ):
        with pytest.raises(PlaceRefused, match=said) as caught:
            open_public_files(wrong).probe()
        assert "[bucket]" in str(caught.value)
        assert KEY_ID not in str(caught.value) and SECRET not in str(caught.value)
    with pytest.raises(OSError, match="cannot be reached"):
        open_public_files(replace(at, endpoint=f"http://127.0.0.1:{free_port()}")).probe()


def test_a_key_that_is_not_good_any_more_is_told_by_its_file_alone(
    server: BucketServer, tmp_path: Path
) -> None:
    key = tmp_path / "key.toml"
    key.touch(0o600)
    key.write_text(server.credentials().read_text())
    files = open_public_files(replace(server.new_bucket(), credentials=key))
    key.chmod(0o644)
    with pytest.raises(OSError, match="chmod 600") as caught:
        files.checkpoint()
    assert SECRET not in str(caught.value)
    key.chmod(0o600)
    assert files.checkpoint() is None


def test_a_replaced_key_is_taken_up(tmp_path: Path) -> None:
    key = tmp_path / "key.toml"
    key.touch(0o600)
    key.write_text('key_id = "a"\nsecret = "b"\n')
    credentials = Credentials(key)
    assert credentials()["secret_access_key"] == "b" and credentials()["token"] is None
    key.write_text('key_id = "c"\nsecret = "d"\nsession_token = "e"\n')
    found = credentials()
    assert (found["access_key_id"], found["secret_access_key"], found["token"]) == ("c", "d", "e")
    assert "d" not in repr(BucketKey("c", "d", "e")).replace("BucketKey(key_id=", "")


BAD_KEYS = [
    "",
    'key_id = "a"',
    'secret = "SECRET"',
    'key_id = ""\nsecret = "SECRET"',
    'key_id = "a"\nsecret = 1',
    'key_id = "a"\nsecret = "SECRET\\n"',
    'key_id = "a"\nsecret = "SECRET"\nsession_token = ""',
    'key_id = "a"\nsecret = "SECRET"\nsecrets = "SECRET"',
    'key_id = "a"\nsecret = "SECRET',
    "a:SECRET",
    '[default]\nkey_id = "a"\nsecret = "SECRET"',
]


@pytest.mark.parametrize("text", BAD_KEYS)
def test_a_key_file_that_is_not_one_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    key = tmp_path / "key.toml"
    key.touch(0o600)
    key.write_text(text)
    with pytest.raises(FileRefused) as caught:
        read_bucket_key(key)
    assert str(key) in str(caught.value) and "SECRET" not in str(caught.value)
    at = PublicBucket("bucket", "", "https://s3.example", "r", key, False, False)
    with pytest.raises(PlaceRefused, match=str(key)):
        open_public_files(at)
    with pytest.raises(PlaceRefused, match="cannot be read"):
        open_public_files(replace(at, credentials=tmp_path / "none"))


class LyingServer:
    """S3 as far as the probe sees it, with one thing done wrong."""

    def __init__(self, lie: str) -> None:
        objects: dict[str, bytes] = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                data = objects.get(self.path, b"here" if lie == "everything is there" else None)
                if lie == "reads are late" and data == b"fourth":
                    data = b"first"
                if data is None:
                    self.answer(403 if lie == "nothing may be listed" else 404, None)
                else:
                    self.answer(200, data)

            def do_PUT(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                old, match = objects.get(self.path), self.headers.get("If-Match")
                holds = match == etag(old) if match else old is None
                if lie == "creates overwrite" and not match or lie == "replaces anything" and match:
                    holds = True
                if lie == "replaces by what was" and match == etag(b"first"):
                    holds = True
                if lie == "never replaces" and match or lie == "never creates":
                    holds = False
                if holds or lie == "says no and does it" and not match:
                    objects[self.path] = data
                self.answer(200 if holds else 412, b"" if holds else None, etag(data))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.answer(501, None)

            def answer(self, status: int, data: bytes | None, version: str = "") -> None:
                self.send_response(status)
                if data is not None and lie != "no ETag":
                    self.send_header("ETag", version or etag(data))
                self.send_header("Last-Modified", "Sat, 28 Nov 2026 12:00:00 GMT")
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def etag(data: bytes | None) -> str:
    return '"none"' if data is None else f'"{hashlib.md5(data).hexdigest()}"'


LIES = {
    "everything is there": "gives an object that was never put",
    "nothing may be listed": "answers 403",
    "never creates": "says that an object is there that was never put",
    "creates overwrite": "overwrites an object",
    "says no and does it": "changes an object and says that it did not",
    "replaces anything": "whose ETag is not the one given",
    "never replaces": "does not replace an object whose ETag is the one given",
    "reads are late": "what was replaced is still read",
    "replaces by what was": "by an ETag that it had before",
}


@pytest.mark.parametrize("lie", ["none", *LIES])
def test_a_server_is_refused_for_each_thing_it_does_wrong(server: BucketServer, lie: str) -> None:
    lying = LyingServer(lie)
    try:
        files: Bucket = open_bucket(replace(server.new_bucket(), endpoint=lying.url))
        if lie == "none":
            files.probe()
            return
        with pytest.raises(PlaceRefused, match=LIES[lie]):
            files.probe()
        with pytest.raises(PlaceRefused):
            files.prepare()
    finally:
        lying.close()
