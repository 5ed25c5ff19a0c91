"""What any sender may put on the wire, and what the receiver answers: over real sockets."""

import gzip
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status
from logfactory import ACTIVITIES
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlpagent import MAP, START, configure, free_port
from outboxclaims import claims_in_outbox
from smalldepartment import SmallDepartment

from ledger.core.errors import GlassbookError
from ledger.department import recording
from ledger.department.otlp import app, requests
from ledger.department.otlp.receiver import Receiver
from ledger.department.recording import Desk

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


class Received:
    """A receiver in this process, and what it said."""

    def __init__(self, small: SmallDepartment, more: str = "", listen: str = "127.0.0.1:0") -> None:
        configure(small, more, listen)
        self.said: list[str] = []
        self._home = small.home()
        assert self._home.settings.otlp is not None
        registration = self._home.registration(small.now, self.said.append)
        self._receiver = Receiver(self._home, self._home.settings.otlp, registration, self.said.append)

    def __enter__(self) -> "Received":
        self._receiver.__enter__()
        self.http = httpx.Client(base_url=self._receiver.address, timeout=30)
        return self

    def __exit__(self, *_: Any) -> None:
        self.http.close()
        self._receiver.__exit__(None, None, None)
        self._home.close()

    def post(self, body: bytes, headers: dict[str, str], path: str = "/v1/traces") -> httpx.Response:
        return self.http.post(path, content=body, headers=headers)


@pytest.fixture
def received(small: SmallDepartment) -> Iterator[Received]:
    with Received(small) as received:
        yield received


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


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ('listen = "0.0.0.0:4318"\nmap = "otlp.toml"', "token"),
        ('listen = "[::]:4318"\nmap = "otlp.toml"', "token"),
        ('listen = "4318"\nmap = "otlp.toml"', "HOST:PORT"),
        ('listen = "127.0.0.1:99999"\nmap = "otlp.toml"', "HOST:PORT"),
        ('listen = "127.0.0.1:4318"', "otlp.map"),
        ('listen = "127.0.0.1:4318"\nmap = "otlp.toml"\ncolour = 1', "otlp.colour"),
    ],
)
def test_settings_that_would_not_do_are_refused_by_name(
    small: SmallDepartment, settings: str, what: str
) -> None:
    with (small.home_folder / "department.toml").open("a") as file:
        file.write(f"[otlp]\n{settings}\n")
    with pytest.raises(GlassbookError, match=what):
        small.home()


def test_a_mapping_that_does_not_fit_the_register_is_refused_before_anything_is_received(
    small: SmallDepartment,
) -> None:
    configure(small, listen="127.0.0.1:0")
    (small.home_folder / "otlp.toml").write_text(MAP.replace("default = 1", "default = 44"))
    with small.home() as home:
        assert home.settings.otlp is not None
        with pytest.raises(GlassbookError, match="44 is not registered"):
            Receiver(home, home.settings.otlp, home.registration(small.now, print), print)


def test_an_address_that_is_taken_is_said(small: SmallDepartment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        received = Received(small, listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(GlassbookError, match="cannot listen there"):
            received.__enter__()


def test_a_busy_outbox_asks_the_sender_to_come_again(small: SmallDepartment, received: Received) -> None:
    outbox = sqlite3.connect(small.home_folder / "outbox.sqlite", isolation_level=None)
    outbox.execute("BEGIN IMMEDIATE")
    received._receiver._recording.run(
        lambda desk: desk.outbox._db.execute("PRAGMA busy_timeout=200")
    ).result()
    answer = received.post(traces(a_span()), PROTOBUF)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "10"
    assert Status.FromString(answer.content).code == 14
    outbox.execute("ROLLBACK")
    outbox.close()
    assert received.post(traces(a_span()), PROTOBUF).status_code == 200
    assert len(claims_in_outbox(small)) == 1
    assert [line for line in received.said if "another program holds the outbox" in line]


def test_too_much_at_once_is_told_to_wait(
    small: SmallDepartment, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "AT_ONCE", 0)
    answer = received.post(traces(a_span()), PROTOBUF)
    assert answer.status_code == 429 and answer.headers["retry-after"] == "2"
    monkeypatch.undo()
    assert received.post(traces(a_span()), PROTOBUF).status_code == 200


def test_a_queue_that_is_full_tells_the_sender_to_wait(
    small: SmallDepartment, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "WAITING", 2)
    entered, gate = threading.Event(), threading.Event()

    def block(_: Desk) -> bool:
        entered.set()
        return gate.wait(20)

    held = received._receiver._recording.run(block)
    assert entered.wait(20)
    answers: list[int] = []
    first = threading.Thread(
        target=lambda: answers.append(received.post(traces(a_span(number=1)), PROTOBUF).status_code)
    )
    first.start()
    while not received._receiver._recording._waiting:
        time.sleep(0.01)
    answer = received.post(traces(a_span(number=2), a_span(number=3)), PROTOBUF)
    assert answer.status_code == 429 and Status.FromString(answer.content).code == 8
    gate.set()
    first.join()
    assert held.result()
    assert answers == [200] and len(claims_in_outbox(small)) == 1


def test_a_body_that_does_not_come_to_its_end_is_given_up(
    received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "READ_S", 0.2)
    host, port = received._receiver.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )
        assert b"408" in slow.recv(1000)


def test_many_senders_at_once_lose_and_double_nothing(small: SmallDepartment, received: Received) -> None:
    def send(number: int) -> None:
        for i in range(10):
            body = traces(a_span(f"p{i}", number * 100 + i), a_span("anna", number * 100 + 50 + i))
            assert received.post(body, PROTOBUF).status_code == 200

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    claims = claims_in_outbox(small)
    assert len(claims) == 120 and len({c["event"]["trace_id"] for c in claims}) == 120


def test_connections_that_say_nothing_do_not_pile_up(small: SmallDepartment, received: Received) -> None:
    host, port = received._receiver.address.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(256)]
    assert received.post(traces(a_span()), PROTOBUF).status_code == 503
    for connection in idle:
        connection.close()
    deadline = time.monotonic() + 20
    while received.post(traces(a_span()), PROTOBUF).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(claims_in_outbox(small)) == 1


