"""SQL for every engine: statements with `?`, many rows at once, and one of many values.

A driver's executemany costs PostgreSQL a message for each row; arrays unnested there take twice as many rows a
second, and `ON CONFLICT` works as it does elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, Connection, CursorResult, Integer, LargeBinary, Table, Text

from ledger.store.arrays import ByteaArray, Int4Array, Int8Array, TextArray, pack_array

Rows: TypeAlias = CursorResult[*tuple[Any, ...]]

_KINDS: dict[type[Any], type[bytes]] = {
    BigInteger: Int8Array,
    Integer: Int4Array,
    LargeBinary: ByteaArray,
    Text: TextArray,
}
_VALUES: dict[type[Any], type[bytes]] = {int: Int8Array, bytes: ByteaArray, str: TextArray}


def run(db: Connection, sql: str, params: Sequence[Any] = ()) -> Rows:
    """One statement written with `?`, in the style of placeholder the driver wants."""
    return db.exec_driver_sql(_placed(db, sql), tuple(params))


def run_many(db: Connection, sql: str, rows: list[tuple[Any, ...]]) -> int:
    """One statement for many rows (the driver's executemany); the number of rows changed.

    To insert, `insert_rows` is the faster one.
    """
    if not rows:
        return 0
    return db.exec_driver_sql(_placed(db, sql), rows).rowcount


def insert_rows(
    db: Connection,
    table: Table,
    rows: Sequence[tuple[Any, ...]],
    columns: tuple[str, ...] | None = None,
    conflict: str = "",
) -> None:
    """Insert rows, each with values for `columns`, or for all of the table in its order.

    `conflict` is the statement's end, `ON CONFLICT …`; no two of the rows may then be in conflict with each other.
    """
    if not rows:
        return
    names = columns or tuple(table.columns.keys())
    if db.dialect.name == "sqlite":
        db.exec_driver_sql(_insert_each(table.name, names, conflict), list(rows))
    else:
        kinds = [_KINDS[type(table.columns[name].type)] for name in names]
        arrays = tuple(map(pack_array, kinds, zip(*rows, strict=True)))
        db.exec_driver_sql(_insert_arrays(table.name, names, conflict), arrays)


def among(db: Connection, column: str, values: Collection[Any]) -> tuple[str, list[Any]]:
    """A condition that the column has one of these values, written with `?`, and its parameters."""
    if not values:
        return "1 = 0", []
    if db.dialect.name == "sqlite":
        return f"{column} IN ({','.join('?' * len(values))})", list(values)
    return f"{column} = ANY(?)", [_array(tuple(values))]


def ranges(db: Connection, lows: Sequence[bytes], highs: Sequence[bytes]) -> tuple[str, list[Any]]:
    """What selects these pairs, at least one, and its parameters."""
    if db.dialect.name == "sqlite":
        pairs = [value for pair in zip(lows, highs, strict=True) for value in pair]
        return f"VALUES {','.join(['(?,?)'] * len(lows))}", pairs
    return "SELECT * FROM unnest(?, ?)", [_array(lows), _array(highs)]


def _array(values: Sequence[Any]) -> bytes:
    return pack_array(_VALUES[type(values[0])], values)


def _placed(db: Connection, sql: str) -> str:
    return sql if db.dialect.paramstyle == "qmark" else sql.replace("?", "%s")


@lru_cache(maxsize=64)
def _insert_each(table: str, columns: tuple[str, ...], conflict: str) -> str:
    marks = ",".join("?" * len(columns))
    return f"INSERT INTO {table} ({_names(columns)}) VALUES ({marks}) {conflict}"


@lru_cache(maxsize=64)
def _insert_arrays(table: str, columns: tuple[str, ...], conflict: str) -> str:
    arrays = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {table} ({_names(columns)}) SELECT * FROM unnest({arrays}) {conflict}"


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in columns)  # quoted: `fetch` means something to PostgreSQL
