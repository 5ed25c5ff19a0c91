"""pgaudit in the three logs that PostgreSQL writes, and what stands between its records."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from imported import counted, fates, read_bytes

from ledger.core.errors import Malformed
from ledger.department.access import Outcome
from ledger.department.importers.pgaudit import inspect_pgaudit, read_pgaudit_mapping
from ledger.department.importers.pgprefix import line_pattern
from ledger.department.importers.source import Source

SUBJECT = """
[[subject.rule]]
where = { statement = { find = 'id = \\$1' } }
from = "parameters[0]"
scheme = "id"
[subject]
otherwise = "nobody"
[activity]
default = 1
"""
STATEMENT = (
    'OBJECT,{n},1,READ,SELECT,TABLE,public.person,"SELECT *\n  FROM person, ""odd""\n WHERE id = $1",{who}'
)


def mapping(lines: str, more: str = SUBJECT) -> str:
    return f'format = "pgaudit"\n[pgaudit]\n{lines}\n{more}'


def record(n: int, who: str) -> str:
    return "AUDIT: " + STATEMENT.format(n=n, who=who)


def stderr_log(*messages: str, level: str = "LOG") -> bytes:
    """As PostgreSQL writes to stderr: a tab after each line end within a message."""
    lines = [
        f"2026-02-28 10:03:00.123 UTC [4711] {level}:  " + m.replace("\n", "\n\t") + "\n" for m in messages
    ]
    return "".join(lines).encode()


def csv_log(*messages: str) -> bytes:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for message in messages:
        row = [""] * 26
        row[0:6] = ["2026-02-28 10:03:00.123 UTC", "clerk", "register", "4711", "10.0.0.7:5432", "69a1.1267"]
        row[11], row[13], row[22] = "LOG", message, "psql"
        rows.writerow(row)
    return out.getvalue().encode()


def json_log(*messages: str) -> bytes:
    around = {"timestamp": "2026-02-28 10:03:00.123 UTC", "user": "clerk", "dbname": "register", "pid": 4711}
    around |= {"remote_host": "10.0.0.7", "application_name": "psql", "error_severity": "LOG"}
    return b"".join(json.dumps({**around, "message": message}).encode() + b"\n" for message in messages)


LOGS: dict[str, Any] = {"stderr": stderr_log, "csv": csv_log, "json": json_log}


@pytest.mark.parametrize("log", LOGS)
def test_record_of_some_log_is_lost_or_changed(log: str, tmp_path: Path) -> None:
    data = LOGS[log](
        "connection authorized: user=x", record(1, "p1"), 'checkpoint starting: "x', record(2, "p2")
    )
    found = read_bytes(tmp_path, data, "pgaudit", mapping(f'log = "{log}"'))
    summary = counted(found)
    assert (summary.events, summary.recorded) == (2, 2)
    access = found[0].accesses[0]
    assert access.subject == "id:p1"
    assert access.claims["event"]["at"] == "2026-02-28T10:03:00.123Z"
    assert access.claims["event"]["action"] == "https://w3id.org/dpv#Consult"
    assert access.claims["data"]["fields"] == ["public.person"]
    if log != "stderr":
        assert access.claims["actor"] == {"id": "clerk", "automated": False, "network": "10.0.0.7"}
        assert access.claims["event"]["system"] == "register"


@pytest.mark.parametrize("log", LOGS)
def test_statement_logged_once_is_taken_from_another_session(log: str, tmp_path: Path) -> None:
    again = "AUDIT: OBJECT,{},1,READ,SELECT,TABLE,public.benefit,<previously logged>,<previously logged>"
    data = LOGS[log](record(1, "p1"), again.format(1), again.format(2))
    found = read_bytes(tmp_path, data, "pgaudit", mapping(f'log = "{log}"'))
    assert [o.fate.value for o in found] == ["recorded", "recorded", "rejected"]
    assert found[1].accesses[0].subject == "id:p1" and "earlier record" in found[2].reason


def read_stderr(folder: Path, data: bytes, prefix: str = "%m [%p] ") -> list[Outcome]:
    return read_bytes(folder, data, "pgaudit", mapping(f"prefix = '{prefix}'"))


def test_record_cut_short_takes_the_next_with_it(tmp_path: Path) -> None:
    whole = stderr_log(record(1, "p1"))
    found = read_stderr(tmp_path, whole[: whole.index(b"WHERE")] + b"\n" + whole + whole[:-30])
    assert [fate for _, fate, _ in fates(found)] == ["rejected", "recorded", "rejected"]
    assert "begins before its end" in found[0].reason and "the file ends" in found[2].reason


def test_record_that_never_ends_fills_the_memory(tmp_path: Path) -> None:
    data = (
        stderr_log('AUDIT: SESSION,1,1,READ,SELECT,,,"SELECT')
        + b"\tx\n" * (1 << 20)
        + stderr_log(record(1, "p1"))
    )
    found = read_stderr(tmp_path, data)
    assert [o.fate.value for o in found] == ["rejected", "recorded"] and "longer than" in found[0].reason


def test_record_behind_another_prefix_is_passed_over(tmp_path: Path) -> None:
    data = (
        stderr_log(record(1, "p1"))
        + b"somewhere else LOG:  AUDIT: SESSION,1,1,READ,SELECT,,,SELECT 1,<none>\n"
    )
    found = read_stderr(tmp_path, data)
    assert [o.fate.value for o in found] == ["recorded", "rejected"]
    assert "does not begin as `prefix` says" in found[1].reason


BROKEN: dict[str, str] = {
    "too few values": "AUDIT: SESSION,1,1,READ",
    "too many values": "AUDIT: SESSION,1,1,READ,SELECT,,,SELECT 1,<none>,1,2",
    "parameters cut short": 'AUDIT: SESSION,1,1,READ,SELECT,,,id = $1,"""p1"',
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_record_takes_its_neighbours_with_it(case: str, tmp_path: Path) -> None:
    found = read_bytes(
        tmp_path, csv_log(record(1, "p1"), BROKEN[case], record(2, "p2")), "pgaudit", mapping("log='csv'")
    )
    assert [o.fate.value for o in found] == ["recorded", "rejected", "recorded"]
    assert "SELECT 1" not in found[1].reason and "p1" not in found[1].reason


