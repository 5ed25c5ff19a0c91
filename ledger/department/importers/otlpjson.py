"""Files of spans and log records: OTLP's JSON, what Grafana Tempo answers, and the records the Dutch standard prints.

    {"resourceSpans": [{"resource", "scopeSpans": [{"scope", "spans": [span …]}]}]}     OTLP, traces
    {"resourceLogs": [{"resource", "scopeLogs": [{"scope", "logRecords": [record …]}]}]}  OTLP, logs
    {"batches": [as in resourceSpans]}                                                  Tempo: ids in base64
    {"trace_id", "span_id", "status", "name", "start_time", "attributes", "resource"}   one record, plain values

One value a file, an array of them, or one a line (as the OpenTelemetry Collector's file exporter writes); plain or
gzip.  Every span and every log record is one event.

Source: OTLP 1.x, "JSON Protobuf encoding" (int64 as text, ids in hex, values wrapped by type).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.core.errors import Malformed
from ledger.department.access import Fate, Outcome
from ledger.department.importers.documents import read_values
from ledger.department.importers.fields.fieldmap import FieldMapping
from ledger.department.importers.fields.jsonvalues import parse_loose
from ledger.department.importers.identity import Identities
from ledger.department.importers.ldv import from_attributes
from ledger.department.importers.source import Source

# Names of OTLP before version 1 beside those of today.
_RESOURCES: Final = ("resourceSpans", "batches", "resourceLogs")
_SCOPES: Final = ("scopeSpans", "instrumentationLibrarySpans", "scopeLogs", "instrumentationLibraryLogs")
_EVENTS: Final = ("spans", "logRecords", "logs")
_PRINTED: Final = ("trace_id", "span_id", "attributes")

_HEX: Final = re.compile(r"[0-9a-fA-F]*")
_LINE: Final = re.compile(r"line [0-9]+")
_NANOS: Final = re.compile(r"[0-9]{1,19}")
_DEEPEST: Final = 32


def read_spans(source: Source, mapping: FieldMapping) -> Iterator[Outcome]:
    """Every span and log record of one file, in order.  Raises OSError alone."""
    with Identities() as identities:
        for piece in read_values(source):
            try:
                if piece.fault:
                    raise Malformed("", piece.fault)
                value = parse_loose(piece.data)
            except Malformed as error:
                yield Outcome(source.name, piece.position, Fate.REJECTED, error.what)
                continue
            for position, event in events_in(value, piece.position):
                if isinstance(event, Malformed):
                    yield Outcome(source.name, position, Fate.REJECTED, event.what)
                else:
                    yield from_attributes(
                        **event, mapping=mapping, identities=identities, file=source.name, position=position
                    )


_Found = Iterator[tuple[str, dict[str, Any] | Malformed]]


def events_in(value: Any, position: str) -> _Found:
    """The arguments of `from_attributes` for each event in a value, or why there are none, each with its place."""
    if not isinstance(value, dict):
        yield position, Malformed("", "no JSON object; OTLP has resourceSpans or resourceLogs here")
        return
    names = [name for name in _RESOURCES if name in value]
    for name in names:
        for place, group in _each(value, name, position):
            yield from _group(group, place) if isinstance(group, dict) else iter([(place, group)])
    if names:
        return
    if any(name in value for name in _PRINTED):
        yield position, _safely(_printed, value, {}, "")
    else:
        what = "no span and no log record: has neither resourceSpans, resourceLogs nor trace_id"
        yield position, Malformed("", what)


def _group(group: dict[str, Any], position: str) -> _Found:
    """The spans of one resource."""
    try:
        resource = _attributes(_object(group, "resource"))
    except Malformed as error:
        yield position, error
        return
    names = [name for name in _SCOPES if name in group]
    if not names:
        yield position, Malformed("", "a resource without scopeSpans and scopeLogs")
    for name in names:
        for place, scoped in _each(group, name, position):
            yield from (
                _scope(scoped, resource, place) if isinstance(scoped, dict) else iter([(place, scoped)])
            )


def _scope(scoped: dict[str, Any], resource: dict[str, Any], position: str) -> _Found:
    """The spans or log records of one scope; one without any holds no event."""
    scope = scoped.get("scope", scoped.get("instrumentationLibrary"))
    title = scope.get("name") if isinstance(scope, dict) else ""
    for name in _EVENTS:
        for place, event in _each(scoped, name, position):
            if isinstance(event, dict):
                yield place, _safely(_otlp, event, resource, title if isinstance(title, str) else "")
            else:
                yield place, event


def _each(
    value: dict[str, Any], name: str, position: str
) -> Iterator[tuple[str, dict[str, Any] | Malformed]]:
    items = value.get(name, [])
    of_line = _LINE.fullmatch(position)
    at = name if position == "$" else f"{position}: {name}" if of_line else f"{position}.{name}"
    if not isinstance(items, list):
        yield at, Malformed("", "is no array where OTLP has one")
        return
    for i, item in enumerate(items):
        place = f"{at}[{i}]"
        yield place, item if isinstance(item, dict) else Malformed("", "is no object where OTLP has one")


def _safely(
    read: Any, event: dict[str, Any], resource: dict[str, Any], scope: str
) -> dict[str, Any] | Malformed:
    try:
        arguments: dict[str, Any] = read(event, resource, scope)
    except Malformed as error:
        return error
    return arguments


def _otlp(event: dict[str, Any], resource: dict[str, Any], scope: str) -> dict[str, Any]:
    status = event.get("status")
    code = status.get("code", "") if isinstance(status, dict) else ""
    return {
        "attributes": _attributes(event),
        "resource": resource,
        "scope": scope,
        "trace_id": _id(event, "traceId", 16),
        "span_id": _id(event, "spanId", 8),
        "name": _text(event, "name") or _text(event, "eventName"),
        "start": _nanos(event, "startTimeUnixNano") or _nanos(event, "timeUnixNano"),
        "observed": _nanos(event, "observedTimeUnixNano"),
        "status": code if isinstance(code, str) else "",
        "body": _any_value(event.get("body"), 0),
    }


def _printed(event: dict[str, Any], _resource: dict[str, Any], _scope: str) -> dict[str, Any]:
    """A record as the standard's interface has it: plain values, times in ISO 8601."""
    status = event.get("status", event.get("status_code", ""))
    foreign = event.get("foreign_operation")
    return {
        "attributes": _object(event, "attributes"),
        "resource": _object(_object(event, "resource"), "attributes"),
        "trace_id": _id(event, "trace_id", 16),
        "span_id": _id(event, "span_id", 8),
        "name": _text(event, "name"),
        "start": _instant(event, "start_time"),
        "status": status if isinstance(status, str) else "",
        "more": {"foreign_operation": foreign} if isinstance(foreign, dict) else None,
    }


