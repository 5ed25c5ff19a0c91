"""Each reader of a log against one that misbehaves: the right exit code, evidence where it is refuted, and soon.

What each behaviour comes to for `audit`, `mine` and `consistency`: 0 it does not matter to this reader, 1 refuted,
3 could not be checked. Whatever a log does to a file is the same to every reader that reads the file.
"""

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import logserver
import pytest
import tenacity
from logfactory import DAY, LogFactory
from logserver import LogServer
from ran import Ran, Run

from ledger.client import bounded
from ledger.client.urllog import UrlLog

READERS = ("audit", "mine", "consistency")
Misbehave = Callable[[LogServer], None]


@pytest.fixture
def log() -> LogFactory:
    """300 entries in two bundles; the person's own are in each. Most are coverages, which are quickly made."""
    log = LogFactory()
    health = log.add_source()
    for _ in range(5):
        log.access(health, envelope=False)
    for day in range(DAY - 400, DAY - 115):
        log.coverage(health, day, 0)
    return log


@pytest.fixture
def server(log: LogFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogServer]:
    """The log, remembered as it was before it grew and misbehaved; nobody waits longer than a second for it."""
    monkeypatch.setattr(UrlLog.__init__, "__kwdefaults__", {"answer_seconds": 1.0})
    monkeypatch.setattr(bounded, "_backing_off", tenacity.wait_fixed(0.02))
    monkeypatch.setattr(bounded, "JITTER", 0.02)
    (tmp_path / "policy.txt").write_text(log.policy_text())
    (tmp_path / "me.keys.json").write_bytes(log.keys_file("nhs:9434765919"))
    with LogServer(log) as server:
        (tmp_path / "seen").write_bytes(server.note)
        log.access(log.sources[0])
        server.refresh()
        yield server


def _read(run: Run, reader: str, url: str) -> Ran:
    keys = ["me.keys.json"] if reader == "mine" else []
    jobs = ["--jobs", "1"] if reader == "audit" else []
    common = ("--policy", "policy.txt", "--log", url, "--state", "seen", "--json")
    return run(reader, *keys, *common, *jobs)


def _file(path: str, answer: logserver.Override) -> Misbehave:
    def misbehave(server: LogServer) -> None:
        server.wrong[path] = answer

    return misbehave


def _last(level: str, answer: str) -> Misbehave:
    def misbehave(server: LogServer) -> None:
        path = f"tile/{level}/001.p/{server.log.size - 256}"
        if answer == "cut":
            logserver.truncated(server, path)
        else:
            server.wrong[path] = getattr(logserver, answer)

    return misbehave


