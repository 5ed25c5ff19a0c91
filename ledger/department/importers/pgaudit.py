"""pgaudit's records in the log of PostgreSQL: what was asked of a database, by whom, and of which table.

    2026-02-28 10:03:00.123 UTC [4711] clerk@register LOG:  AUDIT: OBJECT,1,1,READ,SELECT,TABLE,public.person,
    "SELECT * FROM person WHERE nhs = $1",9990000018

A record has, for the mapping: `type` (SESSION, OBJECT), `statement_id`, `substatement_id`, `class`, `command`,
`object_type`, `object`, `statement`, `parameters` (a list), `rows`; and of the line it stands in `time`, `user`,
`database`, `host`, `application`, `pid`, `session`, `level`.  Which statement is about whom, only the mapping can say.

Lines of the log that are no records of pgaudit are passed over.  A statement logged once (`<previously logged>`) is
taken from the record before it in the same session.

Source: pgaudit README, "Format"; PostgreSQL documentation, "Using CSV-Format Log Output" and "… JSON-Format …".
"""

from __future__ import annotations

import csv
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from ledger.core.errors import Malformed
from ledger.department.access import Fate, Outcome
from ledger.department.importers.csvfile import BAD_BYTES, Dialect, Lines, read_encoding, read_rows
from ledger.department.importers.documents import read_lines, unreadable
from ledger.department.importers.fields.accesses import outcome_of
from ledger.department.importers.fields.conditions import holds
from ledger.department.importers.fields.fieldmap import FieldMapping, read_fieldmap
from ledger.department.importers.fields.jsonvalues import parse_loose
from ledger.department.importers.identity import Identities
from ledger.department.importers.pgprefix import line_pattern
from ledger.department.importers.source import Source
from ledger.department.strict_toml import Table, parse_toml

LONGEST: Final = 1 << 20
"""Characters of one record in a log written to stderr."""

DEFAULT_PREFIX: Final = "%m [%p] "
"""PostgreSQL's own since version 10."""

_MARK: Final = "AUDIT: "
_RECORD: Final = re.compile(r"AUDIT: (SESSION|OBJECT),")
_NAMES: Final = (
    "type", "statement_id", "substatement_id", "class", "command", "object_type", "object", "statement",
    "parameters", "rows",
)  # fmt: skip
_CSVLOG: Final = {
    0: "time", 1: "user", 2: "database", 3: "pid", 4: "host", 5: "session", 11: "level", 13: "message",
    22: "application",
}  # fmt: skip
_CSVLOG_COLUMNS: Final = range(22, 28)  # 22 in PostgreSQL 8.4, 26 from 14 on
_JSONLOG: Final = {
    "timestamp": "time", "user": "user", "dbname": "database", "pid": "pid", "remote_host": "host",
    "session_id": "session", "error_severity": "level", "message": "message", "application_name": "application",
}  # fmt: skip
_PREVIOUSLY: Final = "<previously logged>"
_NOTHING: Final = frozenset({"<none>", "<not logged>", _PREVIOUSLY})
_SESSIONS: Final = 10_000
_EARLIER: Final = (
    "its statement was logged with an earlier record, and this file does not have it; join the two files"
)


@dataclass(frozen=True, slots=True)
class PgauditMapping:
    """A mapping file for pgaudit: how the log is written (`stderr`, `csv` or `json`), and what its records mean."""

    log: str
    line: re.Pattern[str]
    encoding: str
    fields: FieldMapping


@dataclass(frozen=True, slots=True)
class _Found:
    """One record's line: its place and what stands around the message, or why it cannot be read."""

    position: str
    around: dict[str, Any]
    message: str = ""
    fault: str = ""


def read_pgaudit(source: Source, mapping: PgauditMapping) -> Iterator[Outcome]:
    """Every record of pgaudit in one file, in order.  Raises OSError alone."""
    read = {"csv": _from_csvlog, "json": _from_jsonlog, "stderr": _from_stderr}[mapping.log]
    statements: OrderedDict[str, tuple[Any, ...]] = OrderedDict()
    with Identities() as identities:
        for found in read(source, mapping):
            try:
                if found.fault:
                    raise Malformed("", found.fault)
                record = {**found.around, **_fields(found.message)}
                known = _complete(record, statements)
                if not known and not any(holds(rule.where, record) for rule in mapping.fields.nobody):
                    raise Malformed("", _EARLIER)
            except Malformed as error:
                yield Outcome(source.name, found.position, Fate.REJECTED, error.what)
                continue
            yield outcome_of(record, mapping.fields, source.name, found.position, identities)


