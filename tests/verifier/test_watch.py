"""`watch --once`: each thing that can begin to be wrong is raised once, kept, and said to have ended."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory, seed
from logserver import LogServer
from ran import Run

from ledger.core.encoding import format_date
from ledger.core.entries import IndexRoot
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import CosignatureSigner, MLDSASigner
from verifier_cli import commandline

TODAY = NOW // 86_400
W2 = CosignatureSigner("witness.example/w2", Ed25519PrivateKey.from_seed(seed("w2")))


class Clock:
    now = NOW


@pytest.fixture
def clock(run: Run, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(commandline, "clock", lambda: clock.now)
    return clock


@pytest.fixture
def log() -> LogFactory:
    """A source that owes coverage since yesterday, so that none is missing."""
    log = LogFactory(merge_delay_s=3600)
    health = log.add_source(since=format_date(TODAY - 1))
    for number in range(300):
        log.access(health, day=DAY + number % 3)
        if number % 100 == 99:
            log.seal_batch()
    return log


@pytest.fixture
def server(log: LogFactory, files: Path) -> Iterator[LogServer]:
    with LogServer(log) as server:
        yield server


@pytest.fixture
def look(run: Run, clock: Clock, server: LogServer, files: Path) -> Any:
    """One look of the watch; its JSON, with the exit code in `exit`."""

    def look(*more: object) -> Any:
        ran = run(
            "watch", "--once", "--policy", "policy.txt", "--log", server.url, "--state", "kept/seen",
            "--audit", "kept/audit.sqlite", "--jobs", "1", "--json", *more,
        )  # fmt: skip
        found = ran.json
        assert found["exit"] == ran.exit
        return found

    return look


def _kinds(found: Any) -> list[str]:
    return [alert["kind"] for alert in found["result"]["alerts"]]


def _grow(log: LogFactory, server: LogServer, count: int = 1, at: int = NOW) -> None:
    for _ in range(count):
        log.access(log.sources[0])
    server.files |= log.files(at)
    server.note = server.files["checkpoint"]


def test_a_log_that_is_well_is_audited_once_and_then_only_what_is_new(
    look: Any, log: LogFactory, server: LogServer
) -> None:
    first = look()
    assert (first["exit"], first["verdict"], _kinds(first)) == (0, "holds", [])
    assert set(first["result"]) == {"size", "audited", "newest_witness_timestamp", "violations", "alerts"}
    assert first["result"]["audited"] == first["result"]["size"] == log.size
    server.request_lines.clear()
    assert look()["exit"] == 0
    assert not [line for line in server.request_lines if "entries" in line], "nothing was new"
    _grow(log, server, 5)
    server.request_lines.clear()
    assert look()["result"]["audited"] == log.size
    assert not [line for line in server.request_lines if "entries/000 " in line], (
        "a full bundle was read again"
    )


def test_a_fork_is_raised_once_with_evidence_that_a_third_party_can_check(
    look: Any, run: Run, log: LogFactory, server: LogServer
) -> None:
    assert look()["exit"] == 0
    seen = Path("kept/seen").read_bytes()
    other = LogFactory(merge_delay_s=3600)
    other.add_source("Another story", since=format_date(TODAY - 1))
    while other.size < log.size + 7:
        other.access(other.sources[0])
    true, server.files = server.files, other.files()
    found = look()
    assert found["exit"] == 1 and _kinds(found) == ["fork"]
    assert Path("kept/seen").read_bytes() == seen
    judged = run("consistency", "--policy", "policy.txt", "--evidence", found["evidence_file"])
    assert judged.exit == 1 and "the log has forked" in judged.err
    again = look()
    assert again["exit"] == 1 and again["result"]["alerts"] == found["result"]["alerts"], "raised twice"
    assert len(list(Path().glob("refuted-watch-*"))) == 1
    server.files = true
    back = look()
    assert back["exit"] == 1 and _kinds(back) == ["fork"], "what was signed stays signed"


def test_a_fork_under_the_logs_key_alone_is_raised_although_no_witness_signed_it(
    look: Any, log: LogFactory, server: LogServer
) -> None:
    assert look()["exit"] == 0
    note = log.sign(log.size, bytes(32)).decode()
    server.wrong["checkpoint"] = "\n".join(
        line for line in note.split("\n") if "witness." not in line
    ).encode()
    assert _kinds(look()) == ["fork"]


def test_a_rollback_is_raised_and_has_ended_when_the_log_is_back(
    look: Any, log: LogFactory, server: LogServer
) -> None:
    old = server.note
    _grow(log, server)
    assert look()["exit"] == 0
    server.wrong["checkpoint"] = old
    found = look()
    assert found["exit"] == 1 and _kinds(found) == ["rollback"]
    kept = json.loads(Path(found["evidence_file"]).read_text())["evidence"]
    assert kept["note"] == old.decode() and kept["seen"] == server.note.decode()
    server.wrong.clear()
    assert _kinds(look()) == []


def test_a_checkpoint_without_quorum_is_raised_and_not_remembered(
    look: Any, log: LogFactory, server: LogServer
) -> None:
    assert look()["exit"] == 0
    seen = Path("kept/seen").read_bytes()
    _grow(log, server)
    lines = server.note.decode().split("\n")
    server.wrong["checkpoint"] = "\n".join(line for line in lines if "witness." not in line).encode()
    found = look()
    assert found["exit"] == 1 and _kinds(found) == ["checkpoint"]
    assert Path("kept/seen").read_bytes() == seen
    server.wrong.clear()
    assert look()["exit"] == 0


def test_staleness_beyond_the_promised_delay_is_raised_and_names_the_clock(
    look: Any, clock: Clock, log: LogFactory, server: LogServer
) -> None:
    assert look()["exit"] == 0
    clock.now = NOW + 3600
    assert look()["exit"] == 0
    clock.now += 1
    found = look()
    assert (found["exit"], found["verdict"], _kinds(found)) == (3, "not complete", ["stale"])
    (alert,) = found["result"]["alerts"]
    assert set(alert) == {"kind", "key", "message", "since", "raised", "details", "evidence_file"}
    assert "at most 1 hour was promised" in alert["message"] and "clock" in alert["message"]
    assert alert["since"] == NOW + 3600
    assert look("--stale", 7200)["exit"] == 0
    # Also while the log does not answer at all.
    server.wrong["checkpoint"] = 404
    assert _kinds(look()) == ["stale"]
    server.wrong.clear()
    _grow(log, server, 1, clock.now)
    assert look()["exit"] == 0


def test_an_index_root_that_is_wrong_is_raised_with_evidence_and_stays(
    look: Any, run: Run, log: LogFactory, server: LogServer
) -> None:
    assert look()["exit"] == 0
    covers = log.size
    log.append(IndexRoot(covers, log._frontier.root(), bytes(32), log._index.labels).encode())
    _grow(log, server)
    found = look()
    assert found["exit"] == 1 and _kinds(found) == ["violation"]
    (alert,) = found["result"]["alerts"]
    assert alert["details"]["violation"] == "index-root" and alert["details"]["index"] == covers
    assert Path(alert["evidence_file"]).exists()
    judged = run("violation", alert["evidence_file"], "--policy", "policy.txt")
    assert judged.exit in (1, 3), judged.err
    _grow(log, server)
    again = look()
    assert again["result"]["alerts"] == found["result"]["alerts"], "raised twice, or forgotten"
    assert again["result"]["audited"] == log.size, "a violation stops no audit"


def test_later_violations_are_raised_apart_and_those_another_audit_found_too(
    look: Any, run: Run, log: LogFactory, server: LogServer
) -> None:
    first = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    _grow(log, server)
    common = ("--policy", "policy.txt", "--log", server.url, "--audit", "kept/audit.sqlite", "--jobs", "1")
    assert run("stats", *common).exit == 1
    found = look()
    assert [alert["key"] for alert in found["result"]["alerts"]] == [f"{first} signature"]
    second = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    _grow(log, server)
    found = look()
    assert [alert["key"] for alert in found["result"]["alerts"]][1:] == [f"{second} signature"]
    assert found["result"]["alerts"][1]["details"]["count"] == 2
    assert found["result"]["violations"] == 3


def test_files_that_are_not_of_the_tree_signed_are_raised_and_nothing_of_them_is_kept(
    look: Any, log: LogFactory, server: LogServer
) -> None:
    bundle = "tile/entries/000"
    true = server.files[bundle]
    server.wrong[bundle] = true[:-1] + bytes((true[-1] ^ 1,))
    found = look()
    assert found["exit"] == 1 and _kinds(found) == ["copy"]
    assert found["evidence_file"]
    server.wrong.clear()
    assert look()["exit"] == 0


def test_a_root_that_the_files_do_not_lead_to_is_raised(
    look: Any, log: LogFactory, server: LogServer
) -> None:
    server.wrong["checkpoint"] = log.sign(log.size, bytes(32))
    found = look()
    assert found["exit"] == 1 and _kinds(found) == ["copy"]


def test_a_silent_source_is_named_with_its_first_day_until_it_covers_again(
    look: Any, clock: Clock, log: LogFactory, server: LogServer
) -> None:
    log.add_source("Tax office", since=format_date(TODAY - 9))
    tax = log.sources[1]
    for day in range(TODAY - 9, TODAY - 4):
        log.coverage(tax, day, 0)
    _grow(log, server)
    assert look("--silent", 4)["exit"] == 0, "three days are usual here"
    found = look()
    assert (found["exit"], found["verdict"], _kinds(found)) == (3, "not complete", ["silent"])
    (alert,) = found["result"]["alerts"]
    assert "Tax office" in alert["message"] and "(source 2)" in alert["message"]
    assert alert["details"]["since_day"] == format_date(TODAY - 4) and alert["details"]["days"] == 3
    assert "(cy)" not in alert["message"]
    # The last day is covered; the two before stay without.
    log.coverage(tax, TODAY - 2, 0)
    _grow(log, server)
    assert look()["exit"] == 0


def test_a_source_that_owes_no_more_is_not_called_silent(
    look: Any, log: LogFactory, server: LogServer
) -> None:
    log.add_source("Closed office", since=format_date(TODAY - 9))
    log.change_source(log.sources[1], status="retired", retired=format_date(TODAY - 6))
    _grow(log, server)
    assert look()["exit"] == 0


@pytest.fixture
def second_witness(log: LogFactory, files: Path) -> None:
    """A policy that names W2 and asks only for W1."""
    text = log.policy_text().replace("group q", f"witness W2 {W2.vkey.text}\ngroup q")
    (files / "policy.txt").write_text(text)


def _by_both(server: LogServer, at: int) -> None:
    text = server.note.decode().partition("\n\n")[0] + "\n"
    server.note = server.files["checkpoint"] = server.note + W2.sign(text, at).text.encode()


def test_a_witness_that_is_gone_is_named_with_the_time_it_was_last_seen(
    second_witness: None, look: Any, clock: Clock, log: LogFactory, server: LogServer
) -> None:
    _by_both(server, NOW - 60)
    assert look()["exit"] == 0
    clock.now = NOW + 600
    _grow(log, server, 1, NOW + 600)
    assert look("--gone", 900)["exit"] == 0
    found = look()
    assert (found["exit"], _kinds(found)) == (3, ["witness"])
    (alert,) = found["result"]["alerts"]
    assert "witness W2 has not cosigned the newest checkpoint" in alert["message"]
    assert alert["since"] == NOW - 60
    _by_both(server, NOW + 620)
    assert look()["exit"] == 0


def test_a_witness_never_seen_or_far_behind_or_ahead_of_time_is_gone(
    second_witness: None, look: Any, clock: Clock, log: LogFactory, server: LogServer
) -> None:
    (alert,) = look()["result"]["alerts"]
    assert "never seen here" in alert["message"]
    _by_both(server, NOW - 4000)
    _grow(log, server)
    _by_both(server, NOW - 4000)
    assert "others on" in _only(look("--state", "other/seen"))["message"]
    _grow(log, server)
    _by_both(server, NOW + 4000)
    assert "clock has not reached" in _only(look("--state", "third/seen"))["message"]


def _only(found: Any) -> Any:
    (alert,) = found["result"]["alerts"]
    return alert


def test_a_log_that_does_not_answer_is_raised_after_a_while_and_could_not_be_checked_at_once(
    look: Any, clock: Clock, log: LogFactory, server: LogServer
) -> None:
    assert look()["exit"] == 0
    for answer in (404, b"no checkpoint"):
        clock.now = NOW
        server.wrong["checkpoint"] = answer
        found = look("--stale", 9999)
        assert (found["exit"], found["verdict"], _kinds(found)) == (3, "not checked", [])
        clock.now += 599
        assert _kinds(look("--stale", 9999)) == []
        clock.now += 1
        found = look("--stale", 9999)
        assert _kinds(found) == ["unreachable"] and found["exit"] == 3
        assert found["result"]["alerts"][0]["since"] == NOW
        server.wrong.clear()
        assert look("--stale", 9999)["exit"] == 0


def test_events_say_in_text_what_begins_and_what_ends(
    run: Run, clock: Clock, log: LogFactory, server: LogServer, files: Path
) -> None:
    args = (
        "watch", "--once", "--policy", "policy.txt", "--log", server.url, "--state", "seen", "--audit", "a",
        "--jobs", "1",
    )  # fmt: skip
    assert "HOLDS: all is well" in run(*args).out
    old = server.note
    _grow(log, server)
    assert run(*args).exit == 0
    server.wrong["checkpoint"] = old
    began = run(*args)
    assert "2026-07-02T13:46:40Z BEGAN rollback: " in began.out and "; evidence: refuted-watch-" in began.out
    assert "REFUTED: 1 alert at size" in began.err
    assert "BEGAN" not in run(*args).out
    server.wrong.clear()
    assert "ENDED rollback: " in run(*args).out


def test_what_cannot_be_kept_or_read_is_said_and_is_no_word_about_the_log(
    run: Run, clock: Clock, server: LogServer, files: Path
) -> None:
    args = ("watch", "--once", "--policy", "policy.txt", "--log", server.url, "--jobs", "1")
    Path("a").write_bytes(b"no database" * 500)
    ran = run(*args, "--state", "seen", "--audit", "a")
    assert ran.exit == 3 and "a: is no file of an audit" in ran.err
    Path("seen").write_bytes(b"x")
    assert run(*args, "--state", "seen", "--audit", "b").exit == 3
    for content in (b"{}", b"[]", b'{"schema": "glassbook-watch-state/1", "origin": "x"}'):
        Path("other.watch.json").write_bytes(content)
        ran = run(*args, "--state", "other", "--audit", "b")
        assert ran.exit == 3 and "other.watch.json" in ran.err and "move it away" in ran.err


@pytest.mark.parametrize(
    "more",
    [
        ["--metrics", "9464"],
        ["--metrics", "127.0.0.1:x"],
        ["--webhook", "ftp://x/"],
        ["--once", "--until-violation"],
        ["--interval", "0"],
    ],
)
def test_a_wrong_wish_is_usage(run: Run, files: Path, more: list[str]) -> None:
    ran = run("watch", "--policy", "policy.txt", "--log", "public", *more)
    assert ran.exit == 2 and "Error" in ran.err


def test_a_violation_is_raised_also_where_a_key_of_the_charter_has_not_signed(
    look: Any, log: LogFactory, server: LogServer, files: Path
) -> None:
    forged = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    # The policy and the checkpoint have another ML-DSA key than the charter.
    log.mldsa_signer = MLDSASigner(log.origin, MLDSA44PrivateKey.from_seed32(seed("another ML-DSA")))
    (files / "policy.txt").write_text(log.policy_text())
    _grow(log, server)
    found = look()
    assert found["exit"] == 1 and _kinds(found) == ["violation", "checkpoint"]
    assert found["result"]["alerts"][0]["details"]["index"] == forged
