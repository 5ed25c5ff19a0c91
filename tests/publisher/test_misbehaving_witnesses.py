"""Every way a witness can misbehave, through a whole publisher: what is published, and what the operator is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from badwitness import (
    Answer,
    Behaviour,
    MisbehavingWitness,
    Request,
    answer_with,
    as_log,
    at_date,
    dribble,
    hang_up,
    honest,
    late,
    never,
    refuse,
    say_size,
    stranger,
)
from smalllog import LOG_VKEYS, NOW, ORIGIN, Clock, SmallLog
from starlette.applications import Starlette

from ledger.core.note import SignatureLine, parse_note
from ledger.settings import parse_settings
from ledger.store.log import read_size
from ledger.store.witnesses import read_witnesses
from publisher import addcheckpoint, statuscommand
from publisher.health import health_routes
from publisher.policy import PolicyWitness, format_policy
from publisher.run import Publisher

W1, W2 = "witness.example/w1", "witness.example/w2"
OK = b"HTTP/1.1 200 OK\r\n"
SIZE = {"Content_Type": "text/x.tlog.size"}
OTHER = f"{ORIGIN}\n3\n{'A' * 43}=\n"


def two_lines(first: Request) -> bytes:
    """A good line between a line over something else and a stranger's."""
    return first.cosign(NOW, OTHER) + first.cosign(NOW, None, stranger(W2))


