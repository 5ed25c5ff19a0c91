"""Public files in an S3-compatible bucket, through obstore.

Every tile and bundle is put only if nothing has its name (`If-None-Match: *`), the checkpoint only over the one
that was read (`If-Match`): S3's own conditional puts, which `probe.py` tries out. A put whose answer was lost is
made again, finds its own content there, and is done.

Each object carries what a CDN in front has to know: tiles may be kept for ever, the checkpoint is asked for anew
each time.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from ledger.core.tiles import Tile
from ledger.files import FileRefused
from ledger.publicfiles.credentials import Credentials
from ledger.publicfiles.kept import Kept
from ledger.publicfiles.probe import probe
from ledger.publicfiles.protocol import (
    MAX_CHECKPOINT,
    CheckpointReplaced,
    ContentDiffers,
    File,
    PlaceRefused,
    StoredNote,
    exactly,
    full_between,
    limit_of,
)
from ledger.settings import PublicBucket

if TYPE_CHECKING:
    from obstore import Attributes, PutMode
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

FILE_HEADERS: Attributes = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Content-Type": "application/octet-stream",
}
CHECKPOINT_HEADERS: Attributes = {"Cache-Control": "no-cache", "Content-Type": "text/plain; charset=utf-8"}

REQUESTS_AT_ONCE = 32
KEPT_BYTES = 16 << 20
"""Files kept in memory: what was just written is read again for proofs, and full tiles by every reader."""

CONNECT_S, REQUEST_S, RETRY_S = 3.0, 10.0, 5.0
"""To connect; for one request in all; after this long since the first try there is no other one.

