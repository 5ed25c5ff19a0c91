"""An auditor on a real socket: behind and catching up, many requests at once, slow logs, and being stopped."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import uvicorn
from auditedlog import AuditedLog, WitnessProcess, make_auditor, tell
from logserver import Handler, LogServer

from ledger.slowclients import bounded_protocol
from verifier_cli.auditfile import AuditFile
from verifier_cli.witness import AUDIT_SECONDS, witness_app
from verifier_cli.witnessfile import WitnessFile
from verifier_cli.witnesswords import status_words


@pytest.fixture
def log(tmp_path: Path) -> AuditedLog:
    return AuditedLog(tmp_path / "public")


@pytest.fixture
def path(tmp_path: Path, log: AuditedLog) -> Path:
    path = tmp_path / "w.sqlite"
    make_auditor(path, log).close()
    return path


def audited(path: Path, log: AuditedLog) -> int:
    file = WitnessFile(path)
    saved = AuditFile(file.open_again())
    try:
        return saved.size(log.origin)
    finally:
        saved.close()
        file.close()


def test_a_step_of_some_thousand_entries_is_cosigned_in_the_same_answer(path: Path, log: AuditedLog) -> None:
    with WitnessProcess(path) as witness:
        assert witness.post(log.body(0)).status_code == 200
        old = log.size
        log.grow(2_000)
        assert witness.post(log.body(old)).status_code == 200
        assert witness.end() == 0


@pytest.fixture
def slow(tmp_path: Path, log: AuditedLog) -> Iterator[tuple[LogServer, threading.Event]]:
    """The log over HTTP; its first bundle does not come before the event is set."""
    go = threading.Event()
    with LogServer(log.factory) as server:

        def wait(handler: Handler) -> None:
            go.wait(60)
            handler.send(server.files[handler.path.lstrip("/")])

        bundle = next(name for name in server.files if "entries" in name)
        server.wrong[bundle] = wait
        yield server, go
        go.set()


@pytest.fixture
def slow_path(tmp_path: Path, log: AuditedLog, slow: tuple[LogServer, threading.Event]) -> Path:
    path = tmp_path / "slow.sqlite"
    make_auditor(path, log, place=slow[0].url).close()
    return path


def test_an_auditor_that_is_behind_says_when_to_come_again_and_goes_on(
    slow_path: Path, log: AuditedLog, slow: tuple[LogServer, threading.Event]
) -> None:
    with WitnessProcess(slow_path) as witness:
        began = time.monotonic()
        answer = witness.post(log.body(0))
        assert answer.status_code == 503 and 1 <= int(answer.headers["Retry-After"]) <= 30
        assert AUDIT_SECONDS <= time.monotonic() - began < AUDIT_SECONDS + 3
        slow[1].set()
        until = time.monotonic() + 20
        while audited(slow_path, log) < log.size:  # nobody asks meanwhile
            assert time.monotonic() < until
            time.sleep(0.05)
        assert witness.post(log.body(0)).status_code == 200


def test_an_auditor_killed_while_behind_goes_on_before_anybody_asks_again(
    slow_path: Path, log: AuditedLog, slow: tuple[LogServer, threading.Event]
) -> None:
    with WitnessProcess(slow_path) as witness:
        assert witness.post(log.body(0)).status_code == 503
        witness.end(signal.SIGKILL)
    file = WitnessFile(slow_path)
    assert f"behind by {log.size} entries of the {log.size} asked for" in "\n".join(status_words(file))
    file.close()
    slow[1].set()
    with WitnessProcess(slow_path):
        until = time.monotonic() + 20
        while audited(slow_path, log) < log.size:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_fork_that_grew_beyond_what_was_cosigned_is_an_alarm(
    path: Path, log: AuditedLog, tmp_path: Path
) -> None:
    other = AuditedLog(tmp_path / "other")  # other entries under the same keys
    other.grow(5)
    file = WitnessFile(path)
    with WitnessProcess(path) as witness:
        assert witness.post(log.body(0)).status_code == 200
        old = log.size
        file.set_places(log.origin, [str(other.folder)])
        assert witness.post(other.body(old)).status_code == 422
        until = time.monotonic() + 10
        while not (alarms := file.alarms(log.origin)):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert [alarm.kind for alarm in alarms] == ["fork"]
        assert alarms[0].evidence is not None and Path(alarms[0].evidence).is_file()
        file.set_places(log.origin, [str(log.folder)])
        log.grow()
        assert witness.post(log.body(old)).status_code == 200
    file.close()


def test_a_wrong_proof_for_what_the_log_signed_is_no_alarm(path: Path, log: AuditedLog) -> None:
    file = WitnessFile(path)
    with WitnessProcess(path) as witness:
        assert witness.post(log.body(0)).status_code == 200
        old = log.size
        log.grow()
        body = log.body(old)
        assert witness.post(f"old {old}\n\n".encode() + body.split(b"\n\n", 1)[1]).status_code == 422
        until = time.monotonic() + 10
        while audited(path, log) < log.size:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert (file.seen(log.origin).size, file.alarms()) == (old, [])
        assert witness.post(body).status_code == 200
    file.close()


def test_waiting_requests_of_one_log_hold_up_no_other_and_are_not_too_many(
    slow_path: Path, tmp_path: Path, log: AuditedLog, slow: tuple[LogServer, threading.Event]
) -> None:
    other = AuditedLog(tmp_path / "other")
    other.factory = type(other.factory)("other.example.gov/test/2026")
    other.source = other.factory.add_source()
    other.grow(2)
    file = WitnessFile(slow_path)
    tell(file, other)
    file.close()
    body = log.body(0)
    with WitnessProcess(slow_path) as witness, ThreadPoolExecutor(24) as pool:
        asked = [pool.submit(witness.post, body) for _ in range(24)]
        time.sleep(0.5)
        began = time.monotonic()
        assert witness.post(other.body(0)).status_code == 200
        assert time.monotonic() - began < 2
        answers = [one.result() for one in asked]
        assert {answer.status_code for answer in answers} == {429, 503}
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
        slow[1].set()


def test_many_requests_for_one_checkpoint_are_all_cosigned_alike(path: Path, log: AuditedLog) -> None:
    body = log.body(0)
    with WitnessProcess(path) as witness, ThreadPoolExecutor(8) as pool:
        answers = [one.result() for one in [pool.submit(witness.post, body) for _ in range(8)]]
        assert {answer.status_code for answer in answers} <= {200, 409}
        assert any(answer.status_code == 200 for answer in answers)
        for answer in answers:
            if answer.status_code == 409:
                assert answer.text == f"{log.size}\n"


def test_a_log_that_hangs_does_not_keep_the_witness_from_ending(slow_path: Path, log: AuditedLog) -> None:
    with WitnessProcess(slow_path) as witness:
        waiting = threading.Thread(target=lambda: _ignored(witness, log.body(0)))
        waiting.start()
        time.sleep(0.5)
        began = time.monotonic()
        assert witness.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 12
        waiting.join()
    assert audited(slow_path, log) == 0


def _ignored(witness: WitnessProcess, body: bytes) -> None:
    try:
        witness.post(body)
    except httpx.HTTPError:
        pass


def test_being_stopped_in_a_long_audit_saves_what_was_done_and_it_goes_on_from_there(
    path: Path, log: AuditedLog
) -> None:
    log.grow_quickly(24_000)  # more than is checked without processes of its own
    with WitnessProcess(path) as witness:
        assert witness.post(log.body(0), timeout=60).status_code in (200, 503)
        began = time.monotonic()
        assert witness.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 12
    done = audited(path, log)
    assert 0 < done <= log.size
    with WitnessProcess(path) as witness:
        until = time.monotonic() + 60
        while (answer := witness.post(log.body(0))).status_code == 503:
            assert time.monotonic() < until, answer.text
            assert audited(path, log) >= done
        assert answer.status_code == 200 or answer.text == f"{log.size}\n"
        assert audited(path, log) == log.size


def test_a_second_process_on_one_file_says_so(path: Path, log: AuditedLog) -> None:
    with WitnessProcess(path), pytest.raises(RuntimeError, match="serves this witness already"):
        WitnessProcess(path)


def test_a_log_added_while_it_serves_is_served(tmp_path: Path, log: AuditedLog) -> None:
    file = WitnessFile.create(tmp_path / "w.sqlite", "a.example/1", auditor=True)
    with WitnessProcess(file.path) as witness:
        assert witness.post(log.body(0)).status_code == 404
        tell(file, log)
        assert witness.post(log.body(0)).status_code == 200
    file.close()


def test_a_file_moved_while_it_serves_is_noticed(path: Path, log: AuditedLog) -> None:
    with WitnessProcess(path) as witness:
        assert witness.post(log.body(0)).status_code == 200
        path.rename(path.with_name("elsewhere.sqlite"))
        old = log.size
        log.grow(1)
        assert witness.post(log.body(old)).status_code == 503
        path.with_name("elsewhere.sqlite").rename(path)
        assert witness.post(log.body(old)).status_code == 200


def test_health_says_how_it_stands(path: Path, log: AuditedLog) -> None:
    with WitnessProcess(path) as witness:
        assert witness.post(log.body(0)).status_code == 200
        answer = httpx.get(f"{witness.url}/healthz", trust_env=False)
        assert answer.status_code == 200 and f"size {log.size}" in answer.text


def test_alarms_are_posted_to_a_webhook_and_so_is_their_end(path: Path, log: AuditedLog) -> None:
    told: list[dict[str, object]] = []
    here = threading.Event()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            if told[-1]["ended"]:
                here.set()

        def log_message(self, format: str, *args: object) -> None:
            """Not on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with WitnessProcess(path, "--webhook", f"http://127.0.0.1:{server.server_address[1]}/x") as witness:
            bundle = next((log.folder / "tile" / "entries").rglob(f"{log.size}"))
            bundle.rename(bundle.with_name("away"))
            assert witness.post(log.body(0)).status_code == 503
            bundle.with_name("away").rename(bundle)
            assert witness.post(log.body(0)).status_code == 200
            assert here.wait(10)
        server.shutdown()
    assert [(one["kind"], one["log"], one["ended"]) for one in told] == [
        ("unreadable", log.origin, False),
        ("unreadable", log.origin, True),
    ]


def test_connections_that_never_send_a_request_are_closed(tmp_path: Path, log: AuditedLog) -> None:
    file = make_auditor(tmp_path / "w2.sqlite", log)
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(witness_app(file), http=bounded_protocol(0.4), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    with socket.create_connection(bound.getsockname()[:2], timeout=10) as raw:
        raw.sendall(b"POST /add-checkpoint HTTP/1.1\r\n")
        began = time.monotonic()
        try:
            while time.monotonic() - began < 5:
                raw.sendall(b"X-More: 1\r\n")
                time.sleep(0.1)
        except OSError:
            pass
        assert time.monotonic() - began < 3
    server.should_exit = True
    thread.join(10)
    file.close()
