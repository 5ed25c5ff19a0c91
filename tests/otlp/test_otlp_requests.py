"""What any sender may put on the wire, and what the receiver answers: over real sockets."""

import gzip
import json
import os
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlpagent import START
from otlpreceiver import PROTOBUF, Received, a_span, traces
from outboxclaims import claims_in_outbox
from smalldepartment import SmallDepartment

from ledger.department.otlp import requests

JSON = {"Content-Type": "application/json"}


def json_traces(*persons: str) -> dict[str, Any]:
    spans = [
        {
            "traceId": f"{i + 1:032x}", "spanId": f"{i + 1:016X}", "startTimeUnixNano": str(START),
            "attributes": [
                {"key": "person", "value": {"stringValue": person}},
                {"key": "reason", "value": {"stringValue": "care"}},
            ],
        }
        for i, person in enumerate(persons)
    ]  # fmt: skip
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}


def test_json_and_protobuf_say_the_same_of_a_span(small: SmallDepartment, received: Received) -> None:
    answer = received.post(json.dumps(json_traces("anna", "berta")).encode(), JSON)
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (
        200,
        {},
        "application/json",
    )
    # The same spans in protobuf, by other people's count a second sender.
    answer = received.post(traces(a_span("anna", 1), a_span("berta", 2), a_span("carla", 3)), PROTOBUF)
    assert answer.status_code == 200 and answer.content == b""
    assert [claims["subject"] for claims in claims_in_outbox(small)] == ["id:anna", "id:berta", "id:carla"]
    assert small.send().receipts == 3


def test_partial_success_counts_and_names_nobody(small: SmallDepartment, received: Received) -> None:
    body = traces(a_span("anna", 1), a_span("Berta B", 2), a_span("carla", 3, activity="9"))
    answer = ExportTraceServiceResponse.FromString(received.post(body, PROTOBUF).content)
    assert answer.partial_success.rejected_spans == 2
    assert "Berta" not in answer.partial_success.error_message and "carla" not in str(answer)
    body = json.dumps(json_traces("anna", "Berta B")).encode()
    partial = received.post(body, JSON).json()["partialSuccess"]
    assert partial["rejectedSpans"] == "1" and "Berta" not in partial["errorMessage"]
    assert [claims["subject"] for claims in claims_in_outbox(small)] == ["id:anna"]
    assert not [line for line in received.said if "Berta" in line or "carla" in line]


def test_spans_about_nobody_are_accepted(small: SmallDepartment, received: Received) -> None:
    plain = Span(trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=START)
    assert received.post(traces(plain), PROTOBUF).content == b""
    assert received.post(b"", PROTOBUF).status_code == 200
    assert received.post(b"{}", JSON).json() == {}
    assert received.post(b'{"resourceSpans":[{"resource":{}}],"new":1}', JSON).json() == {}
    assert claims_in_outbox(small) == []


def test_the_same_log_record_twice_in_a_batch_is_two_and_sent_again_is_none(
    small: SmallDepartment, received: Received
) -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for _ in range(2):
        record = records.add(time_unix_nano=START)
        record.attributes.add(key="person").value.string_value = "anna"
    for _ in range(2):
        body = gzip.compress(request.SerializeToString())
        answer = received.post(body, PROTOBUF | {"Content-Encoding": "gzip"}, "/v1/logs")
        assert answer.status_code == 200
    assert len(claims_in_outbox(small)) == 2


