"""How the receiver stands: with settings that are wrong, under too much at once, after a thread of it has ended."""

import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from google.rpc.status_pb2 import Status
from logfactory import ACTIVITIES
from otlpagent import MAP, configure, free_port
from otlpreceiver import PROTOBUF, Received, a_span, traces
from outboxclaims import claims_in_outbox
from smalldepartment import SmallDepartment

from ledger.core.errors import GlassbookError
from ledger.department import recording
from ledger.department.otlp import app
from ledger.department.otlp.receiver import Receiver
from ledger.department.recording import Desk


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
    received.receiver._recording.run(lambda desk: desk.outbox._db.execute("PRAGMA busy_timeout=200")).result()
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

    held = received.receiver._recording.run(block)
    assert entered.wait(20)
    answers: list[int] = []
    first = threading.Thread(
        target=lambda: answers.append(received.post(traces(a_span(number=1)), PROTOBUF).status_code)
    )
    first.start()
    while not received.receiver._recording._waiting:
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
    host, port = received.receiver.address.removeprefix("http://").split(":")
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
    host, port = received.receiver.address.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(256)]
    assert received.post(traces(a_span()), PROTOBUF).status_code == 503
    for connection in idle:
        connection.close()
    deadline = time.monotonic() + 20
    while received.post(traces(a_span()), PROTOBUF).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(claims_in_outbox(small)) == 1


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
    received.receiver._recording.run(lambda desk: setattr(desk, "_look_again", 0.0)).result()
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
    received.home.registration(small.now, received.said.append)  # as the running agent does
    assert received.post(traces(a_span(activity="2")), PROTOBUF).content == b""
    path.write_text(good)
    assert [claims["purpose"]["activity"] for claims in claims_in_outbox(small)] == [2]


def _end_serving(received: Received) -> None:
    received.receiver._server.should_exit = True
    received.receiver._thread.join()


def _end_recording(received: Received) -> None:
    def end(_: Desk) -> None:
        raise SystemExit

    with pytest.raises(GlassbookError, match="has ended"):
        received.receiver._recording.run(end).result(20)
    received.receiver._recording._thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("end", [_end_serving, _end_recording])
def test_a_thread_that_ends_leaves_an_agent_that_receives_nothing(
    small: SmallDepartment, end: Callable[[Received], None]
) -> None:
    with Received(small, listen=f"127.0.0.1:{free_port()}") as received:
        assert received.post(traces(a_span(number=1)), PROTOBUF).status_code == 200
        received.receiver.stay()
        assert not any("by a fault" in line for line in received.said)
        end(received)
        received.receiver.stay()
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
