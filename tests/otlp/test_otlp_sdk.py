"""The OpenTelemetry SDK, as applications use it, sends to the agent, which runs as a process of its own."""

import threading
from collections import Counter
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id
from otlpagent import START, Agent
from outboxclaims import claims_in_outbox
from smalldepartment import SmallDepartment

RESOURCE = Resource.create({"service.name": "ehr"})


def about(person: str, **more: str) -> dict[str, str]:
    return {"person": person, "enduser.id": "nurse-7", "reason": "treatment"} | more


def made_spans(attributes: list[dict[str, str]]) -> list[ReadableSpan]:
    """Finished spans, not yet sent."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("ehr.views")
    for item in attributes:
        tracer.start_span("read the file", start_time=START, attributes=item).end()
    return list(kept.get_finished_spans())


def trace_ids(spans: list[ReadableSpan]) -> list[str]:
    return [format_trace_id(span.context.trace_id) for span in spans if span.context]


def in_outbox(small: SmallDepartment) -> Counter[str]:
    """How often each trace id is in the outbox."""
    return Counter(claims["event"]["trace_id"] for claims in claims_in_outbox(small))


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_a_span_becomes_the_record_that_the_person_reads(
    agent: Agent, small: SmallDepartment, compression: Compression
) -> None:
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{agent.url}/v1/traces", compression=compression)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("ehr.views")
    with (
        tracer.start_as_current_span("read the file", start_time=START, attributes=about("anna")) as span,
        tracer.start_as_current_span("select", attributes={"db.system": "postgresql"}),
    ):
        pass
    provider.shutdown()
    (claims,) = claims_in_outbox(small)
    assert claims["subject"] == "id:anna"
    assert claims["actor"]["id"] == "nurse-7"
    assert claims["reason"] == {"text": "treatment"}
    assert claims["event"]["trace_id"] == format_trace_id(span.get_span_context().trace_id)
    assert claims["event"]["system"] == "ehr"
    assert agent.stop() == 0
    assert "1 not about a person, 1 recorded" in agent.said()
    assert "anna" not in agent.said() and "nurse-7" not in agent.said()


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_a_log_record_becomes_a_record(
    agent: Agent, small: SmallDepartment, compression: Compression
) -> None:
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{agent.url}/v1/logs", compression=compression)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("ehr.audit")
    for person in ("anna", "berta", "anna"):
        attributes: dict[str, Any] = about(person)
        logger.emit(
            LogRecord(
                timestamp=START, severity_number=SeverityNumber.INFO, body="file read", attributes=attributes
            )
        )
    provider.shutdown()
    assert [claims["subject"] for claims in claims_in_outbox(small)] == ["id:anna", "id:anna", "id:berta"]


def test_what_is_sent_twice_is_recorded_once(agent: Agent, small: SmallDepartment) -> None:
    spans = made_spans([about("anna"), about("berta")])
    exporter = OTLPSpanExporter(f"{agent.url}/v1/traces")
    for sent in (spans, spans, spans[1:], list(reversed(spans))):
        assert exporter.export(sent) is SpanExportResult.SUCCESS
    assert in_outbox(small) == dict.fromkeys(trace_ids(spans), 1)


def test_a_restart_in_the_middle_loses_and_doubles_nothing(agent: Agent, small: SmallDepartment) -> None:
    spans = made_spans([about(f"p{i % 5}") for i in range(40)])
    exporter = OTLPSpanExporter(f"{agent.url}/v1/traces", timeout=60)
    assert exporter.export(spans[:10]) is SpanExportResult.SUCCESS
    agent.stop()
    results: list[SpanExportResult] = []
    sending = threading.Thread(target=lambda: results.append(exporter.export(spans[5:])))
    sending.start()  # meets nobody, and tries again
    agent.start()
    sending.join()
    if results != [SpanExportResult.SUCCESS]:
        assert exporter.export(spans[5:]) is SpanExportResult.SUCCESS
    assert in_outbox(small) == dict.fromkeys(trace_ids(spans), 1)


def test_kills_at_any_moment_lose_nothing_that_was_acknowledged(agent: Agent, small: SmallDepartment) -> None:
    spans = made_spans([about(f"p{i % 7}") for i in range(300)])
    acknowledged: set[str] = set()
    ended = threading.Event()

    def send() -> None:
        for start in range(0, len(spans), 5):
            batch = spans[start : start + 5]
            exporter = OTLPSpanExporter(f"{agent.url}/v1/traces", timeout=1)
            if exporter.export(batch) is SpanExportResult.SUCCESS:
                acknowledged.update(trace_ids(batch))
        ended.set()

    sending = threading.Thread(target=send)
    sending.start()
    for pause in (0.11, 0.23, 0.37):
        ended.wait(pause)
        agent.kill()
        kept = in_outbox(small)
        assert acknowledged <= set(kept)
        assert set(kept.values()) <= {1}
        agent.start()
    sending.join()
    assert acknowledged <= set(in_outbox(small))
    assert OTLPSpanExporter(f"{agent.url}/v1/traces").export(spans) is SpanExportResult.SUCCESS
    assert in_outbox(small) == dict.fromkeys(trace_ids(spans), 1)


def test_rejected_spans_are_told_to_the_sender_and_hold_nothing_back(
    agent: Agent, small: SmallDepartment
) -> None:
    spans = made_spans([about("anna"), about("berta", activity="77"), about("Not canonical!")])
    assert OTLPSpanExporter(f"{agent.url}/v1/traces").export(spans) is SpanExportResult.SUCCESS
    assert [claims["subject"] for claims in claims_in_outbox(small)] == ["id:anna"]
    assert agent.stop() == 0
    assert "2 rejected" in agent.said()
    assert "Not canonical" not in agent.said() and "berta" not in agent.said()
