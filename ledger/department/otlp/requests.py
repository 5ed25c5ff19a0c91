"""An export request taken apart: protobuf or JSON in, one outcome for each span or log record out.

What makes a span the same span, when its sender tries again, is its trace id and span id; a log record has no
identity of its own, so its content counts, times included.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from ledger.core.errors import Malformed
from ledger.department.access import Fate, Outcome
from ledger.department.importers.fields.fieldmap import FieldMapping
from ledger.department.importers.fields.jsonvalues import parse_loose
from ledger.department.importers.identity import Identities
from ledger.department.importers.ldv import from_attributes
from ledger.department.importers.otlpjson import events_in
from ledger.department.otlp.answers import JSON

LIMIT: Final = 16 << 20
"""Bytes of a request's body, as sent and unpacked."""

SIGNALS: Final = {"/v1/traces": "traces", "/v1/logs": "logs"}

_MEMBERS: Final = 16
_DEEPEST: Final = 32
_EVENT: Final = re.compile(r".*\.(spans|logRecords)\[[0-9]+\]")
_NAMES: Final = {
    "traces": ("resourceSpans", "scopeSpans", "spans"),
    "logs": ("resourceLogs", "scopeLogs", "logRecords"),
}
_Event = tuple[str, dict[str, Any] | Malformed]


class TooLarge(Malformed):
    """The body unpacks to more than is taken."""


def unpack(body: bytes) -> bytes:
    """What a gzip body holds (RFC 1952, of one or more members).  Raises Malformed, TooLarge."""
    out, rest = b"", body
    for _ in range(_MEMBERS):
        if not rest:
            return out
        inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            out += inflate.decompress(rest, LIMIT + 1 - len(out))
        except zlib.error:
            raise Malformed("body", "is not gzip, or is damaged") from None
        if len(out) > LIMIT or inflate.unconsumed_tail:
            raise TooLarge("body", f"unpacks to more than {LIMIT} bytes; send smaller batches")
        if not inflate.eof:
            raise Malformed("body", "is gzip cut off")
        rest = inflate.unused_data
    raise Malformed("body", f"is gzip of more than {_MEMBERS} members")


def read_request(body: bytes, signal: str, encoding: str, mapping: FieldMapping) -> list[Outcome]:
    """The fate of each span or log record (`signal` is `traces` or `logs`), nothing recorded yet.

    Raises Malformed for a body that is no such request; then none of it counts.
    """
    events = _from_json(body, signal) if encoding == JSON else _from_protobuf(body, signal)
    with _RequestIdentities(signal) as identities:
        return [_outcome(place, event, mapping, identities) for place, event in events]


def _outcome(
    place: str, event: dict[str, Any] | Malformed, mapping: FieldMapping, identities: Identities
) -> Outcome:
    if isinstance(event, Malformed):
        return Outcome("otlp", place, Fate.REJECTED, event.what)
    return from_attributes(**event, mapping=mapping, identities=identities, file="otlp", position=place)


class _RequestIdentities(Identities):
    """Spans by their ids; what has none, and log records, by their content."""

    def __init__(self, signal: str) -> None:
        super().__init__()
        self._spans = signal == "traces"

    def of(self, event: Any) -> bytes:
        trace, span = event["trace_id"], event["span_id"]
        if self._spans and trace.strip("0") and span.strip("0"):
            return sha256(b"glassbook OTLP span\0" + bytes.fromhex(trace + span)).digest()
        return super().of(event)


def _from_json(body: bytes, signal: str) -> list[_Event]:
    resources, scopes, events = _NAMES[signal]
    try:
        value = parse_loose(body)
    except Malformed as error:
        raise Malformed(error.where or "body", error.what) from None
    if not isinstance(value, dict):
        raise Malformed("body", "is no JSON object; OTLP has one here")
    groups = value.get(resources, [])
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise Malformed("body", f"{resources} is no array of objects")
    # Members that are absent are empty, and unknown ones are passed over: a batch of the other signal too.
    known = [{name: group[name] for name in ("resource", scopes) if name in group} for group in groups]
    found = list(events_in({resources: [group for group in known if scopes in group]}, "$"))
    for place, event in found:
        if isinstance(event, Malformed) and not _EVENT.fullmatch("." + place):
            raise Malformed("body", f"{place}: {event.what}")
    return found


def _from_protobuf(body: bytes, signal: str) -> list[_Event]:
    try:
        if signal == "traces":
            return list(_spans(ExportTraceServiceRequest.FromString(body)))
        return list(_log_records(ExportLogsServiceRequest.FromString(body)))
    except DecodeError:
        raise Malformed("body", "is no export request in protobuf for this path") from None


def _spans(request: ExportTraceServiceRequest) -> Iterator[_Event]:
    for r, group in enumerate(request.resource_spans):
        resource = _attributes(group.resource.attributes)
        for s, scoped in enumerate(group.scope_spans):
            for i, span in enumerate(scoped.spans):
                yield (
                    f"resourceSpans[{r}].scopeSpans[{s}].spans[{i}]",
                    _event(
                        span.attributes,
                        resource,
                        trace_id=_id(span.trace_id, 16),
                        span_id=_id(span.span_id, 8),
                        name=span.name,
                        start=span.start_time_unix_nano,
                        status=int(span.status.code),
                        scope=scoped.scope.name,
                    ),
                )


def _log_records(request: ExportLogsServiceRequest) -> Iterator[_Event]:
    for r, group in enumerate(request.resource_logs):
        resource = _attributes(group.resource.attributes)
        for s, scoped in enumerate(group.scope_logs):
            for i, record in enumerate(scoped.log_records):
                try:
                    body = _value(record.body, 0)
                except Malformed as error:
                    body = error
                yield (
                    f"resourceLogs[{r}].scopeLogs[{s}].logRecords[{i}]",
                    _event(
                        record.attributes,
                        resource,
                        trace_id=_id(record.trace_id, 16),
                        span_id=_id(record.span_id, 8),
                        name=record.event_name,
                        start=record.time_unix_nano,
                        observed=record.observed_time_unix_nano,
                        scope=scoped.scope.name,
                        body=body,
                    ),
                )


def _event(
    pairs: Iterable[KeyValue], resource: dict[str, Any] | Malformed, **arguments: Any
) -> dict[str, Any] | Malformed:
    """The arguments of `from_attributes`, or why there are none."""
    attributes = _attributes(pairs)
    for part in (resource, attributes, arguments.get("body")):
        if isinstance(part, Malformed):
            return part
    return {"attributes": attributes, "resource": resource, **arguments}


def _id(raw: bytes, size: int) -> str:
    return raw.hex() if len(raw) == size else ""


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any] | Malformed:
    found: dict[str, Any] = {}
    for pair in pairs:
        if pair.key in found:
            return Malformed("", "an attribute stands twice")
        try:
            found[pair.key] = _value(pair.value, 0)
        except Malformed as error:
            return error
    return found


def _value(value: AnyValue, depth: int) -> Any:
    """A plain value, as `from_attributes` takes it.  Malformed when it is nested deeper than 32 levels."""
    if depth > _DEEPEST:
        raise Malformed("", "an attribute is nested too deep")
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, kind) if kind in ("bool_value", "int_value", "double_value") else None
