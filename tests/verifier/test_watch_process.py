"""`watch` as a process of its own against a log that grows: events, webhooks, figures, signals, kills."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hooks import Hook
from logfactory import LogFactory
from logserver import Handler, LogServer
from prometheus_client.parser import text_string_to_metric_families

from ledger.core.encoding import format_date
from ledger.core.keys import Ed25519PrivateKey


@pytest.fixture
def log() -> LogFactory:
    log = LogFactory()
    log.add_source("Tax office", since=format_date(int(time.time()) // 86_400))
    log.access(log.sources[0])
    return log


@pytest.fixture
def server(log: LogFactory, tmp_path: Path) -> Iterator[LogServer]:
    (tmp_path / "policy.txt").write_text(log.policy_text())
    with LogServer(log, int(time.time())) as server:
        yield server


def _grow(log: LogFactory, server: LogServer) -> None:
    log.access(log.sources[0])
    files = log.files(int(time.time()))
    # As a publisher does: all files first, the checkpoint last.
    server.files |= {path: data for path, data in files.items() if path != "checkpoint"}
    server.files["checkpoint"] = server.note = files["checkpoint"]


class Watching:
    """The program, its lines on both streams as they come."""

    def __init__(self, folder: Path, server: LogServer, *more: str) -> None:
        args = [
            sys.executable, "-m", "verifier_cli", "watch", "--policy", "policy.txt", "--log", server.url, "--state",
            "seen", "--audit", "audit.sqlite", "--jobs", "1", "--interval", "0.2", *more,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            args, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self.out = b""
        self.err = b""

    def __enter__(self) -> "Watching":
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.kill()
        self.process.communicate()

    def read(self, seconds: float) -> None:
        assert self.process.stdout is not None and self.process.stderr is not None
        ready, _, _ = select.select([self.process.stdout, self.process.stderr], [], [], seconds)
        for stream in ready:
            data = os.read(stream.fileno(), 65_536)
            if stream is self.process.stdout:
                self.out += data
            else:
                self.err += data

    def until(self, reached: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < end, (self.out, self.err)
            self.read(0.1)
            time.sleep(0.01)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Exit code, and how many seconds it took."""
        begin = time.monotonic()
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        self.out += out
        self.err += err
        assert b"Traceback" not in self.out + self.err
        return self.process.returncode, time.monotonic() - begin


def _wait_for_more(watching: Watching, word: bytes, before: int) -> None:
    watching.until(lambda: watching.out.count(word) > before)


def _figures(watching: Watching) -> dict[tuple[str, str], float]:
    watching.until(lambda: b"figures at " in watching.err)
    found = re.search(rb"figures at (http://127\.0\.0\.1:\d+/metrics)", watching.err)
    assert found is not None
    text = httpx.get(found[1].decode(), timeout=5).text
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_growing_log_is_followed_with_figures_until_it_is_told_to_end(
    tmp_path: Path, log: LogFactory, server: LogServer
) -> None:
    with Watching(tmp_path, server, "--metrics", "127.0.0.1:0") as watching:
        watching.until(lambda: b"watching " in watching.err)
        name = "glassbook_watch"
        for _ in range(4):
            _grow(log, server)
            watching.until(lambda: _figures(watching)[f"{name}_audited_size", ""] == log.size)
        figures = _figures(watching)
        assert figures[f"{name}_log_size", ""] == log.size
        assert figures[f"{name}_violations", ""] == 0 == figures[f"{name}_silent_days", "1"]
        assert abs(figures[f"{name}_newest_timestamp_seconds", ""] - time.time()) < 60
        assert 0 <= figures[f"{name}_witness_age_seconds", "W1"] < 60
        assert {kind for (metric, kind) in figures if metric == f"{name}_alerts_firing"} == {
            "fork", "violation", "copy", "checkpoint", "rollback", "stale", "silent", "witness", "unreachable",
        }  # fmt: skip
        assert figures[f"{name}_rounds_total", "checked"] >= 4
        # The log goes away and comes back.
        server.wrong["checkpoint"] = 404
        watching.until(lambda: (f"{name}_rounds_total", "unreachable") in _figures(watching))
        server.wrong.clear()
        code, seconds = watching.end()
        assert code == 0 and seconds < 15
        assert b"HOLDS: stopped; all is well" in watching.out


def test_a_violation_ends_it_when_asked_and_a_webhook_hears_of_it(
    tmp_path: Path, log: LogFactory, server: LogServer
) -> None:
    with Hook() as hook:
        more = ("--until-violation", "--json", "--webhook", hook.url)
        with Watching(tmp_path, server, *more) as watching:
            watching.until(lambda: (tmp_path / "seen").exists())
            forged = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
            _grow(log, server)
            assert watching.process.wait(30) == 1
            watching.read(1)
        lines = [json.loads(line) for line in watching.out.splitlines()]
        event, last = lines
        assert hook.events == [event]
        assert (event["schema"], event["event"], event["kind"]) == ("glassbook-watch/1", "began", "violation")
        assert event["details"]["index"] == forged and event["size"] == log.size
        assert set(event) == {
            "schema", "event", "alert", "origin", "kind", "key", "counts_as", "message", "since", "raised", "ended",
            "size", "details", "evidence_file", "text",
        }  # fmt: skip
        assert (tmp_path / event["evidence_file"]).exists() and "/" not in event["evidence_file"]
        assert last["schema"] == "glassbook-verify/1" and last["exit"] == 1
        # Begun again, it ends again at once, and tells nobody twice.
        with Watching(tmp_path, server, *more) as watching:
            assert watching.process.wait(30) == 1
        assert len(hook.events) == 1


