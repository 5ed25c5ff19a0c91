"""What a department does with the ledger's promises: checked, kept until the receipt, shown when they were not kept."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fhirevents import r4
from logfactory import NOW, LogFactory, seed
from smalldepartment import TODAY, SmallDepartment
from typer.testing import CliRunner

from ledger.core.errors import GlassbookError
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.promise import Promise, parse_promise, sign_promise
from ledger.core.statements import parse_charter
from ledger.department.cli import app
from ledger.department.handin import Answer
from ledger.department.outbox import Counts, Outbox
from ledger.department.outboxschema import VERSION
from ledger.department.promises import (
    MANY,
    check_promise,
    check_promises,
    count_bad,
    export,
    in_words,
    standing,
)
from ledger.department.promisetable import KeptPromise, keep_promise, kept_promises
from ledger.department.sending import Sender
from ledger.department.settings import CannotGoOn

OLD_FILE = Path(__file__).with_name("outbox-v1.sql")


def event(person: str, second: int = 0) -> dict[str, object]:
    return r4(
        recorded=f"{TODAY}T10:{second // 60:02}:{second % 60:02}Z",
        entity=[{"what": {"reference": f"Patient/{person}"}}],
    )


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


def send(small: SmallDepartment, said: list[str] | None = None, again: bool = False) -> Counts:
    """One round, as `glassbook department run` makes it; with `again`, what was handed in goes out once more."""
    with small.home() as home:
        sender: Sender = small.sender(home)
        sender._resend_at = 0.0 if again else float(NOW * 2)
        sender.say = (said if said is not None else []).append
        return sender.send(wait=False)


def test_a_promise_is_kept_until_the_receipt_and_then_goes(small: SmallDepartment) -> None:
    small.record(event("anna"), event("ben"))
    small.ledger.publishing = False
    send(small)
    with small.home() as home:
        kept = kept_promises(home.outbox)
        assert [promise.accepted for promise in kept] == [NOW, NOW]
        for promise in kept:
            assert promise.leaf_hash == leaf_hash(promise.entry)
            found = parse_promise(promise.promise, small.log.origin, small.log.ledger_key.public)
            assert found == Promise(small.log.origin, promise.leaf_hash, NOW)
    small.ledger.publishing = True
    small.ledger.publish()
    assert send(small).owed == 0
    with small.home() as home:
        assert kept_promises(home.outbox) == []


OTHER = Ed25519PrivateKey.from_seed(seed("another ledger"))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (lambda origin, leaf, key: sign_promise(Promise(origin, leaf, NOW), OTHER), "kid"),
        (
            lambda origin, leaf, key: sign_promise(Promise("log.example.gov/other", leaf, NOW), key),
            "another log",
        ),
        (lambda origin, leaf, key: sign_promise(Promise(origin, bytes(32), NOW), key), "another entry"),
        (lambda origin, leaf, key: sign_promise(Promise(origin, leaf, NOW + 301), key), "301 s after"),
        (lambda origin, leaf, key: sign_promise(Promise(origin, leaf, NOW), key) + b"\n", "base64"),
        (lambda origin, leaf, key: "gr\u00fc\u00dfe".encode(), "ASCII"),
        (lambda origin, leaf, key: b"", "three parts"),
    ],
)
def test_a_bad_promise_is_said_and_counted_and_costs_no_record(
    small: SmallDepartment, monkeypatch: pytest.MonkeyPatch, bad: Any, why: str
) -> None:
    small.record(event("anna"), event("ben"))
    log = small.log

    def promise(raw: bytes) -> str:
        made: bytes = bad(log.origin, leaf_hash(raw), log.ledger_key)
        return made.decode()

    monkeypatch.setattr(small.ledger, "promise", promise)
    small.ledger.publishing = False
    said: list[str] = []
    counts = send(small, said)
    assert (counts.handed_in, counts.owed) == (2, 2)
    assert len(said) == 1 and "2 of the ledger's promises are not good" in said[0] and why in said[0]
    with small.home() as home:
        assert kept_promises(home.outbox) == []
        assert count_bad(home.outbox) == 2
    small.ledger.publishing = True
    small.ledger.publish()
    assert send(small).owed == 0, "the record itself was taken, and its receipt is good"


def test_an_acceptance_without_a_promise_is_a_bad_one_and_a_duplicate_without_is_not(
    small: SmallDepartment, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.record(event("anna"))
    small.ledger.publishing = False
    monkeypatch.setattr(small.ledger, "promise", lambda raw: None)
    said: list[str] = []
    send(small, said)
    assert "is missing" in said[0]
    send(small, said, again=True)
    with small.home() as home:
        assert count_bad(home.outbox) == 1


def test_a_later_time_for_the_same_record_does_not_move_its_end(
    small: SmallDepartment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that was restored from a backup takes the record anew; what it promised first still binds."""
    small.record(event("anna"))
    small.ledger.forgetting = True
    send(small)
    small.ledger.accepted.clear()
    small.ledger.now = small.now = NOW + 50
    send(small, again=True)
    with small.home() as home:
        (kept,) = kept_promises(home.outbox)
        assert kept.accepted == NOW
    small.ledger.accepted = dict.fromkeys(small.ledger.accepted, NOW - 20)
    send(small, again=True)
    with small.home() as home:
        (kept,) = kept_promises(home.outbox)
        assert kept.accepted == NOW - 20


