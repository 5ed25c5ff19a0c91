"""A receiver in this process, and what may be sent to it.

with Received(small) as received:
    received.post(traces(a_span("anna", 1)), PROTOBUF)
"""

from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlpagent import START, configure
from smalldepartment import SmallDepartment

from ledger.department.otlp.receiver import Receiver

PROTOBUF = {"Content-Type": "application/x-protobuf"}


class Received:
    """A receiver in this process, and what it said."""

    def __init__(self, small: SmallDepartment, more: str = "", listen: str = "127.0.0.1:0") -> None:
        configure(small, more, listen)
        self.said: list[str] = []
        self.home = small.home()
        assert self.home.settings.otlp is not None
        registration = self.home.registration(small.now, self.said.append)
        self.receiver = Receiver(self.home, self.home.settings.otlp, registration, self.said.append)

    def __enter__(self) -> "Received":
        self.receiver.__enter__()
        self.http = httpx.Client(base_url=self.receiver.address, timeout=30)
        return self

    def __exit__(self, *_: Any) -> None:
        self.http.close()
        self.receiver.__exit__(None, None, None)
        self.home.close()

    def post(self, body: bytes, headers: dict[str, str], path: str = "/v1/traces") -> httpx.Response:
        return self.http.post(path, content=body, headers=headers)


def a_span(person: str = "anna", number: int = 1, **attributes: str) -> Span:
    span = Span(
        trace_id=number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        name="read",
        start_time_unix_nano=START,
    )
    for key, value in {"person": person, "reason": "care", "enduser.id": "u1", **attributes}.items():
        span.attributes.add(key=key).value.string_value = value
    return span


def traces(*spans: Span) -> bytes:
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.extend(spans)
    return request.SerializeToString()
