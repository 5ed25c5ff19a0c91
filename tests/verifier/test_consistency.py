"""`consistency`: what was seen once can never be taken back unnoticed."""

import json
import shutil
from pathlib import Path

import pytest
from logfactory import NOW, ORIGIN, LogFactory
from ran import Ran, Run

from ledger.core.encoding import b64encode
from ledger.core.note import parse_note


def _consistency(run: Run, *more: object, log: str = "public") -> Ran:
    ran: Ran = run("consistency", "--policy", "policy.txt", "--log", log, "--json", *more)
    return ran


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


def _fork(log: LogFactory, extra: int) -> LogFactory:
    """Another history of the same log: as many entries as `log` but for `extra`, and not the same."""
    other = LogFactory()
    source = other.add_source("Another story")
    while other.size < log.size + extra - 1:
        other.access(source)
    other.seal_batch()
    return other


@pytest.mark.parametrize("extra", [0, 1, 7, -3])
def test_a_third_party_can_check_a_fork_with_the_policy_alone(
    run: Run, files: Path, log: LogFactory, extra: int
) -> None:
    """Sizes 16 (a power of two, of which the proof does not hold the root) and others; larger, equal, smaller."""
    while log.size < 15:
        log.access(log.sources[0])
    log.publish(files / "public")
    assert log.size == 16
    assert _consistency(run, "--state", "seen").exit == 0
    other = _fork(log, extra)
    other.publish(files / "public")
    assert other.size == 16 + extra
    ran = _consistency(run, "--state", "seen")
    assert ran.exit == 1
    assert json.loads(Path(ran.json["evidence_file"]).read_text())["refuted"] == "Fork"
    shutil.rmtree(files / "public")
    judged = run("consistency", "--policy", "policy.txt", "--evidence", ran.json["evidence_file"], "--json")
    assert judged.exit == 1 and "the log has forked" in judged.json["message"]
    assert judged.json["result"]["contradiction"] is True


def test_a_smaller_fork_after_which_the_larger_tree_is_gone_says_why_there_is_no_proof(
    run: Run, files: Path, log: LogFactory
) -> None:
    assert _consistency(run, "--state", "seen").exit == 0
    shutil.rmtree(files / "public")
    other = _fork(log, -3)
    other.publish(files / "public")
    ran = _consistency(run, "--state", "seen")
    assert ran.exit == 1
    kept = json.loads(Path(ran.json["evidence_file"]).read_text())["evidence"]
    assert f"the tree of size {log.size} cannot be read" in kept["no_proof"]
    judged = run("consistency", "--policy", "policy.txt", "--evidence", ran.json["evidence_file"])
    assert judged.exit == 3 and "no consistency proof" in judged.err


def test_a_fork_that_no_witness_signed_is_shown_all_the_same(run: Run, files: Path, log: LogFactory) -> None:
    """A thief of the log's key gets no cosignature: what he signs is a fork by the log's key."""
    assert _consistency(run, "--state", "seen").exit == 0
    other = _fork(log, 3)
    other.publish(files / "public")
    note = (files / "public/checkpoint").read_text()
    alone = [line for line in note.split("\n") if "witness.example" not in line]
    (files / "public/checkpoint").write_text("\n".join(alone))
    ran = _consistency(run, "--state", "seen")
    assert ran.exit == 1 and "the log has forked" in ran.json["message"]
    judged = run("consistency", "--policy", "policy.txt", "--evidence", ran.json["evidence_file"])
    assert judged.exit == 1 and "cosigned by no witness of this policy" in judged.out


def test_evidence_of_a_rollback_says_that_the_two_do_not_contradict_each_other(
    run: Run, files: Path, log: LogFactory
) -> None:
    before = (files / "public/checkpoint").read_bytes()
    log.access(log.sources[0])
    log.publish(files / "public")
    assert _consistency(run, "--state", "seen").exit == 0
    (files / "public/checkpoint").write_bytes(before)
    ran = _consistency(run, "--state", "seen")
    assert ran.exit == 1
    judged = run("consistency", "--policy", "policy.txt", "--evidence", ran.json["evidence_file"])
    assert judged.exit == 0 and "only those who looked can say" in judged.out


def test_a_larger_tree_dated_before_a_smaller_is_evidence(run: Run, files: Path, log: LogFactory) -> None:
    assert _consistency(run, "--state", "seen").exit == 0
    log.access(log.sources[0])
    log.publish(files / "public", NOW - 7200)
    ran = _consistency(run, "--state", "seen")
    assert ran.exit == 1
    judged = run("consistency", "--policy", "policy.txt", "--evidence", ran.json["evidence_file"])
    assert judged.exit == 1 and "and the larger size" in judged.err


def test_forged_evidence_shows_nothing(run: Run, files: Path, log: LogFactory) -> None:
    assert _consistency(run, "--state", "seen").exit == 0
    _fork(log, 5).publish(files / "public")
    ran = _consistency(run, "--state", "seen")
    true = json.loads(Path(ran.json["evidence_file"]).read_text())

    def judge(**changes: object) -> int:
        evidence = {name: value for name, value in (true["evidence"] | changes).items() if value is not None}
        Path("forged").write_text(json.dumps(true | {"evidence": evidence}))
        return int(run("consistency", "--policy", "policy.txt", "--evidence", "forged").exit)

    zero = b64encode(bytes(32))
    assert judge() == 1
    assert judge(prefix_root=zero) == 3
    assert judge(proof=[zero]) == judge(proof=["AA=="]) == judge(proof=None) == judge(proof="x") == 3
    assert judge(prefix_root="AA==") == judge(prefix_root=None) == judge(seen=None) == judge(note=7) == 3
    # A note that the log did not sign refutes only itself.
    unsigned = "\n".join(line for line in true["evidence"]["note"].split("\n") if ORIGIN not in line[:40])
    assert judge(note=unsigned) in (1, 3)
    assert judge(note=true["evidence"]["seen"], proof=[]) == 0
    Path("forged").write_text("[]")
    assert run("consistency", "--policy", "policy.txt", "--evidence", "forged").exit == 3


def test_a_log_or_a_file_is_looked_at_and_not_both(run: Run, files: Path) -> None:
    assert run("consistency", "--policy", "policy.txt").exit == 2
    both = ("--log", "public", "--evidence", "policy.txt")
    assert run("consistency", "--policy", "policy.txt", *both).exit == 2
