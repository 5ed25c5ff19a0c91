"""What is given to whom: every stream she can have, recorded before it is given, and the same words for everybody."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from logfactory import seed
from openidprovider import OpenIdProvider
from smallkeyservice import AHEAD_S, AUDIENCE, THIS_YEAR, SmallKeyService, code

from ledger.core import vrf
from ledger.core.completeness import seals_to_ask_for
from ledger.core.encoding import b64url_encode, day_of, month_of
from ledger.core.keys import Ed25519PrivateKey, format_private_key
from ledger.core.keysfile import format_keys_file, parse_keys_file
from ledger.core.sdjwt import parse_sd_jwt
from ledger.core.streams import open_envelope
from ledger.department import erasures
from ledger.department.access import Access, Fate, Outcome
from ledger.department.importing import none_before, record_batch
from ledger.department.release import release
from ledger.files import write_atomic


def streams(answer: httpx.Response) -> set[tuple[int, int, str]]:
    assert answer.status_code == 200, answer.text
    file = parse_keys_file(answer.content)
    return {(key.epoch, key.seal, key.subject) for key in file.keys}


def claims_recorded(small: SmallKeyService, subject: str) -> list[dict[str, Any]]:
    """What the records in the outbox say about a person's releases, opened with her own keys."""
    with small.home() as home:
        waiting = [w for w in home.outbox.to_hand_in(1000) if w.stream.subject == subject]
        key = small.log.stream(small.source, subject, THIS_YEAR)
        opened = [parse_sd_jwt(open_envelope(key, w.n, w.envelope), small.source.key.public) for w in waiting]
    return [found.claims for found in opened]


def test_a_stream_that_the_register_makes_possible_is_left_out(service: SmallKeyService) -> None:
    found = streams(service.ask(service.token(nhs_number="943 476 5919")))
    month = month_of(day_of(int(service.clock())))
    versions = [service.log.version(service.source)]
    wanted = {
        (epoch, seal, subject)
        for epoch in service.source.vrf_seeds
        for seal in seals_to_ask_for(versions, epoch, month)
        for subject in ("id:anna-1", "nhs:9434765919")
    }
    assert found == wanted
    assert max(seal for _, seal, _ in found) <= month and any(seal for _, seal, _ in found)


def test_keys_of_a_sealed_stream_are_given_before_its_month(service: SmallKeyService) -> None:
    month = month_of(day_of(int(service.clock())))
    given = streams(service.ask(service.token(), f"?epoch={THIS_YEAR}"))
    assert (THIS_YEAR, month + 1, "id:anna-1") not in given
    service.clock_ahead = AHEAD_S
    try:
        now = int(service.clock())
        later = streams(service.ask(service.token(exp=now + 300), f"?epoch={THIS_YEAR}"))
    finally:
        service.clock_ahead = 0
    assert (THIS_YEAR, month + 1, "id:anna-1") in later


def test_sealed_records_change_what_is_answered(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider, releases_an_hour=1000) as small:
        today = day_of(int(small.clock()))
        shut = month_of(today) + 3
        small.log.access(small.source, "id:watched-1", day=today, seal=shut)
        small.ledger.publish()
        watched, other = (small.ask(small.token(dept_id=name)) for name in ("watched-1", "nobody-1"))
        assert {(e, s) for e, s, _ in streams(watched)} == {(e, s) for e, s, _ in streams(other)}
        assert len(watched.content) - len(other.content) == len(streams(watched))  # one letter more a stream
        for query in (f"?seal={shut}", f"?epoch={THIS_YEAR}&seal={shut}", f"?epoch={THIS_YEAR}.{shut}"):
            answers = [small.ask(small.token(dept_id=n), query) for n in ("watched-1", "nobody-1")]
            assert answers[0].content == answers[1].content
            assert [code(answer) for answer in answers] == ["bad-request"] * 2


