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

WRITE, PATIENT = "glassbook_write", "glassbook_patient"
"""Execution options of a connection: its transaction will write; it may take long, and waits for others that do."""

CUT_BYTES = 1 << 20
"""Of values at a time: they are in memory twice meanwhile."""

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


def insert_numbered(db: Connection, table: Table, first: int, columns: Sequence[Sequence[bytes]]) -> None:
    """Insert rows whose first column is a number, counting up from `first`; the other columns are these, all of bytes.

    SQLite cuts them out of one value for each column, where all in it are of one length: a statement run for each row
    costs three times as much, and lets another thread go first each time.
    """
    rows = len(columns[0])
    widths = [len(column[0]) if rows else 0 for column in columns]
    even = all(
        width and {width} == set(map(len, column)) for width, column in zip(widths, columns, strict=True)
    )
    if db.dialect.name != "sqlite" or not even:
        insert_rows(db, table, list(zip(range(first, first + rows), *columns, strict=True)))
        return
    step = max(1, CUT_BYTES // sum(widths))
    for start in range(0, rows, step):
        params: list[Any] = [min(step, rows - start), first + start]
        for width, column in zip(widths, columns, strict=True):
            params += (width, b"".join(column[start : start + step]))
        db.exec_driver_sql(_insert_cut(table.name, tuple(table.columns.keys())), tuple(params))


def among(db: Connection, column: str, values: Collection[Any]) -> tuple[str, list[Any]]:
    """A condition that the column has one of these values, written with `?`, and its parameters."""
    if not values:
        return "1 = 0", []
    if db.dialect.name == "sqlite":
        return f"{column} IN ({','.join('?' * len(values))})", list(values)
    return f"{column} = ANY(?)", [_array(tuple(values))]


def _array(values: Sequence[Any]) -> bytes:
    return pack_array(_VALUES[type(values[0])], values)


def _placed(db: Connection, sql: str) -> str:
    return sql if db.dialect.paramstyle == "qmark" else sql.replace("?", "%s")


@lru_cache(maxsize=64)
def _insert_each(table: str, columns: tuple[str, ...], conflict: str) -> str:
    marks = ",".join("?" * len(columns))
    return f"INSERT INTO {table} ({_names(columns)}) VALUES ({marks}) {conflict}"


@lru_cache(maxsize=64)
def _insert_cut(table: str, columns: tuple[str, ...]) -> str:
    """Parameters: rows, first number, and of each column the length of a value, and all of them one after another."""
    cut = ", ".join(
        f"substr(?{2 * at + 4}, 1 + i * ?{2 * at + 3}, ?{2 * at + 3})" for at in range(len(columns) - 1)
    )
    counting = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)"
    return f"{counting} INSERT INTO {table} ({_names(columns)}) SELECT ?2 + i, {cut} FROM n"


@lru_cache(maxsize=64)
def _insert_arrays(table: str, columns: tuple[str, ...], conflict: str) -> str:
    arrays = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {table} ({_names(columns)}) SELECT * FROM unnest({arrays}) {conflict}"


def _names(columns: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in columns)  # quoted: `fetch` means something to PostgreSQL