BROKEN: dict[str, tuple[bytes, dict[str, str], int]] = {
    "no protobuf": (b"\xff\xff\xff", PROTOBUF, 400),
    "protobuf cut off": (traces(a_span())[:-3], PROTOBUF, 400),
    "no JSON": (b"{", JSON, 400),
    "an array": (b"[]", JSON, 400),
    "a member twice": (b'{"resourceSpans":[],"resourceSpans":[]}', JSON, 400),
    "deep JSON": (b"[" * 100_000, JSON, 400),
    "spans that are no list": (b'{"resourceSpans":[{"scopeSpans":{"spans":1}}]}', JSON, 400),
    "a scope that is no object": (b'{"resourceSpans":[{"scopeSpans":[3]}]}', JSON, 400),
    "resources that are no list": (b'{"resourceSpans":{}}', JSON, 400),
    "no gzip": (b"plain", PROTOBUF | {"Content-Encoding": "gzip"}, 400),
    "gzip cut off": (gzip.compress(traces(a_span()))[:-9], PROTOBUF | {"Content-Encoding": "gzip"}, 400),
    "gzip of many members": (gzip.compress(b"") * 1000, PROTOBUF | {"Content-Encoding": "gzip"}, 400),
    "a bomb": (gzip.compress(bytes(17 << 20)), JSON | {"Content-Encoding": "gzip"}, 413),
    "too long": (bytes((16 << 20) + 1), PROTOBUF, 413),
    "gzip in large letters, and none": (b"x", PROTOBUF | {"Content-Encoding": "GZIP"}, 400),
    "another coding": (b"", PROTOBUF | {"Content-Encoding": "zstd"}, 415),
    "text": (b"", {"Content-Type": "text/plain"}, 415),
    "no type": (b"", {}, 415),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_refused_as_otlp_refuses(
    small: SmallDepartment, received: Received, name: str
) -> None:
    body, headers, status = BROKEN[name]
    answer = received.post(body, headers)
    assert answer.status_code == status
    if headers.get("Content-Type") == PROTOBUF["Content-Type"]:
        assert answer.headers["content-type"] == PROTOBUF["Content-Type"]
        assert Status.FromString(answer.content).message
    else:
        assert answer.json()["code"] == 3
        assert answer.json()["message"] and not answer.json()["message"].startswith(":")
    assert claims_in_outbox(small) == []


def test_a_span_that_is_broken_costs_itself_alone(small: SmallDepartment, received: Received) -> None:
    deep = a_span("berta", 2)
    value = AnyValue(string_value="x")
    for _ in range(40):
        outer = AnyValue()
        outer.array_value.values.append(value)
        value = outer
    deep.attributes.add(key="deep").value.CopyFrom(value)
    twice = a_span("carla", 3)
    twice.attributes.add(key="person").value.string_value = "dora"
    answer = received.post(traces(a_span("anna", 1), deep, twice), PROTOBUF)
    assert ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans == 2
    broken = json_traces("emma", "frida")
    spans = broken["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans[0]["attributes"] = 5
    spans[1] |= {"spanId": "00000000000000aa"}
    assert received.post(json.dumps(broken).encode(), JSON).json()["partialSuccess"]["rejectedSpans"] == "1"
    assert [claims["subject"] for claims in claims_in_outbox(small)] == ["id:anna", "id:frida"]


def test_other_paths_and_methods_are_refused(received: Received) -> None:
    assert received.post(b"", PROTOBUF, "/v1/metrics").status_code == 404
    assert received.post(b"", PROTOBUF, "/").status_code == 404
    answer = received.http.get("/v1/traces")
    assert answer.status_code == 405 and answer.headers["allow"] == "POST"
    assert received.http.options("/v1/traces").status_code == 405


def test_without_the_token_nothing_is_taken(small: SmallDepartment) -> None:
    token = small.home_folder / "otlp.token"
    token.write_text("a-token-of-some-length\n")
    os.chmod(token, 0o600)
    with Received(small, 'token = "otlp.token"\n', "0.0.0.0:0") as received:
        for shown in (
            {},
            {"Authorization": "Bearer a-token"},
            {"Authorization": "Basic a-token-of-some-length"},
        ):
            answer = received.post(traces(a_span()), PROTOBUF | shown)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert claims_in_outbox(small) == []
        good = {"Authorization": "Bearer a-token-of-some-length"}
        assert received.post(traces(a_span()), PROTOBUF | good).status_code == 200
    assert len(claims_in_outbox(small)) == 1


def test_unpacking_stops_at_the_limit() -> None:
    assert requests.unpack(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    with pytest.raises(requests.TooLarge):
        requests.unpack(gzip.compress(bytes(requests.LIMIT + 1)))
    assert len(requests.unpack(gzip.compress(bytes(requests.LIMIT)))) == requests.LIMIT
