"""CSV files (RFC 4180 and its relatives): one event, one row; what each column means the mapping says.

    [csv]
    delimiter = ";"              without it a comma; "\\t" for a tab
    quote = "'"                  without it the double quotation mark; doubled inside a quoted value
    encoding = "windows-1252"    without it UTF-8, with or without a byte order mark
    columns = ["when", "who"]    when the file has no line with the names
    skip = 2                     lines before the names

A row that is not right is rejected with the line it begins on, and costs itself alone: after a quotation mark that
is never closed, reading goes on with the very next line.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.core.errors import Malformed
from ledger.department.access import Fate, Outcome
from ledger.department.importers.fields.accesses import outcome_of
from ledger.department.importers.fields.fieldmap import FieldMapping, read_fieldmap
from ledger.department.importers.identity import Identities
from ledger.department.importers.source import Source
from ledger.department.strict_toml import Table, parse_toml

LONGEST_LINE: Final = 1 << 20
"""Characters of one line."""

LONGEST_ROW: Final = 1 << 18
"""Characters of a row of several lines: beyond that a quotation mark was never closed."""

BAD_BYTES: Final = "\udcff"
"""Stands for bytes that are nothing in the file's encoding: half a surrogate pair, which no text can hold."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r(?!\Z))")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def _bad_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return BAD_BYTES, error.end


codecs.register_error("glassbook.bad-bytes", _bad_bytes)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the rows of a file are written; `columns` are empty when the file names them itself."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    columns: tuple[str, ...] = ()
    skip: int = 0


@dataclass(frozen=True, slots=True)
class CsvMapping:
    """A mapping file for CSV: the dialect, and what the columns mean."""

    dialect: Dialect
    fields: FieldMapping


@dataclass(frozen=True, slots=True)
class Row:
    """One row and the line it begins on, counted from 1; `fault` says why it has no cells."""

    line: int
    cells: tuple[str, ...] = ()
    fault: str = ""


class Lines:
    """The lines of a file as text, with their ends; those given back come again.

    A reader of rows takes lines until it has one row; `Lines` says there are no more when the row is too long, and
    goes on afterwards.
    """

    def __init__(self, source: Source, encoding: str) -> None:
        self._text = self._decoded(source, encoding)
        self._waiting: deque[str] = deque()
        self._rest = ""
        self.number = 1  # of the next line
        self.taken: list[str] = []  # since the last row
        self._length = 0  # characters of these
        self.fault = ""  # why the file ends early

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._length > LONGEST_ROW:
            raise StopIteration
        line = self._waiting.popleft() if self._waiting else self._next()
        self.taken.append(line)
        self._length += len(line)
        self.number += 1
        return line

    def done(self) -> None:
        """What was taken is a whole row."""
        self.taken.clear()
        self._length = 0

    def give_back_all_but_the_first(self) -> None:
        self._waiting.extendleft(reversed(self.taken[1:]))
        self.number -= len(self.taken) - 1
        self.done()

    def _next(self) -> str:
        while True:
            found = _LINE.match(self._rest)
            if found:
                self._rest = self._rest[found.end() :]
                return found.group()
            if len(self._rest) > LONGEST_LINE:
                self.fault = f"a line longer than {LONGEST_LINE} characters; is this the right file?"
                self._rest, self._text = "", iter(())
            more = next(self._text, None)
            if more is None:
                line, self._rest = self._rest, ""
                if not line:
                    raise StopIteration
                return line
            self._rest += more

    def _decoded(self, source: Source, encoding: str) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(encoding)("glassbook.bad-bytes")
        first = True
        try:
            for chunk in source.chunks():
                text = decoder.decode(chunk)
                if first and text:
                    text, first = text.removeprefix("\ufeff"), False
                for at in range(0, len(text), 1 << 16):
                    yield text[at : at + (1 << 16)]
            yield decoder.decode(b"", True)
        except Malformed as error:
            self.fault = str(error)


def read_rows(source: Source, dialect: Dialect) -> Iterator[Row]:
    """The rows of a file, that with the columns' names first unless the dialect has them; empty lines are none."""
    lines = Lines(source, dialect.encoding)
    for _ in range(dialect.skip):
        next(lines, None)
    lines.done()
    width = len(dialect.columns)
    rows = csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote, strict=True)
    while True:
        line = lines.number
        try:
            cells = next(rows, None)
        except csv.Error as error:
            cells, fault = [], "a quotation mark is not closed, or something follows a closed one"
            if "field limit" in str(error):
                fault = f"a value longer than {csv.field_size_limit()} characters"
        else:
            fault = ""
        if cells is None:
            break
        width = width or len(cells)
        several = len(lines.taken) > 1
        if not fault and cells and len(cells) != width:
            fault = f"has {len(cells)} columns where there are {width}"
            if several:
                fault += f", over {len(lines.taken)} lines; perhaps a quotation mark is not closed"
        if fault and several:
            # An open quotation mark may have swallowed good rows: only the first of these lines is surely bad.
            lines.give_back_all_but_the_first()
        lines.done()
        if fault:
            yield Row(line, fault=fault)
        elif cells:
            yield _row(line, cells, dialect)
    if lines.fault:
        yield Row(lines.number, fault=lines.fault)


