"""What the receiver answers: OTLP's responses, and google.rpc.Status for everything else, in the request's encoding.

Source: OTLP specification, "OTLP/HTTP Response": success, partial success, failures, throttling.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ledger.department.access import Fate, Outcome

PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"

# google.rpc.Code, by the HTTP status that it goes with.
_CODES: Final = {400: 3, 401: 16, 404: 5, 405: 12, 408: 4, 413: 3, 415: 3, 429: 8, 503: 14}
_INTERNAL: Final = 13
_REASONS: Final = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def success(signal: str, encoding: str, outcomes: list[Outcome]) -> Answer:
    """All is durable that can be recorded; what cannot is counted, with the reasons, which name nobody.

    `signal` is `traces` or `logs`.
    """
    rejected = [outcome for outcome in outcomes if outcome.fate is Fate.REJECTED]
    message = _reasons(rejected)
    if encoding == JSON:
        name = "rejectedSpans" if signal == "traces" else "rejectedLogRecords"
        partial = {"partialSuccess": {name: str(len(rejected)), "errorMessage": message}} if rejected else {}
        return Answer(200, JSON, json.dumps(partial, ensure_ascii=False).encode())
    response: ExportTraceServiceResponse | ExportLogsServiceResponse
    if signal == "traces":
        response = ExportTraceServiceResponse()
        if rejected:
            response.partial_success.rejected_spans = len(rejected)
            response.partial_success.error_message = message
    else:
        response = ExportLogsServiceResponse()
        if rejected:
            response.partial_success.rejected_log_records = len(rejected)
            response.partial_success.error_message = message
    return Answer(200, PROTOBUF, response.SerializeToString())


def failure(status: int, message: str, encoding: str, **headers: str) -> Answer:
    """An error; `headers` as keywords, `retry_after="1"`."""
    code = _CODES.get(status, _INTERNAL)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if encoding == JSON:
        body = json.dumps({"code": code, "message": message}, ensure_ascii=False).encode()
    else:
        body = Status(code=code, message=message).SerializeToString()
    return Answer(status, encoding, body, named)


def _reasons(rejected: list[Outcome]) -> str:
    counted = Counter(outcome.reason for outcome in rejected)
    parts = [f"{count} rejected: {reason}" for reason, count in counted.most_common(_REASONS)]
    if len(counted) > _REASONS:
        parts.append(f"and {len(counted) - _REASONS} other reasons")
    return "; ".join(parts)