So nothing takes longer than 15 seconds, and a publisher that is told to end does so in time.
"""

_STATUS = re.compile(r"status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_KIND = re.compile(r"kind: (Timeout|Connect)\b")


class Bucket:
    """A bucket, or a prefix in one, as PublicFiles. `where` is its s3:// URL."""

    def __init__(self, store: ObjectStore, where: str, credentials: Credentials | None = None) -> None:
        self._objects = store
        self._where = where
        self._credentials = credentials
        self._kept = Kept(KEPT_BYTES)
        self._probed = False

    @property
    def where(self) -> str:
        return self._where

    def probe(self) -> None:
        try:
            with self._answers():
                probe(self._objects, self._where)
        except (_Refused, LookupError) as error:
            why = error.strerror if isinstance(error, _Refused) else "there is no such bucket"
            raise PlaceRefused(
                f"{self._where}: {why}; look at public and [bucket] in the settings, and at what this key"
                " may do there (docs/operating.md, Files in a bucket)"
            ) from None
        self._probed = True

    def prepare(self) -> None:
        if not self._probed:
            self.probe()
        self._kept.clear()

    def __call__(self, tile: Tile) -> bytes:
        return exactly(tile, self.file)

    def file(self, tile: Tile) -> bytes:
        name = tile.path
        data = self._kept.get(name)
        if data is None:
            found = self._get(name, limit_of(tile))
            if found is None:
                raise LookupError(f"{self._where}/{name}: the file is missing")
            data, _ = found
            self._kept.put(name, data)
        return data

    def checkpoint(self) -> StoredNote | None:
        found = self._get("checkpoint", MAX_CHECKPOINT)
        return StoredNote(*found) if found else None

    def wrong_headers(self, name: str) -> list[str]:
        wanted = CHECKPOINT_HEADERS if name == "checkpoint" else FILE_HEADERS
        with self._answers():
            found = obstore.get(self._objects, name).attributes
        return [
            f"{header}: {found.get(header, 'none')}"
            for header in wanted
            if found.get(header) != wanted[header]
        ]

    def replace_checkpoint(self, note: bytes, expected: str | None) -> str:
        mode: PutMode = "create" if expected is None else {"e_tag": expected}
        version = None
        try:
            version = self._put_object("checkpoint", note, CHECKPOINT_HEADERS, mode)
        except (AlreadyExistsError, PreconditionError):
            pass  # somebody else's, or ours: a put whose answer was lost is made again by obstore
        if version is not None:
            return version
        stored = self.checkpoint()
        if stored is None or stored.note != note:
            raise CheckpointReplaced
        return stored.version

    def write(self, files: Iterable[File]) -> None:
        self._put_all(files, replace=False)

    def mend(self, files: Iterable[File]) -> None:
        self._put_all(files, replace=True)

    def _put_all(self, files: Iterable[File], replace: bool) -> None:
        """Many at once; the first that fails ends it, once those under way have ended."""
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="bucket") as pool:
            put = [pool.submit(self._put_file, name, data, replace) for name, data in files]
            try:
                for done in put:
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _put_file(self, name: str, data: bytes, replace: bool) -> None:
        try:
            self._put_object(name, data, FILE_HEADERS, "create")
        except (AlreadyExistsError, PreconditionError):
            found = self._get(name, len(data))
            if found is None:  # two puts at once (S3 answers 409), and the other one failed
                raise self._error(f"says that {name} is there, and does not give it") from None
            if found[0] != data:
                if not replace:
                    raise ContentDiffers(f"{self._where}/{name}") from None
                self._put_object(name, data, FILE_HEADERS, "overwrite")
        self._kept.put(name, data)

    def _put_object(self, name: str, data: bytes, headers: Attributes, mode: PutMode) -> str | None:
        """The new ETag, if the server says it. Raises AlreadyExistsError, PreconditionError, OSError."""
        try:
            with self._answers():
                put = obstore.put(
                    self._objects, name, data, attributes=headers, mode=mode, use_multipart=False
                )
        except LookupError:
            raise self._error("there is no such bucket", refused=True) from None
        return put["e_tag"]

    def _get(self, name: str, limit: int) -> tuple[bytes, str] | None:
        """One object and its ETag, None when it is not there; one longer than `limit` is cut behind it."""
        try:
            with self._answers():
                found = obstore.get(self._objects, name)
                size, version = found.meta["size"], found.meta["e_tag"]
                if size > limit:
                    data = bytes(obstore.get_range(self._objects, name, start=0, end=limit + 1))
                else:
                    data = bytes(found.bytes())
        except LookupError:
            return None
        if version is None:
            raise self._error(f"gives no ETag for {name}")
        return data, version

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """What the server answers, in words of our own: its own may hold the key's name.

        LookupError: there is nothing of this name.
        """
        try:
            yield
        except (AlreadyExistsError, PreconditionError):
            raise
        except FileNotFoundError as error:
            if "<Code>NoSuchBucket</Code>" in str(error):
                raise self._error("there is no such bucket", refused=True) from None
            raise LookupError("not there") from None
        except UnauthenticatedError as error:
            fault = self._credentials.fault if self._credentials else ""
            raise self._error(fault or _why(error), refused=True) from None
        except PermissionDeniedError as error:
            raise self._error(_why(error), refused=True) from None
        except BaseError as error:
            raise self._error(_why(error)) from None

    def _error(self, why: str, refused: bool = False) -> OSError:
        # One name for all objects: the same fault is said once, whichever of them met it.
        return (_Refused if refused else OSError)(errno.EIO, why, self._where)

    def prune(self, start: int, stop: int) -> None:
        for level, first, last in full_between(start, stop):
            try:
                with self._answers():
                    for group in range(first // 1000, (last + 999) // 1000):
                        self._prune(level, max(first, 1000 * group), min(last, 1000 * (group + 1)))
            except (OSError, LookupError):
                continue

    def _prune(self, level: int, first: int, last: int) -> None:
        """Partial tiles beside full ones, from `first` to `last` - 1, whose names begin alike but for three digits.

        One listing instead of a look at each: the names of such a range stand together in the order of names.
        """
        if first >= last:
            return
        begin, end = Tile(level, first).path, f"{Tile(level, last - 1).path}/"
        full: set[str] = set()
        partial: list[str] = []
        for name in self._names(begin.rpartition("/")[0], begin[:-1]):
            beside, _, width = name.partition(".p/")
            if name > end:
                break
            if not width and name >= begin:
                full.add(name)
            elif beside in full:
                partial.append(name)
        if partial:
            obstore.delete(self._objects, partial)
            self._kept.drop(partial)

    def _names(self, folder: str, after: str) -> Iterator[str]:
        for page in obstore.list(self._objects, folder, offset=after, chunk_size=1000):
            for found in page:
                yield found["path"]


class _Refused(OSError):
    """These credentials are refused, or there is no such bucket: it may mend, but not by waiting."""


def _why(error: BaseError) -> str:
    text = str(error)
    if status := _STATUS.search(text):
        code = _CODE.search(text)
        return f"answers {status[1]}{f' {code[1]}' if code else ''}"
    kind = _KIND.search(text)
    if kind:
        return "does not answer in time" if kind[1] == "Timeout" else "cannot be reached"
    if "HTTP error" in text:
        return "ends a connection without an answer"
    return f"a request failed ({type(error).__name__})"


def open_bucket(at: PublicBucket) -> Bucket:
    """The bucket of the settings. Asks it nothing yet. Raises PlaceRefused when its credentials cannot be used."""
    credentials = Credentials(at.credentials)
    try:
        credentials()
    except (FileRefused, OSError):
        raise PlaceRefused(credentials.fault) from None
    client: ClientConfig = {
        "allow_http": at.allow_http,
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "timeout": timedelta(seconds=REQUEST_S),
        "user_agent": "glassbook",
    }
    retry: RetryConfig = {
        "max_retries": 3,
        "retry_timeout": timedelta(seconds=RETRY_S),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    # Everything that decides where a request goes and how it is signed is said here: obstore would take what is
    # not from the environment.
    store = S3Store(
        at.bucket,
        prefix=at.prefix or None,
        config={
            "aws_endpoint_url_s3": _address(at),
            "region": at.region,
            "virtual_hosted_style_request": at.virtual_hosted,
            "conditional_put": "etag",
            "skip_signature": False,
            "unsigned_payload": False,
        },
        client_options=client,
        retry_config=retry,
        credential_provider=credentials,
    )
    return Bucket(store, at.url, credentials)


def _address(at: PublicBucket) -> str:
    """Where requests go: obstore wants the bucket's name in it when it is part of the host."""
    parts = urlsplit(at.endpoint)
    return f"{parts.scheme}://{at.bucket}.{parts.netloc}" if at.virtual_hosted else at.endpoint