def _row(line: int, cells: list[str], dialect: Dialect) -> Row:
    if any(BAD_BYTES in cell for cell in cells):
        return Row(
            line, fault=f"holds bytes that are not {dialect.encoding}; say the right `encoding` in [csv]"
        )
    return Row(line, tuple(cells))


def read_csv(source: Source, mapping: CsvMapping) -> Iterator[Outcome]:
    """Every row of one file, in order.  Raises OSError alone."""
    rows = read_rows(source, mapping.dialect)
    columns = mapping.dialect.columns
    if not columns:
        try:
            columns = _columns(next(rows, None), mapping)
        except Malformed as error:
            yield Outcome(source.name, "$", Fate.REJECTED, error.what, unread=True)
            return
    with Identities() as identities:
        for row in rows:
            position = f"line {row.line}"
            if row.fault:
                yield Outcome(source.name, position, Fate.REJECTED, row.fault)
            else:
                record = dict(zip(columns, row.cells, strict=True))
                yield outcome_of(record, mapping.fields, source.name, position, identities)


def inspect_csv(source: Source, mapping: CsvMapping) -> None:
    """Malformed when a file lacks a column that the mapping names: then the mapping is not for this file."""
    if mapping.dialect.encoding == "utf-8" and source.peek(2)[:2] in _UTF16:
        raise Malformed(source.name, 'is UTF-16; say encoding = "utf-16" in [csv]')
    if not mapping.dialect.columns:
        try:
            _columns(next(read_rows(source, mapping.dialect), None), mapping)
        except Malformed as error:
            raise Malformed(source.name, error.what) from None


def _columns(row: Row | None, mapping: CsvMapping) -> tuple[str, ...]:
    """The names in the first line."""
    if row is None:
        raise Malformed("", "the file is empty; not even a line with the columns' names is there")
    if row.fault:
        raise Malformed("", f"the line with the columns' names cannot be read: {row.fault}")
    names = tuple(name.strip() for name in row.cells)
    twice = sorted(name for name in mapping.fields.columns if names.count(name) > 1)
    if twice:
        raise Malformed("", f"has more than one column named {twice[0]}, which the mapping reads")
    missing = sorted(mapping.fields.columns - set(names))
    if missing:
        raise Malformed(
            "",
            f"has no column {', '.join(missing)}, which {mapping.fields.file} reads; correct the mapping, "
            f"or give [csv] the `delimiter`, `skip` or `columns` of this file",
        )
    return names


def read_csv_mapping(data: bytes, where: str) -> CsvMapping:
    """A mapping file for CSV; Malformed names what is wrong in it."""
    top = parse_toml(data, where)
    dialect = _dialect(top.table("csv"))
    fields = read_fieldmap(top, "csv", None, flat=True)
    missing = sorted(fields.columns - set(dialect.columns)) if dialect.columns else []
    if missing:
        raise Malformed(f"{where}: csv.columns", f"lacks {', '.join(missing)}, which the mapping reads")
    return CsvMapping(dialect, fields)


def _dialect(table: Table) -> Dialect:
    marks: dict[str, Any] = {}
    for name in ("delimiter", "quote"):
        mark = table.text(name, getattr(Dialect(), name))
        if len(mark) != 1 or mark in "\r\n" or not (mark.isprintable() or mark == "\t"):
            raise table.wrong(name, "must be one character")
        marks[name] = mark
    if marks["delimiter"] == marks["quote"]:
        raise table.wrong("quote", "is the same as the delimiter")
    encoding = read_encoding(table)
    columns = table.texts("columns", ())
    if len(set(columns)) != len(columns):
        raise table.wrong("columns", "names a column twice")
    skip = table.integer("skip", 1, 1000) or 0
    table.finish()
    return Dialect(marks["delimiter"], marks["quote"], encoding, columns, skip)


def read_encoding(table: Table) -> str:
    """The member `encoding`: whatever Python can read text in."""
    encoding = table.text("encoding", "utf-8")
    try:
        good = 'a;"\n1'.encode(encoding).decode(encoding) == 'a;"\n1'
    except (LookupError, UnicodeError, ValueError):
        good = False
    if not good:
        raise table.wrong(
            "encoding", "is no encoding known here; write it as utf-8, windows-1252 or iso-8859-15"
        )
    return encoding
