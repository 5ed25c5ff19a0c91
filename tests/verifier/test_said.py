"""What a source says beside its keys is told as its word, and changes no verdict."""

import json
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory
from logserver import LogServer
from ran import Ran, Run

from ledger.core.encoding import day_of, month_of
from ledger.core.keysfile import KeysFile, format_keys_file, parse_keys_file
from ledger.core.notices import EpochNotice, Erased, Notices, Released, parse_notices

ME = "nhs:9434765919"
MONTH = month_of(day_of(NOW))


def say(files: Path, log: LogFactory, notices: Any, **options: Any) -> None:
    """Her keys file with these notices."""
    kept = json.loads(log.keys_file(ME, **options))
    (files / "me.keys.json").write_text(json.dumps(kept | {"notices": notices}))


def mine(run: Run, where: object, *more: str) -> Ran:
    return run("mine", "me.keys.json", "--policy", "policy.txt", "--log", where, *more)


ERASED = {"source": 1, "epoch": 2026, "seal": 0, "subject": ME, "number": 3, "on": "2026-07-01"}


def test_details_that_were_erased_look_like_details_that_are_withheld(
    run: Run, files: Path, log: LogFactory
) -> None:
    with LogServer(log) as server:
        before = mine(run, server.url)
        say(files, log, {"erased": [ERASED]})
        after, found = mine(run, server.url), mine(run, server.url, "--json").json
    assert before.exit == after.exit == 0
    assert "The log cannot tell why" in before.out and "withheld" in before.out
    assert "the department says that it had them erased on 1 July 2026" in after.out
    assert "withheld" not in after.out
    third = found["result"]["sources"][0]["accesses"][2]
    assert (third["details"], third["erased_on"]) == ("missing", "2026-07-01")
    assert found["result"]["counts"]["details_missing"] == 1


def test_details_that_are_there_are_told_as_erased(run: Run, files: Path, log: LogFactory) -> None:
    say(files, log, {"erased": [ERASED | {"number": 1}]})
    with LogServer(log) as server:
        found = mine(run, server.url, "--json").json["result"]["sources"][0]["accesses"]
    assert [(one["details"], one["erased_on"]) for one in found] == [
        ("opened", None), ("opened", None), ("missing", None),
    ]  # fmt: skip


def test_a_year_without_key_is_complete_or_its_end_not_told(run: Run, files: Path, log: LogFactory) -> None:
    kept = json.loads(log.keys_file(ME))
    kept["keys"] = [key for key in kept["keys"] if (key["source"], key["epoch"]) != (1, 2025)]
    kept["notices"] = {"destroyed": [{"source": 1, "epoch": 2025, "on": "2026-07-01"}]}
    (files / "me.keys.json").write_text(json.dumps(kept))
    ran = mine(run, "public")
    assert ran.exit == 3  # its word proves nothing: the list is not complete
    assert "source says that it destroyed its key of 2025 on 1 July 2026" in ran.out
    assert "NOT COMPLETE" in ran.err and "only keys given to you before can show it" in ran.err
    gaps = mine(run, "public", "--json").json["result"]["missing_streams"]
    assert [(gap["epoch"], gap["key_destroyed"]) for gap in gaps] == [(2025, "2026-07-01")]


def test_keys_fetched_before_their_year_ended_stop_working(run: Run, files: Path, log: LogFactory) -> None:
    old = files / "old.keys.json"
    old.write_bytes(log.keys_file(ME))
    kept = json.loads(log.keys_file(ME))
    kept["keys"] = [key for key in kept["keys"] if key["epoch"] != 2025]
    kept["notices"] = {"destroyed": [{"source": 1, "epoch": 2025, "on": "2026-07-01"}]}
    (files / "me.keys.json").write_text(json.dumps(kept))
    ran = run("mine", "me.keys.json", old, "--policy", "policy.txt", "--log", "public")
    assert ran.exit == 0 and "destroyed" not in ran.out


def test_a_person_is_not_told_to_keep_her_keys(run: Run, files: Path, log: LogFactory) -> None:
    say(files, log, {"announced": [{"source": 2, "epoch": 2025, "not_before": "2027-02-01"}]})
    ran = mine(run, "public")
    assert ran.exit == 0
    assert "Source 2 has announced that it destroys its key of 2025 on 1 February 2027 or later" in ran.out