def test_a_promise_that_comes_after_the_receipt_is_not_kept(small: SmallDepartment) -> None:
    small.record(event("anna"))
    small.ledger.publishing = False
    send(small)
    with small.home() as slow:
        (kept,) = kept_promises(slow.outbox)
        small.ledger.publishing = True
        small.ledger.publish()
        assert send(small).owed == 0
        with slow.outbox.transaction():
            keep_promise(slow.outbox, kept)
        assert kept_promises(slow.outbox) == []


def test_overdue_promises_are_told_in_words_and_exported_with_their_entries(
    small: SmallDepartment, tmp_path: Path
) -> None:
    small.record(event("anna"), event("ben"))
    small.ledger.forgetting = True
    send(small)
    with small.home() as home:
        delay = small.log.register.charter.merge_delay_s
        assert standing(home.outbox, delay, NOW + delay).overdue == 0
        late = standing(home.outbox, delay, NOW + delay + 1)
        assert (late.kept, late.overdue, late.bad) == (2, 2, 0)
        (words,) = late.words
        assert words.startswith("2 records accepted more than a minute ago are not published")
        assert export(home.outbox, tmp_path / "none", NOW) == []
        paths = export(home.outbox, tmp_path / "out", NOW + 1)
        assert len(paths) == 2
        for path in paths:
            promise = parse_promise(path.read_bytes(), small.log.origin, small.log.ledger_key.public)
            assert leaf_hash(path.with_suffix(".entry").read_bytes()) == promise.leaf
            assert b"anna" not in path.read_bytes() + path.with_suffix(".entry").read_bytes()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(86_400, "a day"), (172_800, "2 days"), (3_600, "an hour"), (5_400, "90 minutes"), (60, "a minute"),
     (90, "90 seconds"), (1, "a second"), (0, "no time"), (100_000, "27 hours")],
)  # fmt: skip
def test_spans_of_time_read_as_a_person_says_them(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


# -- a file of the first release --------------------------------------------------------------------------


@pytest.fixture
def old(small: SmallDepartment) -> Path:
    """The department's outbox as the first release wrote it: one receipt, two handed in, one refused, one waiting."""
    path = small.home_folder / "outbox.sqlite"
    path.touch(0o600)
    db = sqlite3.connect(path)
    db.executescript(OLD_FILE.read_text())
    db.close()
    return path


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    db = sqlite3.connect(path)
    names = ("events", "meta", "streams", "records", "receipts")
    found = {name: db.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in names}
    db.close()
    return found


def test_an_outbox_of_the_first_release_is_brought_up_to_date_and_loses_nothing(
    small: SmallDepartment, old: Path
) -> None:
    before = rows(old)
    Outbox(old).close()
    after = rows(old)
    # What the first release did not note: whether the ledger may have a record.  It may.
    after["records"] = [row[:-1] if row[-1] == 1 else row for row in after["records"]]
    assert after == before
    db = sqlite3.connect(old)
    assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    db.close()
    counts = small.send()
    assert (counts.owed, counts.receipts, counts.streams, counts.streams_done) == (0, 5, 4, 4)
    with small.home() as home:
        assert kept_promises(home.outbox) == []


def test_an_old_outbox_that_cannot_be_brought_up_to_date_stays_as_it_was(old: Path) -> None:
    before = rows(old)
    db = sqlite3.connect(old)
    db.execute("CREATE TABLE promises_by_time (a)")  # in the way of the second statement
    db.commit()
    db.close()
    with pytest.raises(CannotGoOn):
        Outbox(old)
    db = sqlite3.connect(old)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'promises'").fetchone() == (0,)
    db.close()
    assert rows(old) == before


def test_an_outbox_of_a_later_release_is_left_alone(small: SmallDepartment) -> None:
    with small.home() as home:
        home.outbox.put("a", b"b")
    path = small.home_folder / "outbox.sqlite"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={VERSION + 1}")
    db.close()
    with pytest.raises(CannotGoOn, match="another release"):
        Outbox(path)


# -- the commands -----------------------------------------------------------------------------------------


def test_status_and_promises_say_what_is_overdue(
    small: SmallDepartment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 61.0)
    small.record(event("anna"))
    small.ledger.forgetting = True
    send(small)
    words = ["--dir", str(small.home_folder)]
    run = CliRunner()
    told = run.invoke(app, ["status", *words])
    assert "1 record accepted more than a minute ago is not published" in told.output
    found = json.loads(run.invoke(app, ["status", *words, "--json"]).output)["promises"]
    assert found == {"kept": 1, "overdue": 1, "bad": 0, "merge_delay_s": 60}
    told = run.invoke(app, ["promises", *words, "--out", str(tmp_path / "evidence")])
    assert told.exit_code == 0
    assert "glassbook-verify promise" in told.output
    assert sorted(path.suffix for path in (tmp_path / "evidence").iterdir()) == [".entry", ".promise"]


class Handed(NamedTuple):
    """An entry that was handed in."""

    entry: bytes

    @property
    def leaf_hash(self) -> bytes:
        return leaf_hash(self.entry)


def test_bad_promises_among_many_are_told_otherwise_than_each_by_itself() -> None:
    log = LogFactory()
    charter = parse_charter(log.entries[0], log.origin)
    records = [Handed(bytes([number])) for number in range(MANY + 36)]
    answers = []
    for number, record in enumerate(records):
        made = sign_promise(Promise(log.origin, record.leaf_hash, NOW), log.ledger_key)
        if number == 50:
            made = sign_promise(Promise(log.origin, record.leaf_hash, NOW + 301), log.ledger_key)
        if number == 60:
            made = made[:-2] + b"AA"
        answers.append(Answer(True, promise=None if number == 70 else made, due=number != 80))
    arrived = check_promises(zip(records, answers, strict=True), charter, NOW)
    expected: list[KeptPromise] = []
    why = ""
    for record, answer in zip(records, answers, strict=True):
        try:
            expected.append(check_promise(answer.promise or b"", record, charter, NOW))
        except GlassbookError as error:
            why = error.what if answer.promise else "is missing"
    assert (arrived.good, arrived.bad, arrived.why) == (expected, 3, why)
    assert len(expected) == 97
