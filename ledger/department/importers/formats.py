"""The formats that `glassbook department import` reads, all behind one interface.

A format turns a file and a mapping into outcomes, event by event:

    read(source, mapping)       every event ends as one Outcome; raises OSError alone
    read_mapping(bytes, name)   Malformed names the member that is not right
    default()                   the mapping that holds without a file; None: there must be one
    inspect(source, mapping)    Malformed when the mapping is not for this file; asked before anything is recorded
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.department.access import Outcome
from ledger.department.importers.csvfile import inspect_csv, read_csv, read_csv_mapping
from ledger.department.importers.fhir import read_fhir_source
from ledger.department.importers.jsonlines import read_json_lines, read_jsonl_mapping
from ledger.department.importers.ldv import default_ldv_mapping, read_ldv_mapping
from ledger.department.importers.otlpjson import read_spans
from ledger.department.importers.pgaudit import inspect_pgaudit, read_pgaudit, read_pgaudit_mapping
from ledger.department.importers.source import Source
from ledger.department.mapping import default_mapping, parse_mapping


def _any_file(source: Source, mapping: Any) -> None:
    """A file of names and values that may be absent: whether it fits shows event by event."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format; `files` says in words what is read."""

    name: str
    files: str
    read: Callable[[Source, Any], Iterator[Outcome]]
    read_mapping: Callable[[bytes, str], Any]
    default: Callable[[], Any] | None = None
    inspect: Callable[[Source, Any], None] = _any_file


FORMATS: Final = {
    format_.name: format_
    for format_ in (
        Format(
            "fhir",
            "FHIR AuditEvents of R4, R4B and R5: JSON, XML, Bundles, NDJSON",
            read_fhir_source,
            parse_mapping,
            default_mapping,
        ),
        Format(
            "ldv",
            "Logboek Dataverwerkingen and OpenTelemetry: spans and log records in JSON",
            read_spans,
            read_ldv_mapping,
            default_ldv_mapping,
        ),
        Format("jsonl", "JSON Lines: one JSON object a line", read_json_lines, read_jsonl_mapping),
        Format("csv", "CSV: one row an event", read_csv, read_csv_mapping, inspect=inspect_csv),
        Format(
            "pgaudit",
            "PostgreSQL's log with pgaudit's records: stderr, csvlog or jsonlog",
            read_pgaudit,
            read_pgaudit_mapping,
            inspect=inspect_pgaudit,
        ),
    )
}
"""By the name that stands on the command line."""