BUNDLE = "tile/entries/000"
TABLE: list[tuple[str, tuple[int, int, int], Misbehave]] = [
    ("nothing wrong", (0, 0, 0), lambda server: None),
    ("fork", (1, 1, 1), logserver.fork),
    ("rollback", (1, 1, 1), lambda server: logserver.rollback(server, 200)),
    ("dated a little before", (0, 0, 0), lambda server: logserver.stale(server, 60)),
    ("dated before what was seen", (1, 1, 1), lambda server: logserver.stale(server, 3600)),
    ("wrong root", (1, 1, 1), logserver.wrong_root),
    ("wrong index root", (1, 1, 0), logserver.wrong_index),
    ("false index proofs", (0, 1, 0), _file("index/proofs", lambda handler: _false_proofs(handler))),
    ("index proofs of another form", (0, 3, 0), _file("index/proofs", b"{}")),
    ("unsorted bundle", (1, 1, 0), logserver.unsorted_bundle),
    ("truncated bundle", (1, 1, 0), lambda server: logserver.truncated(server, BUNDLE)),
    # Only the audit reads it: the entries of a whole bundle show their leaf hashes themselves.
    ("truncated tile", (1, 0, 0), lambda server: logserver.truncated(server, "tile/0/000")),
    ("truncated last bundle", (1, 1, 0), _last("entries", "cut")),
    ("truncated last tile", (1, 1, 1), _last("0", "cut")),
    ("gzip bomb as checkpoint", (3, 3, 3), _file("checkpoint", logserver.gzip_bomb)),
    ("gzip bomb as bundle", (3, 3, 0), _file(BUNDLE, logserver.gzip_bomb)),
    ("gzip bomb as tile", (3, 3, 3), _last("0", "gzip_bomb")),
    ("cut gzip", (3, 3, 3), _file("checkpoint", logserver.cut_gzip)),
    ("endless bundle", (3, 3, 0), _file(BUNDLE, logserver.endless)),
    ("slow body", (3, 3, 0), _file(BUNDLE, logserver.slow_body)),
    ("slow checkpoint", (3, 3, 3), _file("checkpoint", logserver.slow_body)),
    ("slow header", (3, 3, 3), _file("checkpoint", logserver.slow_header)),
    ("redirect loop", (3, 3, 3), _file("checkpoint", logserver.redirect_loop)),
    ("redirect loop of a bundle", (3, 3, 0), _file(BUNDLE, logserver.redirect_loop)),
    ("busy, then good", (0, 0, 0), lambda server: _all(server, lambda: logserver.fails_first(2))),
    ("busy for good", (3, 3, 3), _file("checkpoint", 503)),
    ("broken for good", (3, 3, 0), _file(BUNDLE, 500)),
    ("no checkpoint", (3, 3, 3), _file("checkpoint", 404)),
    ("no bundle", (3, 3, 0), _file(BUNDLE, 404)),
    ("wrong content type", (0, 0, 0), lambda server: _all(server, lambda: logserver.wrong_type)),
    ("huge header", (3, 3, 3), _file("checkpoint", logserver.huge_header)),
    ("wrong length", (3, 3, 0), _file(BUNDLE, logserver.wrong_length)),
    ("an empty checkpoint", (3, 3, 3), _file("checkpoint", b"")),
    ("an empty bundle", (1, 1, 0), _file(BUNDLE, b"")),
]


def _all(server: LogServer, answer: Callable[[], logserver.Override]) -> None:
    for path in server.files:
        server.wrong[path] = answer()


def _false_proofs(handler: logserver.Handler) -> None:
    """True answers, each for the label of another question."""
    import json

    from ledger.core.encoding import b64decode

    owner = handler.server.owner
    labels = [b64decode(text, "") for text in json.loads(handler.body)["labels"]]
    answer = owner.log.index_answer([bytes(32), *labels][: len(labels)], owner.note)
    handler.send(json.dumps(answer).encode())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("exits", "misbehave"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_misbehaving_log_is_refuted_or_could_not_be_checked_in_bounded_time_and_memory(
    run: Run, server: LogServer, tmp_path: Path, reader: str, exits: tuple[int, ...], misbehave: Misbehave
) -> None:
    misbehave(server)
    began, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ran = _read(run, reader, server.url)
    assert ran.exit == exits[READERS.index(reader)], ran.json["message"]
    assert time.monotonic() - began < 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 200 << 10, f"{grown >> 10} MiB"
    if ran.exit == 1:
        assert Path(ran.json["evidence_file"]).is_file()
    else:
        assert ran.json["evidence_file"] is None and not list(tmp_path.glob("refuted-*"))


@pytest.mark.parametrize(
    "answer", ["gzip_bomb", "slow_body", "redirect_loop", "huge_header", "wrong_length", "endless"]
)
@pytest.mark.parametrize("reader", READERS)
def test_a_mirror_that_misbehaves_costs_a_question_and_is_named(
    run: Run, server: LogServer, log: LogFactory, tmp_path: Path, reader: str, answer: str
) -> None:
    log.publish(tmp_path / "public")
    for path in server.files:
        if path != "checkpoint":
            server.wrong[path] = getattr(logserver, answer)
    keys = ["me.keys.json"] if reader == "mine" else []
    common = ("--policy", "policy.txt", "--log", server.url, "--log", "public", "--state", "seen", "--json")
    ran = run(reader, *keys, *common)
    assert ran.exit == 0, ran.json["message"]
    assert f"{server.url} is left aside: " in ran.err