TABLE: dict[str, tuple[Behaviour, str]] = {
    "400": (refuse(400), "cannot read what this publisher sends: answered 400: 'no'"),
    "403": (refuse(403), "give the witness's operator both vkeys of the log: answered 403: 'no'"),
    "404": (refuse(404), "does not know this log, or is not at this address"),
    "409 with a size above the log's": (say_size(1000), "has cosigned this log at size 1000, above 2"),
    "409 with the size it was sent": (refuse(409, b"0\n", **SIZE), "named the very size it was sent, 0"),
    "409 with another size each time": (say_size(1, 2, 1, 0), "named another size each time"),
    "409 with a size that is none": (refuse(409, b"+1\n", **SIZE), "answered 409 without a size"),
    "409 with a huge size": (refuse(409, b"9" * 5000, **SIZE), "answered 409 without a size"),
    "409 without a size": (refuse(409, b"forked"), "has another root at that size than it cosigned"),
    "409 of the wrong type": (refuse(409, b"1\n", Content_Type="text/html"), "another root at that size"),
    "422": (refuse(422, b"leaf 1: index-root"), "can say which rule it breaks: answered 422: 'leaf 1"),
    "429": (refuse(429), "is missing since 2026-09-21 14:13:20 UTC: answered 429"),
    "429 for a second": (refuse(429, Retry_After="1"), "answered 429"),
    "500": (refuse(500, b"out of disk\n"), "answered 500: 'out of disk'"),
    "503 for ever": (refuse(503, Retry_After="never"), "answered 503"),
    "503 until a date": (refuse(503, Retry_After=at_date(1, NOW)), "answered 503"),
    "503 until a date long past": (refuse(503, Retry_After=at_date(-10**6, NOW)), "answered 503"),
    "control characters": (refuse(403, b"\x1b[2J"), "answered 403"),
    "a redirect": (refuse(307, b"", Location="http://127.0.0.1:1/"), "a redirect, which is not followed"),
    "204": (refuse(204, b""), "answered 204"),
    "nothing": (answer_with(lambda _: b""), "something other than signature lines"),
    "garbage": (answer_with(lambda _: b"\xff\xfe\x00" * 50), "something other than signature lines"),
    "a web page": (answer_with(lambda _: b"<html></html>\n"), "something other than signature lines"),
    "junk after a good line": (answer_with(lambda r: r.cosign() + b"junk\n"), "other than signature lines"),
    "101 lines": (answer_with(lambda r: r.cosign() * 101), "other than signature lines"),
    "another key of its name": (answer_with(lambda r: r.cosign(None, None, stranger(W2))), "the key that policy"),
    "another name": (answer_with(lambda r: r.cosign(None, None, stranger(W1))), "no cosignature by the key"),
    "its key used as a log's": (
        answer_with(lambda r: as_log(W2)(r.text).text.encode()),
        "no cosignature by the key that policy.txt names",
    ),
    "its key id over nothing": (
        answer_with(lambda r: SignatureLine(W2, r.witness.vkey.key_id, b"\x01").text.encode()),
        "not by its key on this checkpoint",
    ),
    "another checkpoint": (answer_with(lambda r: r.cosign(NOW, OTHER)), "not by its key on this checkpoint"),
    "several lines, none good": (answer_with(two_lines), "not by its key on this checkpoint"),
    "no timestamp": (answer_with(lambda r: r.cosign(0)), "has no timestamp"),
    "yesterday": (answer_with(lambda r: r.cosign(NOW - 86_400)), "86400 s apart"),
    "tomorrow": (answer_with(lambda r: r.cosign(NOW + 86_400)), "86400 s apart"),
    "the end of time": (answer_with(lambda r: r.cosign(2**63 - 1)), "s apart; look at both"),
    "no answer": (never, "no whole answer at"),
    "too late": (late(1.0), "no whole answer at"),
    "a closed connection": (hang_up, "cannot be reached at"),
    "not HTTP": (dribble([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"]), "cannot be reached at"),
    "endless headers": (dribble([OK, b"X-Slow: 1\r\n"]), "no whole answer at"),
    "an endless slow body": (dribble([OK + b"Content-Length: 9999999\r\n\r\n", b"x"]), "no whole answer at"),
    "an endless fast body": (
        dribble([OK + b"Transfer-Encoding: chunked\r\n\r\n", b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"]),
        "has more than 65536 bytes",
    ),
    "a body cut short": (
        lambda request, answer: Answer(200, answer.body[:-20]),
        "something other than signature lines",
    ),
    "a body shorter than it says": (
        dribble([OK + b"Content-Length: 500\r\nConnection: close\r\n\r\nabc", b""]),
        "no whole answer at",
    ),
}  # fmt: skip


class Two:
    """A log with two witnesses in memory, and policies in which the second is needed or is not."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self.small = SmallLog(home, clock)
        self.first = MisbehavingWitness(W1, clock, 0x40)
        self.second = MisbehavingWitness(W2, clock)

    def write(self, needed: bool, auditor: bool = False) -> None:
        """policy.txt; a file written in place within a clock tick would not be noticed, so it is replaced."""
        named = [
            PolicyWitness("W1", self.first.vkey, self.first.url),
            PolicyWitness("W2", self.second.vkey, self.second.url, auditor),
        ]
        text = format_policy(*LOG_VKEYS, named)
        new = self.small.home / "policy.new"
        new.write_text(text if needed else text.replace("all LOG_MLDSA W1 W2", "all LOG_MLDSA W1"))
        new.replace(self.small.home / "policy.txt")

    @property
    def checkpoint(self) -> Path:
        return self.small.public / "checkpoint"

    def signers(self) -> list[str]:
        """The names on the published checkpoint's lines."""
        return [line.name for line in parse_note(self.checkpoint.read_bytes()).lines]

    def size(self) -> int:
        """The published size."""
        return int(self.checkpoint.read_text().split("\n")[1])

    def until_signed(self, publisher: Publisher, seconds: float = 10) -> None:
        """Rounds until the second witness's line stands below all there is."""
        deadline = time.monotonic() + seconds
        with self.small.store.read() as db:
            size = read_size(db)
        while not self.checkpoint.exists() or W2 not in self.signers() or self.size() < size:
            assert time.monotonic() < deadline, publisher.status
            publisher.round()
            time.sleep(0.02)

    def close(self) -> None:
        self.small.close()
        self.first.close()
        self.second.close()


@pytest.fixture
def two(tmp_path: Path, clock: Clock) -> Iterator[Two]:
    two = Two(tmp_path / "home", clock)
    yield two
    two.close()


@pytest.mark.parametrize("name", TABLE)
def test_nothing_wrong_is_published_and_nobody_else_is_held_up(
    two: Two, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(addcheckpoint, "ANSWER_SECONDS", 0.6)
    two.second.behave, why = TABLE[name]
    two.write(needed=True)
    publisher = two.small.publisher()
    began = time.monotonic()
    assert not publisher.round()
    assert publisher.status.state == "waiting for witnesses" and not two.checkpoint.exists()
    (told,) = publisher.status.reasons
    assert "witness W2" in told and "since 2026-09-21 14:13:20 UTC" in told and why in told
    assert told.isprintable()

    two.write(needed=False)
    assert publisher.round(), "published without the witness that is not needed"
    assert time.monotonic() - began < 3
    assert two.signers() == [ORIGIN, ORIGIN, W1]
    assert publisher.status.state == "publishing" and "witness W2" in publisher.status.reasons[0]
    assert len(two.first.cosigned) <= 2

    two.second.released.set()
    two.second.behave = honest
    two.until_signed(publisher)
    assert two.signers() == [ORIGIN, ORIGIN, W1, W2]
    publisher.round()
    assert publisher.status.reasons == ()


def test_several_lines_of_one_key_become_one_line_the_newest(two: Two) -> None:
    two.second.behave = answer_with(
        lambda r: r.cosign(NOW, OTHER) + r.cosign(NOW - 5) + r.cosign(NOW) + r.cosign(NOW, None, stranger(W1))
    )
    two.write(needed=True)
    assert two.small.publisher().round()
    assert two.signers() == [ORIGIN, ORIGIN, W1, W2]
    assert two.small.policy().open(two.checkpoint.read_bytes(), NOW).oldest == NOW


def test_an_auditor_that_is_behind_is_said_to_be_that_and_asked_for_the_newest(two: Two) -> None:
    two.second.behave = refuse(503, b"audited 1 of 2 entries\n", Retry_After="1")
    two.write(needed=True, auditor=True)
    publisher = two.small.publisher()
    assert not publisher.round()
    (told,) = publisher.status.reasons
    assert told.startswith("auditor W2 is behind since") and "no fault" in told and "audited 1 of 2" in told
    size = two.small.append(20)
    assert not publisher.round(), "it asked for a second"
    assert len(two.second.requests) == 1
    two.second.behave = honest
    two.until_signed(publisher)
    assert [request.size for request in two.second.requests][1:] == [size]


def test_a_witness_named_in_odd_octets_is_described_all_the_same(two: Two) -> None:
    two.second.behave = refuse(500)
    two.write(needed=True)
    path = two.small.home / "policy.txt"
    path.write_bytes(path.read_bytes().replace(b"W2", b"W\xff"))
    publisher = two.small.publisher()
    assert not publisher.round()
    settings = parse_settings(f'origin = "{ORIGIN}"\n'.encode(), two.small.home)
    found = statuscommand.look(settings, two.small.store, two.small.policy())
    "\n".join(statuscommand.words(found, NOW)).encode()
    statuscommand.as_json(found).encode()


def test_a_late_line_gets_into_the_published_checkpoint(two: Two) -> None:
    two.second.behave = late(0.6)
    two.write(needed=False)
    publisher = two.small.publisher()
    assert publisher.round()
    assert two.signers() == [ORIGIN, ORIGIN, W1]
    first = two.checkpoint.read_bytes()
    two.until_signed(publisher)
    assert two.checkpoint.read_bytes().startswith(first), "nothing that stood there is changed"
    assert len(two.second.requests) == len(two.first.requests) == 1
    assert not publisher.round()


def test_the_others_are_waited_for_as_long_as_is_configured(two: Two) -> None:
    two.second.behave = late(0.5)
    two.write(needed=False)
    assert two.small.publisher(witness_wait_s=2.0).round()
    assert two.signers() == [ORIGIN, ORIGIN, W1, W2]


def test_what_is_known_of_a_witness_survives_a_restart(two: Two, clock: Clock) -> None:
    two.write(needed=True)
    publisher = two.small.publisher()
    assert publisher.round()
    two.second.behave = refuse(500, b"out of disk\n")
    two.small.append(3)
    assert not publisher.round()
    publisher.close()
    two.small.reopen()
    clock.now += 3600
    again = two.small.publisher()
    assert not again.round()
    assert "witness W2 is missing since 2026-09-21 14:13:20 UTC" in again.status.reasons[0]
    assert [request.old for request in two.first.requests] == [0, 2, 6], "its size was not asked for again"
    two.second.behave = honest
    two.until_signed(again)
    with two.small.store.read() as db:
        known = read_witnesses(db)
    assert {progress.confirmed for progress in known.values()} == {6}
    assert {progress.standing for progress in known.values()} == {"cosigns"}


def test_a_witness_key_that_is_replaced_is_picked_up_and_the_old_one_forgotten(
    two: Two, clock: Clock
) -> None:
    two.write(needed=True)
    publisher = two.small.publisher()
    assert publisher.round()
    old, two.second = two.second, MisbehavingWitness("witness.example/w3", clock, 0x33)
    two.write(needed=True)
    assert publisher.round()
    assert two.signers() == [ORIGIN, ORIGIN, W1, "witness.example/w3"]
    with two.small.store.read() as db:
        assert set(read_witnesses(db)) == {two.first.vkey.text, two.second.vkey.text}
    asked = len(old.requests)
    two.small.append(1)
    assert publisher.round() and len(old.requests) == asked
    old.close()


def test_a_witness_whose_clock_is_slow_does_not_have_the_checkpoint_renewed_all_the_time(
    two: Two, clock: Clock
) -> None:
    two.second.behave = answer_with(lambda r: r.cosign(int(r.witness.clock()) - 250))
    two.write(needed=True)
    publisher = two.small.publisher(refresh_s=100)
    assert publisher.round()
    for _ in range(5):
        clock.now += 10
        assert not publisher.round()
    clock.now += 50
    assert publisher.round()


def test_an_operator_sees_in_three_places_which_witness_is_missing_and_since_when(two: Two) -> None:
    two.second.behave = refuse(500, b"out of disk\n")
    two.write(needed=True)
    publisher = two.small.publisher()
    assert not publisher.round()
    size = two.small.append(3)
    app = Starlette(routes=health_routes(two.small.store, lambda: publisher.status, publisher.standings))
    transport = httpx.ASGITransport(app=app)

    async def get(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://publisher") as client:
            return await client.get(path)

    ready = asyncio.run(get("/readyz"))
    assert ready.status_code == 503 and ready.json()["state"] == "waiting for witnesses"
    assert (ready.json()["sequenced_size"], ready.json()["published_size"]) == (size, 0)
    told = {about["witness"]: about for about in ready.json()["witnesses"]}
    assert (told["W1"]["standing"], told["W1"]["since"], told["W1"]["confirmed_size"]) == ("cosigns", None, 2)
    assert (told["W2"]["standing"], told["W2"]["since"]) == ("missing", NOW)
    assert "out of disk" in told["W2"]["why"]
    metrics = asyncio.run(get("/metrics")).text
    assert "glassbook_publishing 0.0\n" in metrics and "glassbook_published_entries 0.0\n" in metrics
    assert f'glassbook_witness_cosigns{{name="{W2}",witness="W2"}} 0.0\n' in metrics
    assert f'glassbook_witness_absent_since_seconds{{name="{W2}",witness="W2"}} 1.79e+09\n' in metrics

    settings = parse_settings(f'origin = "{ORIGIN}"\n'.encode(), two.small.home)
    lines = statuscommand.words(statuscommand.look(settings, two.small.store, two.small.policy()), NOW + 60)
    assert "sequenced   6 entries" in lines and "            6 entries are sequenced, not published" in lines
    assert "publisher   does not run: start it with glassbook up" in lines
    assert "witness W1 cosigned size 2, 2026-09-21 14:13:20 UTC" in lines
    (missing,) = [line for line in lines if "W2" in line]
    assert missing.startswith("witness W2 is missing since 2026-09-21 14:13:20 UTC: answered 500")
