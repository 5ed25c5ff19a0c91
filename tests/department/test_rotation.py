"""A new signing key and a new year while the agent runs: nothing stops, nothing is lost, no number is given twice."""

import json
from pathlib import Path

import pytest
from fhirevents import r4
from logfactory import DAY, LogFactory
from smallagent import agent_of, coverages_in_log, owed
from smalldepartment import SmallDepartment
from test_crashes import check_outbox

from ledger.core.encoding import format_date, parse_date
from ledger.core.entries import Record, decode_entry, signed_message
from ledger.core.jose import parse_jwk
from ledger.core.keys import verify_ed25519
from ledger.core.sdjwt import commitment, parse_sd_jwt
from ledger.core.streams import open_envelope
from ledger.department.rotating import pending_statement, rotate_key
from ledger.department.settings import CannotGoOn
from ledger.department.setup import add_epochs
from ledger.department.standing import find_standing


@pytest.fixture
def small(tmp_path: Path) -> SmallDepartment:
    return SmallDepartment(tmp_path)


def event(person: str, day: int = DAY, second: int = 0) -> dict[str, object]:
    return r4(
        recorded=f"{format_date(day)}T10:00:{second:02}Z",
        entity=[{"what": {"reference": f"Patient/{person}"}}],
    )


def register(small: SmallDepartment, statement: Path) -> None:
    """As the registrar does with the statement in a file."""
    stated = json.loads(statement.read_text())
    small.log.change_source(small.source, **{name: stated[name] for name in ("key", "vrf")})
    small.ledger.publish()


def check_log(log: LogFactory) -> None:
    """Every record verifies with the key of the version in force at its index."""
    for index, raw in enumerate(log.entries):
        entry = decode_entry(raw)
        if isinstance(entry, Record):
            version = log.register.version_at(entry.source, index)
            assert version is not None
            assert verify_ed25519(version.key, entry.signature, signed_message(log.origin, raw)), index


def test_records_that_wait_while_the_key_is_rotated_are_lost_or_logged_twice(small: SmallDepartment) -> None:
    small.record(event("anna", second=1))
    with agent_of(small) as running:
        running.rounds(3)
        small.record(event("anna", second=2), event("anna", second=3), event("ben"))
        with small.home() as other:
            registration = other.registration(small.now, print)
            _, statement = rotate_key(other, registration, None)
            with pytest.raises(CannotGoOn, match="the register does not name it yet"):
                rotate_key(other, registration, None)
        before = {w.n: w for w in running.home.outbox.to_hand_in(9) if w.stream.subject == "id:anna"}
        small.ledger.plan = ["lost"]
        running.rounds(1)  # nobody knows whether the ledger has them
        told = "source-2.key signs as soon as the register names it"
        assert any(told in words for words in find_standing(running.home, small.now).notes)
        register(small, statement)
        running.rounds(6)
        assert not any(told in words for words in find_standing(running.home, small.now).notes)
        assert any("version 1 of source 1" in words for words in running.said)
        assert any("are signed again" in words for words in running.said)
        assert running.home.outbox.counts().receipts == 4
        assert before.keys() == {2, 3}
        small.record(event("ben", second=4))
        running.rounds(4)
    assert sorted(small.numbers_in_log("id:anna")) == [1, 2, 3]
    assert sorted(small.numbers_in_log("id:ben")) == [1, 2]
    check_log(small.log)
    check_outbox(small.home_folder)
    assert sorted(coverages_in_log(small)) == owed(small)


def test_a_record_signed_again_says_something_else(small: SmallDepartment) -> None:
    small.record(event("anna"))
    with small.home() as home:
        registration = home.registration(small.now, print)
        maker = home.maker(registration)
        (old,) = home.outbox.to_hand_in(2)
        _, statement = rotate_key(home, registration, None)
        register(small, statement)
        newer = home.maker(home.registration(small.now, print))
        signed = newer.sign_again(old)
        assert not newer.is_signed(old.entry) and newer.is_signed(signed.entry)
        key = maker.key_of(2026, 0, "id:anna")
        texts = [
            parse_sd_jwt(open_envelope(key, 1, envelope), public)
            for envelope, public in ((old.envelope, maker.key.public), (signed.envelope, newer.key.public))
        ]
        assert texts[0].payload == texts[1].payload and texts[0].disclosures == texts[1].disclosures
        entries = [decode_entry(old.entry), decode_entry(signed.entry)]
        assert all(isinstance(entry, Record) for entry in entries)
        assert entries[1].commitment == commitment(texts[1].jwt)  # type: ignore[union-attr]


