"""Sources that rotate, add an epoch, retire and are revoked: what audit, `mine` and evidence make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory, TestSource, seed
from logserver import LogServer
from ran import Ran, Run

from ledger.core import vrf
from ledger.core.encoding import b64url_encode, format_date
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.statements import sign_source

ME = "nhs:9434765919"
NEW_KEY = Ed25519PrivateKey.from_seed(seed("a new key"))
EARLY = DAY - 600  # a day of 2024, for which nobody has a VRF key at first
COMMON = ("--policy", "policy.txt", "--log")


@pytest.fixture
def log() -> LogFactory:
    """One department with one access to my data, and one that nothing happens to."""
    log = LogFactory()
    health = log.add_source()
    log.add_source("Tax office")
    log.access(health)
    return log


@pytest.fixture
def health(log: LogFactory) -> TestSource:
    return log.sources[0]


def rotate(log: LogFactory, source: TestSource) -> int:
    """From here on the source signs with NEW_KEY; returns the entry's index."""
    index = log.change_source(source, key=jwk(NEW_KEY.public))
    source.key = NEW_KEY
    return index


def add_epoch(log: LogFactory, source: TestSource, year: int) -> int:
    secret = seed(f"vrf {source.number} {year}")
    stated = log.version(source).statement["vrf"]
    source.vrf_seeds[year] = secret
    return log.change_source(
        source, vrf=stated | {str(year): b64url_encode(vrf.public_key(secret))}, since=format_date(EARLY)
    )


def publish(log: LogFactory, folder: Path, at: int = NOW) -> None:
    log.publish(folder / "public", at)
    (folder / "policy.txt").write_text(log.policy_text())
    (folder / "me.keys.json").write_bytes(log.keys_file(ME))


def audit(run: Run) -> tuple[Ran, list[tuple[int, str]]]:
    ran = run("audit", *COMMON, "public", "--jobs", "1", "--json")
    return ran, [(found["index"], found["kind"]) for found in ran.json["result"]["violations"]]


def mine(run: Run, *more: object) -> Any:
    return run("mine", "me.keys.json", *COMMON, "public", "--json", *more)


# -- rotation -------------------------------------------------------------------------------------------


