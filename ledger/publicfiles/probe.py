"""Whether a server keeps what the publisher relies on: tried out, because some answer 200 and overwrite.

.probe/RANDOM      an object of a few bytes; removed again, as far as the key may remove
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from ledger.publicfiles.protocol import PlaceRefused

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore

_NEVER = '"00000000000000000000000000000000"'
"""An ETag that no object has."""


def probe(store: ObjectStore, where: str) -> None:
    """Put, put again, replace: raises PlaceRefused when the server does not do what it must; what obstore raises."""
    name = f".probe/{os.urandom(12).hex()}"
    try:
        obstore.get(store, name)
    except FileNotFoundError as error:
        if "<Code>NoSuchBucket</Code>" in str(error):
            raise
    else:
        raise _refused(where, "it gives an object that was never put there")
    try:
        _try(store, where, name)
    finally:
        # A place where nothing may be removed is a good one: then the probe stays.
        try:
            obstore.delete(store, name)
        except (BaseError, FileNotFoundError):
            pass


def _try(store: ObjectStore, where: str, name: str) -> None:
    if not _put(store, name, b"first", "create"):
        raise _refused(where, "it says that an object is there that was never put there")
    first = _read(store, where, name, b"first", "what was put is not what is read right after it")
    if _put(store, name, b"second", "create"):
        raise _refused(where, "it overwrites an object that was put only if nothing is there (If-None-Match)")
    _read(store, where, name, b"first", "it changes an object and says that it did not")
    if _put(store, name, b"third", {"e_tag": _NEVER}):
        raise _refused(where, "it replaces an object whose ETag is not the one given (If-Match)")
    _read(store, where, name, b"first", "it changes an object and says that it did not")
    if not _put(store, name, b"fourth", {"e_tag": first}):
        raise _refused(where, "it does not replace an object whose ETag is the one given (If-Match)")
    _read(store, where, name, b"fourth", "what was replaced is still read right after it")
    if _put(store, name, b"fifth", {"e_tag": first}):
        raise _refused(where, "it replaces an object by an ETag that it had before (If-Match)")


def _put(store: ObjectStore, name: str, data: bytes, mode: PutMode) -> bool:
    """False when the server says that the condition does not hold."""
    try:
        obstore.put(store, name, data, mode=mode, use_multipart=False)
    except (AlreadyExistsError, PreconditionError):
        return False
    return True


def _read(store: ObjectStore, where: str, name: str, wanted: bytes, otherwise: str) -> str:
    """The ETag of the object, which must have this content."""
    try:
        found = obstore.get(store, name)
    except FileNotFoundError:
        raise _refused(where, otherwise) from None
    version = found.meta["e_tag"]
    if bytes(found.bytes()) != wanted:
        raise _refused(where, otherwise)
    if version is None:
        raise _refused(where, "it gives its objects no ETag")
    return version


def _refused(where: str, what: str) -> PlaceRefused:
    return PlaceRefused(
        f"{where}: this server cannot hold a log's public files: {what}. Two publishers could overwrite what was"
        " published. Use a server with conditional puts as S3 has them (docs/operating.md, Files in a bucket)"
    )