def test_gzip_and_bytes_that_are_not_utf_8_end_the_import(tmp_path: Path) -> None:
    bad = stderr_log(record(1, "p1")).replace(b"odd", b"\xff\xfe")
    found = read_stderr(tmp_path, gzip.compress(bad + stderr_log(record(2, "p2"))))
    assert [o.fate.value for o in found] == ["rejected", "recorded"] and "not utf-8" in found[0].reason


@pytest.mark.parametrize("log", ["stderr", "csv"])
def test_log_in_the_servers_encoding_is_not_read(log: str, tmp_path: Path) -> None:
    data = LOGS[log](record(1, "p1").replace("odd", "ödd")).decode().encode("iso-8859-1")
    lines = f'log = "{log}"\nencoding = "iso-8859-1"'
    assert [o.fate.value for o in read_bytes(tmp_path, data, "pgaudit", mapping(lines))] == ["recorded"]


PREFIXES: list[tuple[str, str, dict[str, str]]] = [
    ("%m [%p] ", "2026-02-28 10:03:00.123 CET [17] LOG:  x", {"time": "2026-02-28 10:03:00.123 CET", "pid": "17"}),
    (
        "%t:%r:%u@%d:[%p]: ",
        "2026-02-28 10:03:00 UTC:10.0.0.7(5123):clerk@register:[17]: LOG:  x",
        {"host": "10.0.0.7(5123)", "user": "clerk", "database": "register"},
    ),
    ("%m [%p] %q%u@%d ", "2026-02-28 10:03:00.123 UTC [17] LOG:  x", {"pid": "17"}),
    (
        "%m [%p] %q%u@%d/%a ",
        "2026-02-28 10:03:00.123 UTC [17] u v@d/my app LOG:  x",
        {"user": "u v", "application": "my app"},
    ),
    ("%n %c %-10u|", "1772269405.123 69a1.1267 clerk     |LOG:  x", {"epoch": "1772269405.123", "user": "clerk"}),
    ("100%% ", "100% LOG:  x", {}),
    ("", "NOTICE:  x", {"level": "NOTICE"}),
]  # fmt: skip


@pytest.mark.parametrize(("prefix", "line", "expected"), PREFIXES)
def test_prefix_is_read_otherwise_than_postgresql_writes_it(
    prefix: str, line: str, expected: dict[str, str]
) -> None:
    found = line_pattern(prefix).match(line)
    assert found is not None and found["message"] == "x"
    assert {name: (found[name] or "").strip() for name in expected} == expected


def test_line_that_does_not_fit_a_prefix_of_names_takes_long() -> None:
    pattern = line_pattern("%a %u %d %h %i ")
    assert pattern.match(" " * 5000) is None and pattern.match("a b " * 5000) is None


FILES: dict[str, tuple[str, bytes, str]] = {
    "stderr with another prefix": (
        "stderr",
        stderr_log("x").replace(b"[4711]", b"4711"),
        "no line that begins",
    ),
    "json as stderr": ("stderr", json_log("x"), "no line that begins"),
    "stderr as csv": ("csv", stderr_log("x"), "no csvlog"),
    "stderr as json": ("json", stderr_log("x"), "no jsonlog"),
}


@pytest.mark.parametrize("case", FILES)
def test_log_of_another_kind_is_begun(case: str, tmp_path: Path) -> None:
    log, data, fault = FILES[case]
    (tmp_path / "log").write_bytes(data)
    with Source(tmp_path / "log") as source, pytest.raises(Malformed, match=fault):
        inspect_pgaudit(source, read_pgaudit_mapping(mapping(f'log = "{log}"').encode(), "map.toml"))


def test_empty_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"")
    with Source(tmp_path / "log") as source:
        inspect_pgaudit(source, read_pgaudit_mapping(mapping("").encode(), "map.toml"))
    assert read_stderr(tmp_path, b"") == []