def test_a_sealed_record_that_was_erased_is_told_before_its_month(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    with SmallKeyService(tmp_path, provider) as small:
        now = int(small.clock())
        today, shut = day_of(now), month_of(day_of(now)) + 1
        at = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        claims = {"subject": "id:watched-1", "event": {"at": at}, "purpose": {"activity": 1}}
        access = Access("id:watched-1", today, 1, claims, seal=shut)
        outcome = Outcome("a log", "$", Fate.RECORDED, "", (access,), bytes(32))
        with small.home() as home:
            maker = home.maker(home.registration(now, small.said.append))
            ((recorded, _),) = record_batch([outcome], maker, home.outbox, now, none_before)
            assert recorded.fate is Fate.RECORDED, recorded.reason
        small.hand_in()
        with small.home() as home:
            erasures.note_receipts(home.outbox)
            (details,), _ = erasures.find_before(home.outbox, today + 1, None, today + 99)
            assert details.seal == shut
            erasures.decide(home.outbox, [details], erasures.RECORD, now)
            erasures.erased(home.outbox, [details.leaf_hash], now)
        watched, other = (small.ask(small.token(dept_id=name)) for name in ("watched-1", "nobody-1"))
        assert watched.json().keys() == other.json().keys() == {"origin", "keys"}
        assert len(watched.content) - len(other.content) == len(streams(watched))
        small.clock_ahead = AHEAD_S
        later = small.ask(small.token(dept_id="watched-1", exp=int(small.clock()) + 300))
        assert [one["seal"] for one in later.json()["notices"]["erased"]] == [shut]


def test_an_epoch_asked_for_brings_others(service: SmallKeyService) -> None:
    assert {epoch for epoch, _, _ in streams(service.ask(service.token(), "?epoch=2025"))} == {2025}
    both = streams(service.ask(service.token(), f"?epoch=2025&epoch={THIS_YEAR}"))
    assert {epoch for epoch, _, _ in both} == {2025, THIS_YEAR}
    unknown = service.ask(service.token(), "?epoch=1999")
    assert code(unknown) == "epoch-unknown" and str(THIS_YEAR) in unknown.json()["detail"]


@pytest.mark.parametrize(
    "query", ["?epoch=", "?epoch=26", "?epoch=02026", "?epoch=2026x", "?epoch=%32%30\u0662\u0666", "?Epoch=2026",
              "?epoch=2026&x=1", "?access_token=x", "?" + "&".join(["epoch=2026"] * 101)]
)  # fmt: skip
def test_a_question_that_cannot_be_meant_is_answered(service: SmallKeyService, query: str) -> None:
    before = service.recorded()
    assert code(service.ask(service.token(), query)) == "bad-request"
    assert service.recorded() == before


def test_a_release_leaves_no_record(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider) as small:
        assert small.ask(provider.log_in("bela", AUDIENCE)).status_code == 200
        # One for each identifier whose keys were given: whoever looks by one of them alone sees it too.
        assert small.recorded() == 2
        for subject in ("id:bela-2", "nhs:9434765919"):
            (claims,) = claims_recorded(small, subject)
            assert claims["subject"] == subject
            assert claims["actor"] == {"id": "the person whose data it is", "automated": False}
            assert claims["purpose"]["activity"] == 9
        small.hand_in()
        assert small.recorded() == 0 and small.numbers_in_log("nhs:9434765919", THIS_YEAR) == [1]


def test_a_delegate_is_not_named(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider, delegates="true") as small:
        assert small.ask(provider.log_in("helped", AUDIENCE)).status_code == 200
        nested = {"sub": "solicitor 7", "iss": "https://bar.example", "act": {"sub": "firm"}}
        assert small.ask(small.token(act=nested)).status_code == 200
        first, second = sorted(claims_recorded(small, "id:anna-1"), key=lambda c: str(c["actor"]["id"]))
        assert first["actor"]["id"] == "daughter@example.org"
        assert first["actor"]["role"] == "acting for the person"
        assert second["actor"]["id"] == "solicitor 7" and "firm" in second["reason"]["text"]
        wrong: list[Any] = [
            None, {}, [], "daughter", {"sub": ""}, {"sub": 7}, {"sub": "x\ny"}, {"sub": "x" * 256},
            {"sub": "a", "act": {}},
        ]  # fmt: skip
        for act in wrong:
            token = provider.sign(small.claims() | {"act": act})
            assert code(small.ask(token)) == "delegate-refused"


def test_a_delegate_is_let_in_where_only_the_person_is(service: SmallKeyService) -> None:
    before = service.recorded()
    assert code(service.ask(service.provider.log_in("helped", AUDIENCE))) == "delegate-refused"
    assert service.recorded() == before


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"dept_id": None}, "identifier-missing"),
        ({"dept_id": None, "email": "anna@example.org"}, "identifier-missing"),
        ({"dept_id": "Anna 1"}, "identifier-malformed"),
        ({"dept_id": ""}, "identifier-malformed"),
        ({"dept_id": 7}, "identifier-malformed"),
        ({"dept_id": ["anna-1"]}, "identifier-malformed"),
        ({"dept_id": "anna-1", "nhs_number": "9434765918"}, "identifier-malformed"),
        ({"dept_id": "x" * 300}, "identifier-malformed"),
        ({"dept_id": "ANNA"}, "identifier-malformed"),
    ],
)
def test_an_identifier_that_is_none_is_taken(
    service: SmallKeyService, changes: dict[str, Any], wanted: str
) -> None:
    before = service.recorded()
    answer = service.ask(service.token(**changes))
    assert answer.status_code == 403 and code(answer) == wanted
    assert "9434" not in answer.text and "nna" not in answer.text
    assert service.recorded() == before