def test_keys_of_destroyed_years_alone_are_told_as_no_keys(run: Run, files: Path, log: LogFactory) -> None:
    say(files, log, {"destroyed": [{"source": 1, "epoch": 2025, "on": "2026-07-01"}]}, sources=[])
    ran = mine(run, "public")
    assert ran.exit == 3
    assert "it destroyed its keys of 2025" in ran.err


@pytest.mark.parametrize(
    "notices",
    [
        None, 7, [], "x", {"erased": 3}, {"erased": [3]}, {"erased": [{}]}, {"erased": [ERASED | {"on": "1969-12-31"}]},
        {"erased": [ERASED | {"number": 0}]}, {"erased": [ERASED | {"subject": "x"}]}, {"destroyed": [{"source": 1}]},
        {"announced": [{"source": 1, "epoch": 2025, "not_before": "soon"}]},
        {"released": [{"source": 1, "subject": ME, "at": 1, "by": ["\x1b[2J"]}]},
        {"released": [{"source": 1, "subject": ME, "at": 1, "by": "me"}]},
        {"released": [{"source": 1, "subject": ME, "at": 1.5, "by": []}]},
        {"released": [{"source": 1, "subject": ME, "at": 2**40, "by": []}]},
        {"announced": [{"source": True, "epoch": 2025, "not_before": "2027-01-01"}]},
    ],
)  # fmt: skip
def test_what_others_mean_by_the_name_spoils_a_keys_file(
    run: Run, files: Path, log: LogFactory, notices: Any
) -> None:
    assert not parse_notices(notices)
    say(files, log, notices)
    ran = mine(run, "public")
    assert ran.exit == 0
    assert "announced" not in ran.out


def test_notices_are_read_back_otherwise_than_written() -> None:
    notices = Notices(
        (Erased(1, 2026, 687, ME, 3, DAY),),
        (EpochNotice(1, 2019, DAY),),
        (EpochNotice(1, 2020, DAY + 9),),
        (Released(1, ME, 10**9), Released(1, ME, 10**9 + 1, ("a carer", "an office"))),
    )
    file = KeysFile("log.example.gov/access/2026", (), notices)
    assert parse_keys_file(format_keys_file(file)) == file
    assert "notices" not in json.loads(format_keys_file(KeysFile("log.example.gov/access/2026", ())))
    assert ME not in repr(notices)


def test_a_release_that_the_log_cannot_show_is_kept_back(run: Run, files: Path, log: LogFactory) -> None:
    given: list[dict[str, Any]] = [
        {"source": 1, "subject": ME, "at": 1_784_000_000 + n, "by": []} for n in range(0, 180, 60)
    ]
    given[1]["by"] = ["carer@example.org", "an office"]
    say(files, log, {"released": given})
    ran = mine(run, "public")
    assert ran.exit == 0
    assert "Source 1 can record nothing more in the log" in ran.out
    assert "UTC to carer@example.org, sent by an office, acting for you; on " in " ".join(ran.out.split())
    say(files, log, {"released": [one | {"at": n} for n, one in enumerate(given * 9)]})
    assert "and 7 times before" in " ".join(mine(run, "public").out.split())


def test_a_stream_opened_early_is_refused_or_not_told(run: Run, files: Path) -> None:
    log = LogFactory()
    source = log.add_source(seal_months=12)
    log.access(source)
    log.access(source, seal=MONTH + 2)
    log.publish(files / "public2")
    (files / "policy.txt").write_text(log.policy_text())
    seals = [0, *range((2025 - 1970) * 12 + 1, MONTH + 1)]
    usual = log.keys_file(ME, seals=seals)
    (files / "me.keys.json").write_bytes(usual)
    assert mine(run, "public2", "--json").json["result"]["counts"]["accesses"] == 1
    (files / "me.keys.json").write_bytes(log.keys_file(ME, seals=[*seals, MONTH + 2]))
    ran = mine(run, "public2")
    assert "2 accesses" in ran.out
    assert "Source 1 opened early for you what is sealed until September 2026" in ran.out