def test_a_webhook_that_fails_holds_nothing_up_and_hears_everything_later_in_order(
    tmp_path: Path, log: LogFactory, server: LogServer
) -> None:
    old = server.note
    with Hook() as hook:
        hook.status = 500
        with Watching(tmp_path, server, "--webhook", hook.url, "--metrics", "127.0.0.1:0") as watching:
            watching.until(lambda: (tmp_path / "seen").exists())
            for _ in range(2):
                _grow(log, server)
                watching.until(lambda: server.note == (tmp_path / "seen").read_bytes())
                server.wrong["checkpoint"] = old
                began, ended = watching.out.count(b"BEGAN"), watching.out.count(b"ENDED")
                _wait_for_more(watching, b"BEGAN", began)
                server.wrong.clear()
                _wait_for_more(watching, b"ENDED", ended)
            watching.until(lambda: b"webhook at 127.0.0.1 answered 500" in watching.err)
            assert _figures(watching)["glassbook_watch_webhook_failures_total", "127.0.0.1"] >= 1
            assert watching.end()[0] == 0
            assert b"s3cret" not in watching.out + watching.err
        assert hook.events == []
        state = (tmp_path / "seen.watch.json").read_text()
        assert "s3cret" not in state and len(json.loads(state)["waiting"]) == 1
        assert (tmp_path / "seen.watch.json").stat().st_mode & 0o077 == 0
        hook.status = 200
        with Watching(tmp_path, server, "--webhook", hook.url) as watching:
            watching.until(lambda: len(hook.events) == 4)
            assert watching.end()[0] == 0
        assert [event["event"] for event in hook.events] == ["began", "ended"] * 2
        assert json.loads((tmp_path / "seen.watch.json").read_text())["waiting"] == {}


@pytest.mark.parametrize("status", [302, 404])
def test_a_webhook_that_answers_anything_but_success_has_not_taken_the_event(
    tmp_path: Path, log: LogFactory, server: LogServer, status: int
) -> None:
    log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    _grow(log, server)
    with Hook() as hook, Watching(tmp_path, server, "--webhook", hook.url) as watching:
        hook.status = status
        watching.until(lambda: hook.asked > 1)
        hook.status = 200
        watching.until(lambda: len(hook.events) == 1)
        watching.until(lambda: b"takes events again" in watching.err)
        assert watching.end()[0] == 1


def test_a_hanging_webhook_does_not_hold_up_the_end(
    tmp_path: Path, log: LogFactory, server: LogServer
) -> None:
    log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    _grow(log, server)
    with Hook() as hook:
        hook.hang = 60
        with Watching(tmp_path, server, "--webhook", hook.url) as watching:
            watching.until(lambda: hook.asked > 0)
            code, seconds = watching.end(signal.SIGINT)
        assert code == 1 and seconds < 15


def test_a_log_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, log: LogFactory, server: LogServer
) -> None:
    hanging = []

    def hang(handler: Handler) -> None:
        hanging.append(handler)
        time.sleep(60)

    with Watching(tmp_path, server) as watching:
        watching.until(lambda: (tmp_path / "seen").exists())
        server.wrong["checkpoint"] = hang
        watching.until(lambda: bool(hanging))
        code, seconds = watching.end()
        assert code == 0 and seconds < 15


def test_a_watch_killed_anywhere_goes_on_where_it_was(
    tmp_path: Path, log: LogFactory, server: LogServer
) -> None:
    log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    told = 0
    for attempt in range(4):
        _grow(log, server)
        with Watching(tmp_path, server) as watching:
            watching.until(lambda: b"watching " in watching.err)
            end = time.monotonic() + 0.2 * attempt
            while time.monotonic() < end:
                watching.read(0.02)
        told += watching.out.count(b"BEGAN violation")
    with Watching(tmp_path, server) as watching:
        watching.until(lambda: b"watching " in watching.err)
        watching.until(lambda: json.loads(_text(tmp_path / "seen.watch.json"))["told_below"] == log.size)
        assert watching.end()[0] == 1
        told += watching.out.count(b"BEGAN violation")
    assert told >= 1, "a kill between telling and keeping tells it twice, but none loses it"
    args = ["stats", "--policy", "policy.txt", "--log", server.url, "--audit", "audit.sqlite", "--audited"]
    ran = subprocess.run(
        [sys.executable, "-m", "verifier_cli", *args],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1 and "1 violation among them" in ran.stderr


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else '{"told_below": 0}'


def test_figures_without_prometheus_client_say_what_to_install(tmp_path: Path, server: LogServer) -> None:
    code = "import sys\nsys.modules['prometheus_client'] = None\nfrom verifier_cli.cli import main\nmain()\n"
    args = ["watch", "--once", "--policy", "policy.txt", "--log", server.url, "--metrics", "127.0.0.1:0"]
    ran = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2 and "pip install 'glassbook[watch]'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_base_install_watches_and_counts_without_any_extra(tmp_path: Path, server: LogServer) -> None:
    code = (
        "import sys\n"
        "for name in ('prometheus_client', 'starlette', 'uvicorn', 'sqlalchemy', 'msgspec', 'structlog'):\n"
        "    sys.modules[name] = None\n"
        "from verifier_cli.cli import main\n"
        "main()\n"
    )
    for args in (["watch", "--once"], ["stats"]):
        args += ["--policy", "policy.txt", "--log", server.url, "--audit", "audit.sqlite", "--jobs", "1"]
        ran = subprocess.run(
            [sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True, text=True, check=False,
            env=os.environ | {"XDG_DATA_HOME": str(tmp_path)},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