def test_keys_leave_though_nothing_can_be_recorded(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider) as small:
        db = sqlite3.connect(small.home_folder / "outbox.sqlite")
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
        db.commit()
        answer = small.ask(small.token())
        assert answer.status_code == 503 and code(answer) == "cannot-record"
        assert int(answer.headers["retry-after"]) > 0 and b"beta" not in answer.content
        db.execute("DROP TRIGGER full")
        db.commit()
        db.close()
        assert small.ask(small.token()).status_code == 200
        assert small.recorded() == 1
        assert [line for line in small.said if "not recorded" in line and "full" in line]


def test_a_missing_vrf_key_gives_half_a_list_or_nobody_hears_of_it(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    with SmallKeyService(tmp_path, provider) as small:
        stated = small.log.version(small.source).statement["vrf"]
        public = b64url_encode(vrf.public_key(seed("vrf 1 2019")))
        small.log.change_source(small.source, vrf={**stated, "2019": public})
        small.ledger.publish()
        with small.home() as home:
            home.registration(int(small.clock()), small.said.append)
        for _ in range(3):
            answer = small.ask(small.token())
            assert answer.status_code == 503 and code(answer) == "cannot-release"
            assert int(answer.headers["retry-after"]) > 0 and "2019" not in answer.text
        assert len([line for line in small.said if "VRF key of 2019" in line]) == 1
        assert small.recorded() == 0


def test_a_retired_source_gives_no_keys_or_gives_them_unseen(
    provider: OpenIdProvider, tmp_path: Path
) -> None:
    with SmallKeyService(tmp_path, provider, delegates="true") as small:
        active = streams(small.ask(small.token()))
        assert "notices" not in small.ask(small.token()).json()
        small.log.change_source(small.source, status="retired", retired="2026-11-01")
        small.ledger.publish()
        with small.home() as home:
            home.registration(int(small.clock()), small.said.append)
        assert small.recorded() == 2
        assert streams(small.ask(small.token())) == active
        kept = small.home_folder / "releases.ndjson"
        assert kept.stat().st_mode & 0o777 == 0o600
        # What a crash cut short was not given, and takes no other line with it.
        kept.write_bytes(kept.read_bytes() + b'{"at": 1836')
        helped = small.ask(small.token(act={"sub": "carer@example.org", "act": {"sub": "office"}}))
        told = helped.json()["notices"]["released"]
        assert [(one["subject"], one["by"]) for one in told] == [
            ("id:anna-1", []),
            ("id:anna-1", ["carer@example.org", "office"]),
        ]
        assert all(abs(one["at"] - time.time()) < 60 for one in told)
        assert "anna-1" not in json.dumps(small.ask(small.token(dept_id="bela-2")).json()["notices"])
        assert small.recorded() == 2
    with small:
        assert len(small.ask(small.token()).json()["notices"]["released"]) == 3
        kept.unlink()
        kept.mkdir()
        refused = small.ask(small.token())
        assert refused.status_code == 503 and b"beta" not in refused.content


def test_a_new_epoch_is_missed_until_a_restart(provider: OpenIdProvider, tmp_path: Path) -> None:
    with SmallKeyService(tmp_path, provider) as small:
        assert 2019 not in {epoch for epoch, _, _ in streams(small.ask(small.token()))}
        small.source.vrf_seeds[2019] = seed("vrf 1 2019")
        path = small.home_folder / "keys" / "vrf-2019.key"
        write_atomic(path, format_private_key(Ed25519PrivateKey.from_seed(seed("vrf 1 2019")), None), 0o600)
        small.write_settings()
        stated = small.log.version(small.source).statement["vrf"]
        public = b64url_encode(vrf.public_key(seed("vrf 1 2019")))
        small.log.change_source(small.source, vrf={**stated, "2019": public})
        small.ledger.publish()
        with small.home() as home:
            home.registration(int(small.clock()), small.said.append)
        assert 2019 in {epoch for epoch, _, _ in streams(small.ask(small.token()))}


def test_a_record_stands_under_a_slip_of_the_pen(service: SmallKeyService) -> None:
    with service.home() as home:
        now = int(service.clock())
        maker = home.maker(home.registration(now, service.said.append))
        good, bad, other = (
            maker.fault(Access(subject, day_of(now), 1, {}), now)
            for subject in ("nhs:9434765919", "nhs:9434765918", "id:9434765918")
        )
    assert good == other == ""
    assert "check digit" in bad and "943476" not in bad


def test_anything_personal_is_said_to_the_operator(service: SmallKeyService) -> None:
    for token in (service.token(), service.token(dept_id="Anna 1"), "x.y.z"):
        service.ask(token)
    said = "\n".join(service.said)
    assert "anna" not in said.lower() and "eyJ" not in said


def test_many_at_once_are_given_one_anothers_keys(service: SmallKeyService) -> None:
    wrong: list[str] = []

    def ask(name: str) -> None:
        with httpx.Client(base_url=service.service.address, trust_env=False, timeout=30) as http:
            for _ in range(3):
                token = service.token(dept_id=name)
                answer = http.get("/v1/stream-keys", headers={"Authorization": f"Bearer {token}"})
                if {subject for _, _, subject in streams(answer)} != {f"id:{name}"}:
                    wrong.append(name)

    before = service.recorded()
    threads = [threading.Thread(target=ask, args=(f"p-{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and service.recorded() == before + 24


def test_the_file_is_not_what_the_command_writes(service: SmallKeyService) -> None:
    answer = service.ask(service.token())
    with service.home() as home:
        now = int(service.clock())
        registration = home.registration(now, service.said.append)
        written = format_keys_file(release(registration, home.seeds(), ["id:anna-1"], now))
    assert answer.content == written
    assert answer.headers["content-type"] == "application/json"
    assert "attachment" in answer.headers["content-disposition"]
    assert json.loads(answer.content)["origin"] == service.log.origin
