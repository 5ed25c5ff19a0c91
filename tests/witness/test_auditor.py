"""An auditor cosigns what it has audited, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from auditedlog import NAME, AuditedLog, Auditor, Clock, make_auditor, tell
from logfactory import DAY, NOW, LogFactory, seed

from ledger.core.encoding import b64encode
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.note import COSIGNATURE, MLDSA44, format_note, parse_lines, parse_note, verify_line
from verifier_cli.auditfile import AuditFile
from verifier_cli.cosigning import Request, cosign, examine
from verifier_cli.submission import Answer
from verifier_cli.witnessfile import WitnessFile


@pytest.fixture
def log(tmp_path: Path) -> AuditedLog:
    return AuditedLog(tmp_path / "public")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def auditor(tmp_path: Path, log: AuditedLog, clock: Clock) -> Iterator[Auditor]:
    made = Auditor(make_auditor(tmp_path / "w.sqlite", log, (COSIGNATURE, MLDSA44)), clock, log.origin)
    yield made
    made.close()


def again(auditor: Auditor) -> Auditor:
    """The same witness after a restart."""
    origin = auditor.follower.origin
    auditor.follower.close()
    return Auditor(WitnessFile(auditor.file.path), auditor.clock, origin)


def audited(auditor: Auditor) -> int:
    """What is saved of the audit."""
    saved = AuditFile(auditor.file.open_again())
    try:
        return saved.size(auditor.follower.origin)
    finally:
        saved.close()


def kinds(auditor: Auditor) -> list[str]:
    """The alarms that stand."""
    return [alarm.kind for alarm in auditor.file.alarms() if alarm.ended is None]


def good_lines(auditor: Auditor, log: AuditedLog, answer: Answer) -> int:
    """How many lines it answered with, each checked."""
    assert answer.status == 200, answer
    lines = parse_lines(answer.body.encode())
    text = parse_note(log.note()).text
    for vkey, line in zip(auditor.file.vkeys, lines, strict=True):
        assert verify_line(vkey, text, line) == int(auditor.clock())
    return len(lines)


def test_cosigns_with_each_of_its_keys_what_it_has_audited(auditor: Auditor, log: AuditedLog) -> None:
    old = 0
    for _ in range(3):
        assert good_lines(auditor, log, auditor.post(log.body(old))) == 2
        assert audited(auditor) == auditor.file.seen(log.origin).size == log.size
        old = log.size
        log.grow(300)


def test_an_idle_log_is_cosigned_anew_without_reading_it(
    auditor: Auditor, log: AuditedLog, clock: Clock
) -> None:
    assert auditor.post(log.body(0)).status == 200
    auditor.file.set_places(log.origin, [str(log.folder / "nowhere")])
    clock.now += 300
    assert good_lines(auditor, log, auditor.post(log.body(log.size))) == 2


def test_an_entry_that_breaks_a_rule_is_refused_for_good(
    auditor: Auditor, log: AuditedLog, capfd: pytest.CaptureFixture[str]
) -> None:
    assert auditor.post(log.body(0)).status == 200
    old = log.size
    log.factory.access(log.source, key=Ed25519PrivateKey.from_seed(seed("thief")))
    log.grow()
    answer = auditor.post(log.body(old))
    assert answer.status == 422 and f"entry {old} " in answer.body and "signature" in answer.body
    assert "ALARM (violation)" in capfd.readouterr().err
    assert list(auditor.file.path.parent.glob(f"violation-{old}-signature-*.json"))
    restarted = again(auditor)
    log.grow(5)
    assert restarted.post(log.body(old)) == answer
    assert restarted.file.seen(log.origin).size == old and kinds(restarted) == ["violation"]
    restarted.close()


@pytest.mark.parametrize("wrong", ["index_root", "log_root", "labels"])
def test_an_index_root_that_is_wrong_is_refused(auditor: Auditor, log: AuditedLog, wrong: str) -> None:
    assert auditor.post(log.body(0)).status == 200
    old = log.size
    log.factory.access(log.source)
    at = log.factory.seal_batch()
    raw = bytearray(log.factory.entries[at])
    raw[{"index_root": 50, "log_root": 20, "labels": 81}[wrong]] ^= 1
    # Taken out and put in again, so that tree and root are those of the false entry.
    rest = log.factory.entries[:at]
    factory = log.factory
    factory.entries.clear()
    factory._frontier = type(factory._frontier)()
    for entry in rest:
        factory.entries.append(entry)
        factory._frontier.append(leaf_hash(entry))
    factory.append(bytes(raw))
    factory.publish(log.folder)
    answer = auditor.post(log.body(old))
    assert answer.status == 422 and "index root" in answer.body
    assert auditor.file.seen(log.origin).size == old


def test_an_entry_ahead_of_the_clock_waits_and_nothing_is_kept_beyond_it(
    auditor: Auditor, log: AuditedLog, clock: Clock
) -> None:
    assert auditor.post(log.body(0)).status == 200
    old = log.size
    today = NOW // 86_400
    log.grow(1, day=today + 1)
    for _ in range(3):
        answer = auditor.post(log.body(old))
        assert answer.status == 503 and answer.retry_after
    assert audited(auditor) == old and kinds(auditor) == ["ahead"]
    restarted = again(auditor)
    assert restarted.post(log.body(old)).status == 503
    clock.now = (today + 1) * 86_400 - 300
    assert restarted.post(log.body(old)).status == 200
    assert kinds(restarted) == []
    restarted.close()


def test_a_clock_set_back_behind_what_was_audited_cosigns_nothing(
    auditor: Auditor, log: AuditedLog, clock: Clock
) -> None:
    assert auditor.post(log.body(0)).status == 200
    log.grow()
    clock.now -= 1
    assert auditor.post(log.body(auditor.file.seen(log.origin).size)).status == 503
    restarted = again(auditor)
    assert restarted.post(log.body(restarted.file.seen(log.origin).size)).status == 503
    restarted.close()


def test_entries_that_are_not_there_are_no_violation(auditor: Auditor, log: AuditedLog) -> None:
    assert auditor.post(log.body(0)).status == 200
    old = log.size
    log.grow(2)
    bundle = next((log.folder / "tile" / "entries").rglob(f"{log.size}"))
    kept = bundle.read_bytes()
    bundle.unlink()
    answer = auditor.post(log.body(old))
    assert answer.status == 503 and kinds(auditor) == ["unreadable"]
    bundle.write_bytes(kept)
    assert auditor.post(log.body(old)).status == 200 and kinds(auditor) == []


def test_entries_that_are_not_those_signed_are_no_violation(auditor: Auditor, log: AuditedLog) -> None:
    assert auditor.post(log.body(0)).status == 200
    old = log.size
    log.grow(2)
    bundle = next((log.folder / "tile" / "entries").rglob(f"{log.size}"))
    kept = bundle.read_bytes()
    bundle.write_bytes(kept[:-1] + bytes((kept[-1] ^ 1,)))
    answer = auditor.post(log.body(old))
    assert answer.status == 503 and kinds(auditor) == ["copy"]
    assert audited(auditor) == old
    bundle.write_bytes(kept)
    assert auditor.post(log.body(old)).status == 200 and kinds(auditor) == []


def test_a_mirror_stands_in_for_a_false_copy(auditor: Auditor, log: AuditedLog, tmp_path: Path) -> None:
    auditor.file.set_places(log.origin, [str(tmp_path / "gone"), str(log.folder)])
    (tmp_path / "gone").mkdir()
    assert auditor.post(log.body(0)).status == 200


def test_a_fork_of_the_size_cosigned_is_kept_as_evidence(
    tmp_path: Path, auditor: Auditor, log: AuditedLog
) -> None:
    other = AuditedLog(tmp_path / "other")  # other salts and so other entries under the same keys
    assert auditor.post(log.body(0)).status == 200
    assert other.size == log.size
    assert auditor.post(other.body(log.size)).status == 422
    assert auditor.post(log.body(log.size)).status == 200


def test_a_fork_behind_what_was_audited_is_told_from_a_false_copy(
    tmp_path: Path, auditor: Auditor, log: AuditedLog
) -> None:
    other = AuditedLog(tmp_path / "other")
    examined = log.body(0)
    # Audited, and the answer lost before anything was cosigned.
    request = examine(auditor.file, examined, NOW)
    assert isinstance(request, Request)
    auditor.follower.follow(request, auditor.stop)
    assert audited(auditor) == log.size and auditor.file.seen(log.origin).size == 0
    other.grow(5)
    auditor.file.set_places(log.origin, [str(other.folder)])
    answer = auditor.post(other.body(0))
    assert answer.status == 422 and kinds(auditor) == ["fork"]
    (evidence,) = tmp_path.glob("refuted-witness-*.json")
    text = evidence.read_text()
    assert f"\\n{log.size}\\n" in text and f"\\n{other.size}\\n" in text
    auditor.file.set_places(log.origin, [str(log.folder)])
    assert auditor.post(log.body(0)).status == 200


def test_an_older_checkpoint_than_audited_is_not_cosigned(auditor: Auditor, log: AuditedLog) -> None:
    older = log.body(0)
    log.grow()
    request = examine(auditor.file, log.body(0), NOW)
    assert isinstance(request, Request)
    auditor.follower.follow(request, auditor.stop)
    assert auditor.post(older).status == 503
    assert auditor.post(log.body(0)).status == 200


def test_both_keys_of_the_charter_have_to_sign(tmp_path: Path, log: AuditedLog, clock: Clock) -> None:
    file = WitnessFile.create(tmp_path / "w2.sqlite", NAME, auditor=True)
    file.add_log(log.factory.log_signer.vkey)  # told of one only
    file.set_places(log.origin, [str(log.folder)])
    auditor = Auditor(file, clock, log.origin)
    note = parse_note(log.note())
    one = format_note(note.text, [line for line in note.lines if len(line.blob) == 64])
    answer = auditor.post(b"old 0\n\n" + one)
    assert answer.status == 403 and "charter" in answer.body
    later = log.factory.mldsa_signer.sign(note.text, NOW + 301)  # dated too far ahead to count
    ed25519 = next(line for line in note.lines if len(line.blob) == 64)
    assert auditor.post(b"old 0\n\n" + format_note(note.text, [ed25519, later])).status == 403
    assert file.seen(log.origin).size == 0
    assert auditor.post(log.body(0)).status == 200
    auditor.close()


def test_a_log_of_size_one_is_malformed_to_an_auditor(auditor: Auditor, log: AuditedLog) -> None:
    text = f"{log.origin}\n1\n{b64encode(bytes(32))}\n"
    note = format_note(text, [log.factory.log_signer.sign(text), log.factory.mldsa_signer.sign(text, NOW)])
    assert auditor.post(b"old 0\n\n" + note).status == 400


def test_without_an_audit_an_auditor_cosigns_nothing(auditor: Auditor, log: AuditedLog) -> None:
    request = examine(auditor.file, log.body(0), NOW)
    assert isinstance(request, Request)
    with pytest.raises(ValueError, match="audited"):
        cosign(auditor.file, request, NOW)
    assert auditor.file.seen(log.origin).size == 0


def test_two_logs_in_one_file_are_kept_apart(tmp_path: Path, auditor: Auditor, log: AuditedLog) -> None:
    other = AuditedLog(tmp_path / "second")
    other.factory = LogFactory("second.example.gov/test/2026")
    other.source = other.factory.add_source()
    other.grow(2)
    tell(auditor.file, other)
    second = Auditor(auditor.file, auditor.clock, other.origin)
    assert auditor.post(log.body(0)).status == 200
    assert second.post(other.body(0)).status == 200
    assert auditor.file.seen(log.origin).size != auditor.file.seen(other.origin).size
    second.follower.close()


def test_a_record_of_yesterday_is_not_ahead(auditor: Auditor, log: AuditedLog) -> None:
    assert auditor.post(log.body(0)).status == 200
    old = log.size
    log.grow(1, day=NOW // 86_400)
    assert auditor.post(log.body(old)).status == 200
    assert DAY < NOW // 86_400


def test_a_key_of_its_own_in_the_register_is_warned_of_and_no_violation(
    auditor: Auditor, log: AuditedLog, capfd: pytest.CaptureFixture[str]
) -> None:
    log.factory.add_source("Copycat", key=jwk(auditor.file.vkeys[0].key))
    log.grow(1)
    assert auditor.post(log.body(0)).status == 200
    assert capfd.readouterr().err.count("warning") == 1