def test_records_hold_under_the_key_that_was_in_force_for_them(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    rotate(log, health)
    log.access(health)
    log.coverage(health, DAY, 2)
    publish(log, tmp_path)
    ran, violations = audit(run)
    assert (ran.exit, violations) == (0, [])
    told = mine(run)
    assert told.exit == 0
    assert [access["number"] for access in told.json["result"]["sources"][0]["accesses"]] == [1, 2]


def test_the_old_key_signs_nothing_after_the_rotation_and_the_new_one_nothing_before(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    old = health.key
    early = log.access(health, key=NEW_KEY)
    rotate(log, health)
    late = log.access(health, key=old)
    good = log.access(health)
    publish(log, tmp_path)
    ran, violations = audit(run)
    assert (ran.exit, violations) == (1, [(early, "signature"), (late, "signature")])
    told = mine(run)
    assert told.exit == 1
    indices = [access["index"] for access in told.json["result"]["sources"][0]["accesses"]]
    assert good in indices and not {early, late} & set(indices)


def test_a_record_behind_its_rotation_in_the_same_batch_is_under_the_new_key(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    old = health.key
    at = rotate(log, health)
    assert log.access(health) == at + 1
    assert log.access(health, key=old) == at + 2
    publish(log, tmp_path)
    assert audit(run)[1] == [(at + 2, "signature")]


# -- a new epoch ----------------------------------------------------------------------------------------


def test_a_year_has_its_key_before_its_first_record(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    health.vrf_seeds[2024] = seed("vrf 1 2024")
    before = log.access(health, day=EARLY)
    add_epoch(log, health, 2024)
    after = log.access(health, day=EARLY)
    publish(log, tmp_path)
    ran, violations = audit(run)
    assert (ran.exit, violations) == (1, [(before, "vrf-key")])
    assert after in [access["index"] for access in mine(run).json["result"]["sources"][0]["accesses"]]


def test_a_new_year_without_my_key_for_it_is_not_complete(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    keys = log.keys_file(ME)
    add_epoch(log, health, 2024)
    log.access(health, day=EARLY)
    publish(log, tmp_path)
    assert audit(run)[1] == []
    assert mine(run).exit == 0
    (tmp_path / "me.keys.json").write_bytes(keys)
    told = mine(run)
    assert (told.exit, told.json["verdict"]) == (3, "not complete")
    assert [(gap["source"], gap["epoch"]) for gap in told.json["result"]["missing_streams"]] == [(1, 2024)]


# -- statements that may not follow -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"vrf": {"2025": b64url_encode(vrf.public_key(seed("other"))), "2026": "same"}}, "vrf-key"),
        ({"vrf": {"2026": "same"}}, "vrf-key"),
        ({"since": format_date(DAY)}, "since"),
        ({"status": "active"}, "status"),
        ({"status": "retired", "retired": format_date(DAY)}, "status"),
    ],
    ids=["VRF key restated", "VRF key left out", "since later", "active again", "retired after revoked"],
)
def test_a_statement_that_may_not_follow_never_comes_into_force(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource, changed: dict[str, Any], kind: str
) -> None:
    if kind == "status":
        log.change_source(health, status="revoked", revoked=format_date(DAY + 1))
    before = log.version(health)
    stated = {name: value for name, value in before.statement.items() if name not in ("revoked", "retired")}
    if "vrf" in changed:
        same = before.statement["vrf"]["2026"]
        changed = {"vrf": {year: same if key == "same" else key for year, key in changed["vrf"].items()}}
    elif kind == "since":
        stated = dict(before.statement)
    at = log.append(sign_source(log.registrar, log.register.charter, 1, stated | changed, before))
    assert log.version(health) is before
    publish(log, tmp_path)
    ran, violations = audit(run)
    assert (ran.exit, violations) == (1, [(at, kind)])
    told = mine(run)
    assert told.exit == 1, "the register is part of every list"
    assert any(f"entry {at}" in fault["where"] for fault in told.json["result"]["faults"])
    assert told.json["result"]["counts"]["accesses"] == 1, "and the list is shown all the same"


# -- the end of a source ----------------------------------------------------------------------------------


def test_a_retired_source_may_still_say_how_many_records_it_logged_and_log_no_more(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    log.change_source(health, status="retired", retired=format_date(DAY + 1))
    log.coverage(health, DAY, 1)
    publish(log, tmp_path)
    ran, violations = audit(run)
    assert (ran.exit, violations) == (0, [])
    assert ran.json["result"]["sources"][0]["status"] == "retired"
    late = log.access(health)
    publish(log, tmp_path)
    assert audit(run)[1] == [(late, "source-retired")]
    assert mine(run).exit == 1


def test_a_revocation_makes_what_is_dated_from_its_day_on_suspect_and_nothing_before(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    log.access(health, day=DAY + 1)
    log.access(health, day=DAY + 2)
    log.change_source(health, status="revoked", revoked=format_date(DAY + 1))
    log.coverage(health, DAY, 1)
    publish(log, tmp_path)
    ran, violations = audit(run)
    assert (ran.exit, violations) == (0, [])
    assert ran.json["result"]["counts"]["suspect"] == 2
    assert ran.json["result"]["sources"][0]["status"] == "revoked"
    (source, _) = mine(run).json["result"]["sources"]
    assert [access["suspect"] for access in source["accesses"]] == [False, True, True]
    assert (source["status"], source["suspect_from"]) == ("revoked", format_date(DAY + 1))
    late = log.access(health, day=DAY)
    publish(log, tmp_path)
    assert audit(run)[1] == [(late, "source-revoked")]


def test_a_citizen_is_told_in_words_what_became_of_a_source(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    log.access(health, day=DAY + 2)
    log.change_source(health, department={"en": "Ministry of Care"})
    log.change_source(health, status="revoked", revoked="2026-06-24")
    log.change_source(log.sources[1], status="retired", retired="2026-06-30")
    publish(log, tmp_path)
    out = run("mine", "me.keys.json", *COMMON, "public").out
    assert "Ministry of Care · Patient records (key revoked): 2 accesses" in out
    assert "Registered before as: Ministry of Health · Patient records." in out
    assert "what is dated 24 June 2026 or later is marked as suspect" in out
    assert out.count("Suspect: ") == 1
    assert "No access: Tax office · Patient records (no longer in use)." in out
    log.access(log.sources[1])
    quiet = LogFactory()
    gone = quiet.add_source()
    quiet.access(gone)
    quiet.change_source(gone, status="retired", retired="2026-06-30")
    publish(quiet, tmp_path)
    out = run("mine", "me.keys.json", *COMMON, "public").out
    assert "This system was retired on 30 June 2026." in out
    assert "marked as suspect" not in out


# -- evidence -----------------------------------------------------------------------------------------------


def evidence(run: Run, server: LogServer, index: int) -> Ran:
    """Evidence of one access as `mine` writes it, checked offline."""
    words = ("--evidence", "out", "--entry", index, "--open", "event")
    assert run("mine", "me.keys.json", *COMMON, server.url, *words).exit == 0
    return run("evidence", f"out/{index}.evidence.json", "--policy", "policy.txt")


def test_evidence_says_whether_the_registration_changed_later_and_never_how(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    first = 3
    changed = rotate(log, health)
    second = log.access(health)
    publish(log, tmp_path)
    with LogServer(log) as server:
        old, new = evidence(run, server, first), evidence(run, server, second)
    assert (old.exit, new.exit) == (0, 0)
    assert f"The source's registration changed after this record, at entry {changed}," in old.out
    assert "whether it was revoked has to be looked up" in old.out
    assert "there is no newer version under this checkpoint" in new.out
    assert "changed" not in new.out
    revoked = log.change_source(health, status="revoked", revoked=format_date(DAY))
    publish(log, tmp_path)
    with LogServer(log) as server:
        old, new = evidence(run, server, first), evidence(run, server, second)
    assert (old.exit, new.exit) == (0, 0), "evidence shows the next version's place, not what it says"
    assert f"at entry {changed}," in old.out and f"at entry {revoked}," in new.out
    assert "key revoked" not in old.out + new.out
    shown = run("show", revoked, *COMMON, "public")
    assert "revoked" in shown.out, "where it says to look, it is told"


def test_evidence_with_a_version_that_was_no_longer_in_force_is_refuted(
    run: Run, tmp_path: Path, log: LogFactory, health: TestSource
) -> None:
    """Somebody shows a record of after the rotation with the version before it, to hide the rotation."""
    rotate(log, health)
    second = log.access(health)
    publish(log, tmp_path)
    with LogServer(log) as server:
        evidence(run, server, 3)
        evidence(run, server, second)
    old, new = (json.loads((tmp_path / "out" / f"{at}.evidence.json").read_text()) for at in (3, second))
    for swapped in ({"source": old["source"]}, {"source": old["source"], "source_next": old["source_next"]}):
        (tmp_path / "bad.json").write_text(json.dumps(new | swapped))
        assert run("evidence", "bad.json", "--policy", "policy.txt").exit == 1
    (tmp_path / "bad.json").write_text(json.dumps(old | {"source_next": new["source_next"]}))
    assert run("evidence", "bad.json", "--policy", "policy.txt").exit == 1