def _fields(message: str) -> dict[str, Any]:
    """The values of one record, which pgaudit writes as a row of CSV."""
    try:
        rows = list(csv.reader([message.removeprefix(_MARK)], strict=True))
    except csv.Error:
        raise Malformed("", "a record of pgaudit that is cut short or broken") from None
    if len(rows) != 1 or not len(_NAMES) - 1 <= len(rows[0]) <= len(_NAMES):
        raise Malformed(
            "", f"a record of pgaudit has {len(_NAMES) - 1} or {len(_NAMES)} values; this one has not"
        )
    return dict(zip(_NAMES, rows[0], strict=False))


def _complete(record: dict[str, Any], statements: OrderedDict[str, tuple[Any, ...]]) -> bool:
    """Put in a statement that was logged with an earlier record, and the parameters as a list.

    False when that record is not known.
    """
    session = str(record.get("session") or record.get("pid") or "")
    number = (record["statement_id"], record["substatement_id"])
    before = statements.get(session)
    if record["statement"] == _PREVIOUSLY:
        if before is None or before[0] != number:
            record["statement"], record["parameters"] = "", []
            return False
        record["statement"], record["parameters"] = before[1], before[2]
        return True
    text = record["parameters"]
    record["parameters"] = [] if text in _NOTHING else _values(text)
    if record["statement"] in _NOTHING:
        record["statement"] = ""
    statements[session] = (number, record["statement"], record["parameters"])
    statements.move_to_end(session)
    if len(statements) > _SESSIONS:
        statements.popitem(last=False)
    return True


def _values(text: str) -> list[str]:
    """The parameters, which pgaudit writes as a row of CSV inside one."""
    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error:
        raise Malformed("parameters", "are cut short or broken") from None


def _from_csvlog(source: Source, mapping: PgauditMapping) -> Iterator[_Found]:
    for row in read_rows(source, Dialect(encoding=mapping.encoding)):
        if row.fault:
            yield _Found(f"line {row.line}", {}, fault=row.fault)
            continue
        around = {name: row.cells[place] for place, name in _CSVLOG.items() if place < len(row.cells)}
        message = around.pop("message", "")
        if _RECORD.match(message):
            around["host"] = around.get("host", "").rpartition(":")[0] or around.get("host", "")
            yield _Found(f"line {row.line}", around, message)


def _from_jsonlog(source: Source, _mapping: PgauditMapping) -> Iterator[_Found]:
    for piece in read_lines(source):
        try:
            value = {} if piece.fault else parse_loose(piece.data)
            fault = piece.fault or ("" if isinstance(value, dict) else "no JSON object")
        except Malformed as error:
            value, fault = {}, error.what
        if fault:
            yield _Found(piece.position, {}, fault=fault)
            continue
        message = value.get("message")
        if isinstance(message, str) and _RECORD.match(message):
            around = {
                name: value[key] for key, name in _JSONLOG.items() if key in value and name != "message"
            }
            yield _Found(piece.position, around, message)


def _from_stderr(source: Source, mapping: PgauditMapping) -> Iterator[_Found]:
    """Records in a log of lines: one ends where its quotation marks are closed, or where the next line begins one."""
    lines = Lines(source, mapping.encoding)
    fault = unreadable(source.peek(1 << 16))
    if fault and fault != "the file is empty":
        yield _Found("$", {}, fault=fault)
        return
    open_: _Open | None = None
    for line in lines:
        lines.done()
        number = lines.number - 1
        start = None if line.startswith("\t") else mapping.line.match(line)
        if start is not None:
            if open_ is not None:
                yield open_.found(
                    mapping.encoding, "is cut short: the next line of the log begins before its end"
                )
            open_ = _Open(number, start) if _RECORD.match(start["message"]) else None
        elif open_ is not None:
            open_.add(line)
        elif _RECORD.search(line):
            fault = "a record of pgaudit in a line that does not begin as `prefix` says"
            yield _Found(f"line {number}", {}, fault=fault)
        if open_ is not None and open_.length > LONGEST:
            yield open_.found(mapping.encoding, f"is longer than {LONGEST} characters")
            open_ = None
        elif open_ is not None and open_.marks % 2 == 0:
            yield open_.found(mapping.encoding, "")
            open_ = None
    if open_ is not None:
        yield open_.found(mapping.encoding, "is cut short: the file ends")
    if lines.fault:
        yield _Found(f"line {lines.number}", {}, fault=lines.fault)


