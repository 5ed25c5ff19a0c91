"""`consistency`: what was seen once can never be taken back unnoticed."""

import json
from pathlib import Path

from logfactory import NOW, LogFactory
from ran import Run

from ledger.core.note import parse_note


def _consistency(run: Run, *more: object, log: str = "public") -> object:
    return run("consistency", "--policy", "policy.txt", "--log", log, "--json", *more)


def test_the_first_look_is_remembered_and_the_next_one_compared(
    run: Run, files: Path, log: LogFactory
) -> None:
    first = run("consistency", "--policy", "policy.txt", "--log", "public")
    assert first.exit == 0 and "nothing was remembered of this log before" in first.out
    size = log.size
    log.access(log.sources[0])
    log.publish(files / "public", NOW + 60)
    second = run("consistency", "--policy", "policy.txt", "--log", "public")
    assert second.exit == 0
    assert f"All {size} entries" in second.out
    assert f"the log of {log.size} entries contains all that was seen before" in second.out
    (kept,) = (files / "data/glassbook/seen").iterdir()
    assert kept.read_bytes() == (files / "public/checkpoint").read_bytes()


def test_a_checkpoint_saved_earlier_is_compared_and_nothing_else_forgotten(
    run: Run, files: Path, log: LogFactory
) -> None:
    (files / "old").write_bytes((files / "public/checkpoint").read_bytes())
    log.access(log.sources[0])
    log.publish(files / "public")
    ran = run(
        "consistency",
        "--policy",
        "policy.txt",
        "--log",
        "public",
        "--from",
        "old",
        "--state",
        "seen",
        "--json",
    )
    assert ran.exit == 0
    assert [one["file"] for one in ran.json["result"]["compared"]] == ["old"]
    assert Path("seen").exists()


def test_a_fork_is_refuted_with_both_checkpoints_in_the_evidence(
    run: Run, files: Path, log: LogFactory
) -> None:
    assert run("consistency", "--policy", "policy.txt", "--log", "public", "--state", "seen").exit == 0
    seen = Path("seen").read_bytes()
    other = LogFactory()
    source = other.add_source("Another story")
    for _ in range(20):
        other.access(source)
    other.publish(files / "other")
    ran = run("consistency", "--policy", "policy.txt", "--log", "other", "--state", "seen", "--json")
    assert ran.exit == 1
    evidence = json.loads(Path(ran.json["evidence_file"]).read_text())["evidence"]
    assert {evidence["seen"], evidence["note"]} == {seen.decode(), (files / "other/checkpoint").read_text()}
    assert all(parse_note(evidence[name].encode()) for name in ("seen", "note"))
    assert Path("seen").read_bytes() == seen, "what is refuted is not remembered"


def test_the_same_size_with_another_root_is_refuted(run: Run, files: Path, log: LogFactory) -> None:
    (files / "old").write_bytes(log.sign(log.size, bytes(32)))
    ran = run("consistency", "--policy", "policy.txt", "--log", "public", "--from", "old")
    assert ran.exit == 1
    assert "two different roots" in ran.err and "evidence: refuted-consistency-" in ran.err


def test_a_log_that_became_smaller_is_refuted(run: Run, files: Path, log: LogFactory) -> None:
    before = (files / "public/checkpoint").read_bytes()
    log.access(log.sources[0])
    log.publish(files / "public")
    assert run("consistency", "--policy", "policy.txt", "--log", "public", "--state", "seen").exit == 0
    (files / "public/checkpoint").write_bytes(before)
    ran = run("consistency", "--policy", "policy.txt", "--log", "public", "--state", "seen")
    assert ran.exit == 1 and "was seen before" in ran.err


def test_a_checkpoint_of_a_time_with_fewer_witnesses_still_binds_the_log(
    run: Run, files: Path, log: LogFactory
) -> None:
    text = log.sign(log.size, bytes(32)).decode()
    (files / "old").write_text("\n".join(line for line in text.split("\n") if "witness.example" not in line))
    assert run("consistency", "--policy", "policy.txt", "--log", "public", "--from", "old").exit == 1


def test_a_remembered_file_that_is_none_could_not_be_checked(run: Run, files: Path) -> None:
    (files / "seen").write_bytes(bytes(100))
    ran = run("consistency", "--policy", "policy.txt", "--log", "public", "--state", "seen", "--json")
    assert ran.exit == 3
    assert ran.json["message"].startswith("seen: "), "the log's own checkpoint would be blamed"
    assert (files / "seen").read_bytes() == bytes(100)


def test_mine_and_audit_compare_with_what_was_seen_when_told_to(
    run: Run, files: Path, log: LogFactory
) -> None:
    (files / "seen").write_bytes(log.sign(log.size, bytes(32)))
    common = ("--policy", "policy.txt", "--log", "public", "--state", "seen")
    assert run("audit", "--jobs", "1", *common).exit == 1
    assert run("mine", "me.keys.json", *common).exit == 1
    assert run("mine", "me.keys.json", "--policy", "policy.txt", "--log", "public").exit == 0