def test_unpacking_stops_at_the_limit() -> None:
    assert requests.unpack(gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    with pytest.raises(requests.TooLarge):
        requests.unpack(gzip.compress(bytes(requests.LIMIT + 1)))
    assert len(requests.unpack(gzip.compress(bytes(requests.LIMIT)))) == requests.LIMIT


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("[vrf]", "[vrf"),
        ("[vrf]", "colour = 3\n[vrf]"),
        ("keys/vrf-2026.key", "keys/nowhere.key"),
        ('listen = "', 'listen = "x'),
    ],
)
def test_settings_saved_with_an_error_stop_what_is_received(
    small: SmallDepartment, received: Received, monkeypatch: pytest.MonkeyPatch, was: str, becomes: str
) -> None:
    path = small.home_folder / "department.toml"
    good = path.read_text()
    assert received.post(traces(a_span(number=1)), PROTOBUF).status_code == 200
    path.write_text(good.replace(was, becomes))
    for number in (2, 3):
        assert received.post(traces(a_span(number=number)), PROTOBUF).status_code == 200
    said = [line for line in received.said if "with the settings of before" in line]
    assert len(said) == 1 and str(small.home_folder) in said[0]
    path.write_text(good)
    monkeypatch.setattr(recording, "LOOK_AGAIN_S", 0.0)
    received._receiver._recording.run(lambda desk: setattr(desk, "_look_again", 0.0)).result()
    assert received.post(traces(a_span(number=4)), PROTOBUF).status_code == 200
    assert received.said[-1] == "department.toml is in order again, and used from now on."
    assert len(claims_in_outbox(small)) == 4


def test_a_registration_that_comes_while_the_settings_are_wrong_is_not_followed(
    small: SmallDepartment, received: Received
) -> None:
    path = small.home_folder / "department.toml"
    good = path.read_text()
    path.write_text(good + "wrong")
    activities = dict.fromkeys(["1", "2"], ACTIVITIES["1"])
    small.log.change_source(small.source, activities=activities)
    small.ledger.publish()
    received._home.registration(small.now, received.said.append)  # as the running agent does
    assert received.post(traces(a_span(activity="2")), PROTOBUF).content == b""
    path.write_text(good)
    assert [claims["purpose"]["activity"] for claims in claims_in_outbox(small)] == [2]


def _end_serving(received: Received) -> None:
    received._receiver._server.should_exit = True
    received._receiver._thread.join()


def _end_recording(received: Received) -> None:
    def end(_: Desk) -> None:
        raise SystemExit

    with pytest.raises(GlassbookError, match="has ended"):
        received._receiver._recording.run(end).result(20)
    received._receiver._recording._thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("end", [_end_serving, _end_recording])
def test_a_thread_that_ends_leaves_an_agent_that_receives_nothing(
    small: SmallDepartment, end: Callable[[Received], None]
) -> None:
    with Received(small, listen=f"127.0.0.1:{free_port()}") as received:
        assert received.post(traces(a_span(number=1)), PROTOBUF).status_code == 200
        received._receiver.stay()
        assert not any("by a fault" in line for line in received.said)
        end(received)
        received._receiver.stay()
        assert sum("by a fault" in line for line in received.said) == 1
        assert received.post(traces(a_span(number=2)), PROTOBUF).status_code == 200
        assert len(claims_in_outbox(small)) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_recording_thread_that_ends_leaves_senders_waiting(received: Received) -> None:
    _end_recording(received)
    assert received.post(traces(a_span()), PROTOBUF).status_code == 503


def test_the_outbox_stays_private(small: SmallDepartment, received: Received) -> None:
    assert received.post(traces(a_span()), PROTOBUF).status_code == 200
    assert Path(small.home_folder / "outbox.sqlite").stat().st_mode & 0o777 == 0o600