def test_what_the_old_key_signed_and_the_log_has_is_signed_again(small: SmallDepartment) -> None:
    small.record(event("anna"))
    with agent_of(small) as running:
        with small.home() as other:
            _, statement = rotate_key(other, other.registration(small.now, print), None)
        small.ledger.plan = ["drop"]  # it is in the log, and nobody here knows
        running.sender.try_again()
        with pytest.raises(CannotGoOn):
            running.sender.hand_in()
        register(small, statement)
        running.rounds(5)
        assert running.home.outbox.counts().owed == 0
        assert not any("signed again" in words for words in running.said)
    assert small.numbers_in_log("id:anna") == [1]
    check_log(small.log)


def test_a_second_rotation_goes_back_to_the_first_key(small: SmallDepartment) -> None:
    keys = []
    for _ in range(2):
        with small.home() as home:
            path, statement = rotate_key(home, home.registration(small.now, print), None)
        keys.append(path.name)
        register(small, statement)
        with small.home() as home:
            registration = home.registration(small.now, print)
            assert home.key(registration).public == registration.newest.key
            assert parse_jwk(registration.newest.statement["key"], "key") == registration.newest.key
    assert keys == ["source-2.key", "source-3.key"]
    text = (small.home_folder / "department.toml").read_text()
    assert text.count("next_key") == 1 and "[vrf]\n2025" in text
    small.record(event("anna"))
    assert small.send().receipts == 1


def test_an_access_of_a_new_year_is_lost_while_its_key_is_not_registered(small: SmallDepartment) -> None:
    new_year = parse_date("2027-01-01", "day")
    small.now = new_year * 86_400 + 12 * 3600
    small.ledger.now = small.now
    small.ledger.publish()
    with pytest.raises(CannotGoOn, match="glassbook department epochs 2027"):
        small.record(event("anna", new_year))
    with small.home() as home:
        registration = home.registration(small.now, print)
        statement = add_epochs(home.settings.home, [2027], pending_statement(home, registration), None)
    small.record(event("anna", new_year), event("anna", DAY))
    with agent_of(small) as running:
        running.rounds(3)
        counts = running.home.outbox.counts()
        assert (counts.receipts, counts.waiting, counts.refused) == (1, 1, 0)
        standing = find_standing(running.home, small.now)
        assert any("1 records of 2027 wait" in words for words in standing.attention)
        register(small, statement)
        running.rounds(5)
        assert running.home.outbox.counts().receipts == 2
        standing = find_standing(running.home, small.now)
        assert not any("2027" in words for words in standing.attention)
    assert small.numbers_in_log("id:anna") == [1]
    check_log(small.log)


def test_nobody_is_told_before_the_year_ends_that_its_successor_has_no_key(small: SmallDepartment) -> None:
    with small.home() as home:
        home.registration(small.now, print)
        for date, told in (("2026-11-05", False), ("2026-11-10", True)):
            notes = find_standing(home, parse_date(date, "day") * 86_400).notes
            assert any("2027 begins" in words for words in notes) == told


def test_a_busy_ledger_is_asked_again_before_its_time(small: SmallDepartment) -> None:
    small.record(event("anna"))
    with agent_of(small) as running:
        small.ledger.plan = ["busy"]
        running.agent.round()
        asked = len(small.ledger.requests)
        running.wait(6.5)  # it said 7
        part = next(part for part in running.agent._parts if part.name == "sending")
        assert part.due > running.sender.clock() and part.failures == 1
        assert any("busy (429)" in words for words in running.said)
        running.wait(10)
        running.rounds(3)
        assert len(small.ledger.requests) > asked
        assert running.home.outbox.counts().receipts == 1
