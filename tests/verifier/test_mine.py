"""`mine`: every access with the proof that none is missing, or what exactly is not shown."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory
from logserver import LogServer
from ran import Run

from ledger.core.encoding import b64decode, b64encode, day_of, month_of
from ledger.core.evidence import check_evidence, parse_evidence
from ledger.core.keys import Ed25519PrivateKey

ME = "nhs:9434765919"


@pytest.fixture
def server(log: LogFactory, files: Path) -> Iterator[LogServer]:
    with LogServer(log) as server:
        yield server


def _keys(path: Path, log: LogFactory, **options: Any) -> Path:
    path.write_bytes(log.keys_file(ME, **options))
    return path


def _mine(run: Run, where: object, *more: object) -> Any:
    return run("mine", "me.keys.json", "--policy", "policy.txt", "--log", where, "--json", *more)


def test_every_access_is_told_source_by_source_with_its_details(run: Run, server: LogServer) -> None:
    ran = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", server.url)
    assert ran.exit == 0
    assert "Ministry of Health · Patient records: 3 accesses" in ran.out
    assert "dr-1138, physician, Ward 3, looked at your data in ehr: Health record." in ran.out
    assert "22 June 2026, 09:30 UTC" in ran.out
    assert "why: We read your record to care for you (Treating or caring for you)" in ran.out
    assert "legal ground: GDPR 9(2)(h) health care" in ran.out
    assert "reason as written: case 17: follow-up" in ran.out
    assert "passed on to: the court of appeal" in ran.out
    assert "complain: https://ombudsman.example.gov/complain" in ran.out
    assert (
        "HOLDS: 4 accesses in 2 sources, and none is missing, up to records sealed until July 2026" in ran.out
    )
    assert "No auditor stands behind the index yet" in ran.out
    assert "never logged" in ran.out
    assert ran.err == ""


def test_texts_are_in_the_language_asked_for(run: Run, server: LogServer) -> None:
    ran = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", server.url, "--lang", "cy-GB")
    assert "Rydym yn darllen eich cofnod i ofalu amdanoch" in ran.out


def test_a_missing_envelope_is_said_and_leaves_exit_0(run: Run, server: LogServer) -> None:
    ran = _mine(run, server.url)
    assert ran.exit == 0
    assert ran.json["result"]["counts"] == {
        "accesses": 4, "details_opened": 3, "details_missing": 1, "details_not_fetched": 0,
        "details_refuted": 0, "streams_checked": 4,
    }  # fmt: skip
    assert [access["details"] for access in ran.json["result"]["sources"][0]["accesses"]] == [
        "opened", "opened", "missing",
    ]  # fmt: skip


def test_a_folder_shows_every_access_without_details_and_exits_0(run: Run, files: Path) -> None:
    ran = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", "public")
    assert ran.exit == 0
    assert "Details were not fetched" in ran.out
    assert ran.out.count("why: We read your record to care for you") == 4
    assert "22 June 2026" in ran.out


def test_a_policy_with_an_auditor_in_its_quorum_is_not_told_off(
    run: Run, files: Path, log: LogFactory
) -> None:
    (files / "policy.txt").write_text(log.policy_text(auditor=True))
    ran = _mine(run, "public")
    assert ran.json["result"]["log"]["auditor_in_quorum"] is True
    assert not any("auditor" in note for note in ran.json["result"]["notes"])


def test_keys_in_several_files_are_merged(run: Run, files: Path, log: LogFactory) -> None:
    one = _keys(files / "one.keys.json", log, sources=log.sources[:1])
    two = _keys(files / "two.keys.json", log, sources=log.sources[1:])
    ran = run("mine", one, two, one, "--policy", "policy.txt", "--log", "public", "--json")
    assert ran.exit == 0
    assert ran.json["result"]["complete"] is True
    assert ran.json["result"]["counts"]["streams_checked"] == 4


def test_a_stream_without_key_is_named_and_the_list_still_shown(
    run: Run, files: Path, log: LogFactory
) -> None:
    _keys(files / "me.keys.json", log, sources=log.sources[:1])
    ran = _mine(run, "public")
    assert ran.exit == 3
    assert ran.json["verdict"] == "not complete"
    assert ran.json["result"]["counts"]["accesses"] == 3
    assert ran.json["result"]["missing_streams"] == [
        {"source": 2, "epoch": epoch, "seal": 0, "month": None, "scheme": "nhs", "key_destroyed": None}
        for epoch in (2025, 2026)
    ]
    text = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", "public")
    assert text.exit == 3
    assert "Ministry of Health · Patient records: 3 accesses" in text.out
    assert "source 2, year 2025, identifier of kind nhs" in text.out
    assert "NOT COMPLETE" in text.err and "source 2, year 2025" in text.err


def test_a_source_that_could_not_be_asked_is_not_told_as_one_without_access(
    run: Run, files: Path, log: LogFactory
) -> None:
    log.add_source("Land Registry", schemes=["id"])
    log.publish(files / "public")
    ran = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", "public")
    assert ran.exit == 0
    assert "HOLDS: 4 accesses in 2 sources" in ran.out
    assert "No access: Land Registry" not in ran.out
    assert "Not asked, for want of an identifier that is used there: Land Registry" in ran.out
    assert [source["asked"] for source in _mine(run, "public").json["result"]["sources"]] == [
        True,
        True,
        False,
    ]


def test_files_without_a_key_prove_nothing(run: Run, files: Path, log: LogFactory) -> None:
    (files / "me.keys.json").write_text(json.dumps({"origin": log.origin, "keys": []}))
    ran = _mine(run, "public")
    assert ran.exit == 3
    assert "me.keys.json: no stream key" in ran.json["message"]


def test_every_seal_month_up_to_the_present_is_asked_for(run: Run, files: Path, log: LogFactory) -> None:
    present = month_of(day_of(NOW))
    source = log.add_source("Police", seal_months=3)
    sealed = log.access(source, day=DAY - 60, seal=present)
    later = log.access(source, day=DAY, seal=present + 1)
    log.publish(files / "public")
    _keys(files / "me.keys.json", log)
    ran = _mine(run, "public")
    january = (2026 - 1970) * 12
    assert ran.exit == 3
    asked = [
        (gap["epoch"], gap["seal"]) for gap in ran.json["result"]["missing_streams"] if gap["source"] == 3
    ]
    old = [(2025, month) for month in range(january - 11, january + 3)]
    assert asked == old + [(2026, month) for month in range(january + 1, present + 1)]
    assert any(gap["month"] == "July 2026" for gap in ran.json["result"]["missing_streams"])

    _keys(files / "me.keys.json", log, seals=[0, *range(january - 11, present + 1)])
    ran = _mine(run, "public")
    assert ran.exit == 0, ran.out
    found = [access["index"] for access in ran.json["result"]["sources"][2]["accesses"]]
    assert found == [sealed] and later not in found
    assert "July 2026" in ran.json["message"]


def test_a_scheme_that_only_an_old_version_stated_is_asked_for(
    run: Run, files: Path, log: LogFactory
) -> None:
    log.change_source(log.sources[0], schemes=["id"])
    log.publish(files / "public")
    _keys(files / "me.keys.json", log, sources=log.sources[1:])
    gaps = _mine(run, "public").json["result"]["missing_streams"]
    assert [(gap["source"], gap["scheme"]) for gap in gaps] == [(1, "nhs"), (1, "nhs")]


@pytest.mark.parametrize(
    "status", [{"status": "retired", "retired": "2026-06-30"}, {"status": "revoked", "revoked": "2026-06-22"}]
)
def test_sources_that_are_gone_count_too(
    run: Run, files: Path, log: LogFactory, status: dict[str, str]
) -> None:
    log.change_source(log.sources[0], **status)
    log.publish(files / "public")
    ran = _mine(run, "public")
    assert ran.exit == 0
    told = ran.json["result"]["sources"][0]
    assert told["status"] == status["status"]
    assert [access["suspect"] for access in told["accesses"]] == [status["status"] == "revoked"] * 3


def test_a_key_that_its_proof_does_not_prove_is_refuted_without_showing_it(
    run: Run, files: Path, log: LogFactory
) -> None:
    keys = json.loads(log.keys_file(ME))
    beta = bytearray(b64decode(keys["keys"][1]["beta"], ""))
    beta[0] ^= 1
    keys["keys"][1]["beta"] = b64encode(bytes(beta))
    (files / "me.keys.json").write_text(json.dumps(keys))
    ran = _mine(run, "public")
    assert ran.exit == 1
    assert "source 1, epoch 2026" in ran.json["message"]
    kept = Path(ran.json["evidence_file"]).read_text()
    for secret in (keys["keys"][1]["beta"], keys["keys"][1]["pi"], ME):
        assert secret not in kept


def test_an_envelope_of_another_record_is_refuted_and_the_list_still_shown(
    run: Run, server: LogServer, log: LogFactory
) -> None:
    stream = log.stream(log.sources[0], ME, 2026)
    log.envelopes[stream.deposited(1)] = log.envelopes[stream.deposited(2)]
    ran = _mine(run, server.url)
    assert ran.exit == 1
    assert ran.json["result"]["counts"]["details_refuted"] == 1
    assert ran.json["result"]["counts"]["accesses"] == 4
    assert Path(ran.json["evidence_file"]).exists()


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"subject": "nhs:1112223334"}, "another person"),
        ({"reason": None}, "reason"),
        ({"event": {"at": "2026-06-21T10:00:00Z"}}, "not on the day"),
        ({"purpose": {"activity": 2}}, "differs"),
    ],
)
def test_details_that_contradict_the_record_are_refuted(
    run: Run, server: LogServer, log: LogFactory, claims: dict[str, Any], said: str
) -> None:
    index = log.access(log.sources[0], **claims)
    server.refresh()
    ran = _mine(run, server.url)
    assert ran.exit == 1
    assert f"details of entry {index}" in ran.json["message"] and said in ran.json["message"]


def test_a_record_signed_by_another_key_is_refuted(run: Run, files: Path, log: LogFactory) -> None:
    index = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    log.publish(files / "public")
    ran = _mine(run, "public")
    assert ran.exit == 1
    assert f"entry {index}: is not signed by source 1" in ran.json["message"]


def test_a_number_that_was_skipped_is_refuted(run: Run, files: Path, log: LogFactory) -> None:
    log.sources[1].counters[(2026, 0, ME)] = 2
    index = log.access(log.sources[1])
    log.publish(files / "public")
    ran = _mine(run, "public")
    assert ran.exit == 1
    assert f"entry {index} of source 2: record 2" in ran.json["message"]


def test_a_record_whose_activity_is_not_registered_is_refuted(run: Run, files: Path, log: LogFactory) -> None:
    index = log.access(log.sources[0], activity=9)
    log.publish(files / "public")
    ran = _mine(run, "public")
    assert ran.exit == 1
    assert f"entry {index}" in ran.json["message"] and "activity" in ran.json["message"]


def test_keys_for_another_log_could_not_be_checked(run: Run, files: Path) -> None:
    other = LogFactory("log.example.gov/other")
    other.add_source()
    (files / "me.keys.json").write_bytes(other.keys_file(ME))
    ran = _mine(run, "public")
    assert ran.exit == 3
    assert "log.example.gov/other" in ran.json["message"]


def test_a_key_for_a_source_the_register_lacks_could_not_be_checked(
    run: Run, files: Path, log: LogFactory
) -> None:
    log.add_source("Newer than the copy")
    _keys(files / "me.keys.json", log)
    ran = _mine(run, "public")
    assert ran.exit == 3
    assert "source 3" in ran.json["message"]
    assert ran.json["result"]["counts"]["accesses"] == 4


def test_a_key_for_another_spelling_of_an_identifier_proves_nothing(
    run: Run, files: Path, log: LogFactory
) -> None:
    keys = json.loads(log.keys_file(ME))
    keys["keys"].append(log.key(log.sources[0], "nhs:943-476-5919", 2026))
    (files / "me.keys.json").write_text(json.dumps(keys))
    ran = _mine(run, "public")
    assert ran.exit == 3
    assert "canonical form of nhs" in ran.json["message"] and "943" not in ran.json["message"]


def test_an_old_state_of_the_log_is_called_old(run: Run, files: Path, log: LogFactory) -> None:
    log.publish(files / "public", NOW - 5 * 86_400)
    ran = _mine(run, "public")
    assert ran.exit == 0
    assert any("5 days old" in note for note in ran.json["result"]["notes"])


def test_evidence_opens_what_was_chosen_and_nothing_else(
    run: Run, server: LogServer, log: LogFactory
) -> None:
    ran = _mine(run, server.url, "--evidence", "shown", "--entry", "3", "--open", "actor,event")
    assert ran.exit == 0
    (path,) = ran.json["result"]["evidence_files"]
    assert path == "shown/3.evidence.json"
    text = Path(path).read_text()
    checked = check_evidence(parse_evidence(text.encode()), log.policy(), NOW)
    assert list(checked.sd_jwt.claims) == ["actor", "event"] and checked.index == 3
    again = run("evidence", path, "--policy", "policy.txt")
    assert again.exit == 0 and "not opened: subject, data, purpose, reason" in again.out
    keys = json.loads(log.keys_file(ME))["keys"]
    assert not any(key[name] in text for key in keys for name in ("beta", "pi"))


def test_evidence_of_all_accesses_leaves_out_those_without_details(run: Run, server: LogServer) -> None:
    ran = _mine(run, server.url, "--evidence", "shown", "--open", "all")
    assert ran.exit == 0
    assert len(ran.json["result"]["evidence_files"]) == 3
    assert Path(ran.json["result"]["evidence_files"][0]).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--entry", "1"], "not among your accesses"),
        (["--entry", "5"], "missing"),
        (["--open", "recipient"], "not in it"),
    ],
)
def test_evidence_that_cannot_be_made_says_why(
    run: Run, server: LogServer, options: list[str], said: str
) -> None:
    ran = _mine(run, server.url, "--evidence", "shown", *options)
    assert ran.exit == 3
    assert said in ran.json["message"]


def test_evidence_from_a_folder_says_that_details_are_needed(run: Run, files: Path) -> None:
    ran = _mine(run, "public", "--evidence", "shown")
    assert ran.exit == 3 and "--log URL" in ran.json["message"]


def test_entry_without_evidence_is_a_usage_error(run: Run, files: Path) -> None:
    assert (
        run("mine", "me.keys.json", "--policy", "policy.txt", "--log", "public", "--open", "actor").exit == 2
    )


def test_a_claim_that_there_is_none_of_is_found_before_anything_is_asked(run: Run, files: Path) -> None:
    ran = run(
        "mine", "me.keys.json", "--policy", "policy.txt", "--log", "gone",
        "--evidence", "shown", "--open", "salary",
    )  # fmt: skip
    assert ran.exit == 2
    assert "no claim of that name" in ran.err and "subject" in ran.err


def test_labels_are_not_asked_in_the_order_of_a_stream(run: Run, server: LogServer, log: LogFactory) -> None:
    bodies: list[list[bytes]] = []
    true = log.index_answer

    def noting(labels: Any, note: bytes) -> Any:
        bodies.append(list(labels))
        return true(labels, note)

    log.index_answer = noting  # type: ignore[method-assign]
    assert _mine(run, server.url).exit == 0
    assert all(labels == sorted(labels) for labels in bodies) and len(bodies) >= 2


def test_a_log_that_grows_while_it_is_read_is_read_again_to_the_end(
    run: Run, server: LogServer, log: LogFactory
) -> None:
    true = log.index_answer
    left = [4]

    def growing(labels: Any, note: bytes) -> Any:
        answer = true(labels, note)
        if left[0]:
            left[0] -= 1
            log.access(log.sources[1], "nhs:1112223334")
            server.refresh()
        return answer

    log.index_answer = growing  # type: ignore[method-assign]
    ran = _mine(run, server.url)
    assert ran.exit == 0, ran.out
    assert ran.json["result"]["counts"]["accesses"] == 4


def test_what_a_record_says_cannot_move_the_cursor(run: Run, server: LogServer, log: LogFactory) -> None:
    log.access(log.sources[0], reason="\x1b[2J\u202egone\r\nHOLDS: nothing")
    server.refresh()
    ran = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", server.url)
    assert "\x1b" not in ran.out and "\u202e" not in ran.out and "\r" not in ran.out
    assert "\nHOLDS: nothing" not in ran.out
