"""Arrays in PostgreSQL's binary form, for many rows in one statement.

psycopg's own way looks at each value anew and escapes bytes as text: three times the work of a whole batch's
other statements.  A column has one type, so its values are packed in one go.

    i32 dimensions = 1 · i32 flags = 0 · u32 type of the elements · i32 their number · i32 first index = 1
    then each element: i32 length · bytes              (array_send in PostgreSQL's arrayfuncs.c)
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from struct import Struct, pack
from typing import Any

_HEAD = Struct(">iiIii")
_LENGTH = Struct(">i")


class Int4Array(bytes):
    """An integer[], packed."""


class Int8Array(bytes):
    """A bigint[], packed."""


class ByteaArray(bytes):
    """A bytea[], packed."""


class TextArray(bytes):
    """A text[], packed."""


OIDS = {Int4Array: (23, 1007), Int8Array: (20, 1016), ByteaArray: (17, 1001), TextArray: (25, 1009)}
"""By class, the types of element and array (pg_type.dat); they are the same on every server."""


def pack_array(kind: type[bytes], values: Sequence[Any]) -> bytes:
    """Values, none of them None, as an array of this kind."""
    head = _HEAD.pack(1, 0, OIDS[kind][0], len(values), 1)
    if kind is Int8Array:
        return kind(
            head + pack(f">{'iq' * len(values)}", *chain.from_iterable(zip(repeat(8), values, strict=False)))
        )
    if kind is Int4Array:
        return kind(
            head + pack(f">{'ii' * len(values)}", *chain.from_iterable(zip(repeat(4), values, strict=False)))
        )
    if kind is TextArray:
        values = [value.encode() for value in values]
    lengths = map(_LENGTH.pack, map(len, values))
    return kind(head + b"".join(chain.from_iterable(zip(lengths, values, strict=True))))


def register() -> None:
    """Tell psycopg how these go onto the wire: as they are."""
    import psycopg
    from psycopg.adapt import Dumper
    from psycopg.pq import Format

    for kind, (_, oid) in OIDS.items():
        dumper = type(f"{kind.__name__}Dumper", (_Packed, Dumper), {"format": Format.BINARY, "oid": oid})
        psycopg.adapters.register_dumper(kind, dumper)


class _Packed:
    def dump(self, value: bytes) -> bytes:
        return value
