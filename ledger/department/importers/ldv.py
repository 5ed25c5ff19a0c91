"""Spans and log records with `dpl.core.*` attributes: the Dutch standard Logboek Dataverwerkingen, and OTLP at large.

A span comes in with its attributes as plain values and leaves as an `Outcome`:

    mapping = read_ldv_mapping(data, "map.toml")            once, when the program starts
    with Identities() as identities:                        one for each file, or each OTLP request
        outcome = from_attributes(
            {"dpl.core.processing_activity_id": "https://…", "dpl.core.data_subject_id": "…", …},
            mapping, identities, trace_id="0ac8…", span_id="f084…", name="…", start=1745333267994934004,
            status="ok", resource={"service.name": "…"}, file="otlp", position="resourceSpans[0]…",
        )

`otlpjson.py` takes such spans out of files; a receiver of OTLP takes them out of requests.  Both mean the same.

Source: Logius-standaarden/logboek-dataverwerkingen, "Component: Logboek" (interface); OpenTelemetry trace and log
data model for the names around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from ledger.department.access import Outcome
from ledger.department.importers.fields.accesses import outcome_of
from ledger.department.importers.fields.fieldmap import FieldMapping, read_fieldmap
from ledger.department.importers.identity import Identities
from ledger.department.strict_toml import parse_toml

_STATUSES: Final = {
    **dict.fromkeys((0, "0", "unset", "status_code_unset", ""), "unset"),
    **dict.fromkeys((1, "1", "ok", "status_code_ok"), "ok"),
    **dict.fromkeys((2, "2", "error", "status_code_error"), "error"),
}
_ENTITIES: Final = ("dpl.core.foreign_operation.entity", "foreign_operation.entity")


def from_attributes(
    attributes: Mapping[str, Any],
    mapping: FieldMapping,
    identities: Identities,
    *,
    trace_id: str = "",
    span_id: str = "",
    name: str = "",
    start: int = 0,
    observed: int = 0,
    status: int | str = "",
    resource: Mapping[str, Any] | None = None,
    scope: str = "",
    body: Any = None,
    more: Mapping[str, Any] | None = None,
    file: str = "otlp",
    position: str = "$",
) -> Outcome:
    """The fate of one span or log record.  It never raises for what they hold.

    `attributes` and `resource` are plain values as JSON has them: text, int, float, bool, None, lists and dicts of
    these; bytes as base64 text.  `trace_id` and `span_id` are hex, `start` (a log record's time) and `observed` (when
    a log record was seen; without a time of its own that counts) Unix nanoseconds, 0 when absent.  `status` is OTLP's
    number or its name.  `body` is a log record's, `more` whatever else the mapping shall find by name.
    `identities` tells the same event, sent again in another request, from another one; `file` and `position` are
    repeated in the outcome and must hold nothing personal.
    """
    values = dict(attributes)
    for entity in _ENTITIES:
        if isinstance(values.get(entity), str):
            values[entity] = _place(values[entity])
    record: dict[str, Any] = {
        **(more or {}),
        "trace_id": trace_id.lower(),
        "span_id": span_id.lower(),
        "name": name,
        "start": start or None,
        "observed": observed or None,
        "status": _STATUSES.get(status.lower() if isinstance(status, str) else status, "unset"),
        "attributes": values,
        "resource": dict(resource or {}),
        "scope": scope,
        "body": body,
    }
    return outcome_of(record, mapping, file, position, identities)


def _place(url: str) -> str:
    """A URL without its query and password: some carry tokens there."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


@cache
def default_ldv_mapping() -> FieldMapping:
    """What holds without a mapping file: no activity, so that every event about a person is rejected."""
    data = resources.files("ledger.department").joinpath("maps/ldv.toml").read_bytes()
    return read_fieldmap(parse_toml(data, "ldv.toml"), "ldv", None, flat=False)


def read_ldv_mapping(data: bytes, where: str) -> FieldMapping:
    """A mapping file for spans and log records, laid over the defaults; Malformed names what is wrong in it."""
    return read_fieldmap(parse_toml(data, where), "ldv", default_ldv_mapping(), flat=False)