def _object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Malformed("", f"{name} is no object")
    return value


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _id(event: dict[str, Any], name: str, size: int) -> str:
    """A trace or span id of `size` bytes in hex; Tempo writes base64.  Empty when it is neither."""
    text = _text(event, name)
    if len(text) == 2 * size and _HEX.fullmatch(text):
        return text.lower()
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return raw.hex() if len(raw) == size else ""


def _nanos(event: dict[str, Any], name: str) -> int:
    """A time in Unix nanoseconds; numbers come as texts (`parse_loose`).  0 when it is none."""
    text = event.get(name)
    return int(text) if isinstance(text, str) and _NANOS.fullmatch(text) else 0


def _instant(event: dict[str, Any], name: str) -> int:
    """A printed time: ISO 8601 with zone, or Unix milliseconds."""
    text = _text(event, name)
    if _NANOS.fullmatch(text):
        return int(text) * 1_000_000
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            return 0
        return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
    except (ValueError, OverflowError):
        return 0


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    """OTLP's list of key and value as an object; a key given twice is an error, as OpenTelemetry has it."""
    pairs = holder.get("attributes", [])
    if not isinstance(pairs, list):
        raise Malformed("", "attributes is no array where OTLP has one")
    found: dict[str, Any] = {}
    for pair in pairs:
        key = pair.get("key") if isinstance(pair, dict) else None
        if not isinstance(key, str):
            raise Malformed("", "an attribute has no key")
        if key in found:
            raise Malformed("", "an attribute stands twice")
        found[key] = _any_value(pair.get("value"), 0)
    return found


def _any_value(value: Any, depth: int) -> Any:
    """OTLP's AnyValue as a plain one; Malformed when it is none or has more than 32 levels."""
    if value is None or value == {}:
        return None
    if not isinstance(value, dict) or len(value) != 1:
        raise Malformed("", "an attribute has no value as OTLP writes it")
    if depth > _DEEPEST:
        raise Malformed("", "an attribute is nested too deep")
    ((kind, inner),) = value.items()
    if kind == "arrayValue":
        items = inner.get("values", []) if isinstance(inner, dict) else None
        if isinstance(items, list):
            return [_any_value(item, depth + 1) for item in items]
    elif kind == "kvlistValue":
        pairs = inner.get("values", []) if isinstance(inner, dict) else None
        if isinstance(pairs, list) and all(
            isinstance(p, dict) and isinstance(p.get("key"), str) for p in pairs
        ):
            return {pair["key"]: _any_value(pair.get("value"), depth + 1) for pair in pairs}
    elif (kind == "boolValue" and isinstance(inner, bool)) or (
        kind in ("stringValue", "intValue", "doubleValue", "bytesValue") and isinstance(inner, str)
    ):
        return inner
    raise Malformed("", "an attribute has no value as OTLP writes it")