class _Open:
    """A record that has begun on a line: it goes on while a quotation mark is open."""

    def __init__(self, number: int, start: re.Match[str]) -> None:
        self._number = number
        self._start = start
        self._parts: list[str] = []
        self.length = 0
        self.marks = 0
        self.add(start["message"])

    def add(self, text: str) -> None:
        self._parts.append(text)
        self.length += len(text)
        self.marks += text.count('"')

    def found(self, encoding: str, fault: str) -> _Found:
        around = {name: text for name, text in self._start.groupdict().items() if text and name != "message"}
        if "epoch" in around:
            around.setdefault("time", around["epoch"])
        message = "".join(self._parts).rstrip("\r\n")
        if BAD_BYTES in message:
            fault = f"holds bytes that are not {encoding}; say the right `encoding` in [pgaudit]"
        return _Found(
            f"line {self._number}", around, message, f"a record of pgaudit {fault}" if fault else ""
        )


def inspect_pgaudit(source: Source, mapping: PgauditMapping) -> None:
    """Malformed when the file is no log of the kind that [pgaudit] says: then nothing in it would be found."""
    head = source.peek(1 << 18)
    if not head.strip():
        return
    if mapping.log == "csv":
        row = next(read_rows(source, Dialect(encoding=mapping.encoding)), None)
        if row is None or row.fault or len(row.cells) not in _CSVLOG_COLUMNS:
            raise Malformed(source.name, "is no csvlog of PostgreSQL; say the right `log` in [pgaudit]")
    elif mapping.log == "json":
        if not head.lstrip().startswith(b"{"):
            raise Malformed(source.name, "is no jsonlog of PostgreSQL; say the right `log` in [pgaudit]")
    elif not any(mapping.line.match(line) for line in head.decode(mapping.encoding, "replace").splitlines()):
        raise Malformed(
            source.name,
            "has no line that begins as `prefix` in [pgaudit] says; give it as `SHOW log_line_prefix` does",
        )


@cache
def _default() -> FieldMapping:
    data = resources.files("ledger.department").joinpath("maps/pgaudit.toml").read_bytes()
    return read_fieldmap(parse_toml(data, "pgaudit.toml"), "pgaudit", None, flat=False, whole=False)


def read_pgaudit_mapping(data: bytes, where: str) -> PgauditMapping:
    """A mapping file for pgaudit, laid over the defaults; Malformed names what is wrong in it."""
    top = parse_toml(data, where)
    log, line, encoding = _log(top.table("pgaudit"))
    return PgauditMapping(log, line, encoding, read_fieldmap(top, "pgaudit", _default(), flat=False))


def _log(table: Table) -> tuple[str, re.Pattern[str], str]:
    log = table.text("log", "stderr")
    if log not in ("stderr", "csv", "json"):
        raise table.wrong("log", "must be one of stderr, csv, json")
    prefix = table.any("prefix")
    if prefix is not None and log != "stderr":
        raise table.wrong("prefix", f"belongs to a log written to stderr, and `log` is {log}; remove it")
    if prefix is not None and type(prefix) is not str:
        raise table.wrong("prefix", "must be a string, as `SHOW log_line_prefix` gives it")
    try:
        line = line_pattern(DEFAULT_PREFIX if prefix is None else prefix)
    except ValueError as error:
        raise table.wrong("prefix", str(error)) from None
    if log == "json" and "encoding" in table:
        raise table.wrong("encoding", "cannot be chosen for JSON, which is UTF-8; remove it")
    encoding = read_encoding(table)
    table.finish()
    return log, line, encoding
