"""What a violation file cannot do: show something of a log that broke no rule, or survive being altered."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory, seed
from ran import Run

from ledger.client.authentic import AuthenticTiles
from ledger.client.folderlog import FolderLog
from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.encoding import b64encode
from ledger.core.entries import registry_index_label
from ledger.core.errors import GlassbookError
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import prove_consistency, prove_inclusion, tree_root
from ledger.core.note import CosignatureSigner, Ed25519Signer, format_note, parse_note
from ledger.core.receipt import IndexRootProof
from ledger.core.replay import Replay, Violation, bad_signatures
from ledger.core.statements import parse_charter, parse_source
from verifier_cli import violationcheck
from verifier_cli.violation import Collector, write_violation_evidence
from verifier_cli.violationcheck import check_under
from verifier_cli.violationfile import (
    KINDS,
    IndexProof,
    Leaf,
    Prefix,
    Shown,
    ViolationFile,
    format_violation,
    parse_violation,
)


@pytest.fixture
def log() -> LogFactory:
    """An entry of every kind, and of registry entries every change."""
    log = LogFactory()
    health, tax, police = log.add_source(seal_months=12), log.add_source("Tax"), log.add_source("Police")
    log.access(health)
    log.access(health, seal=688)
    log.coverage(health, DAY, 2)
    log.seal_batch()
    log.change_source(health, contact="https://example.gov/new")
    log.access(health)
    log.coverage(tax, DAY, 0)
    log.change_source(police, status="retired", retired="2026-06-30")
    log.coverage(tax, DAY + 1, 0)
    log.seal_batch()
    log.change_source(tax, status="revoked", revoked="2026-06-20")
    return log


def _replayed(log: LogFactory) -> Replay:
    replay = Replay(log.origin, NOW)
    replay.report(bad_signatures(log.origin, replay.feed_many(log.entries)))
    replay.finish()
    return replay


def _shows(file: ViolationFile, checkpoint: Checkpoint) -> bool:
    try:
        return check_under(file, checkpoint, NOW, []).proven
    except GlassbookError:
        return False


class Forger:
    """Everything that is true of a log and could stand in a file."""

    def __init__(self, log: LogFactory, folder: Path) -> None:
        published = FolderLog(log.publish(folder))
        self.note = published.checkpoint()
        self.checkpoint: Checkpoint = parse_checkpoint(parse_note(self.note).text)
        size = self.checkpoint.size
        tiles = AuthenticTiles(published.tile, size, self.checkpoint.root, "")
        self.leaves = [
            Leaf(index, log.entries[index], tuple(prove_inclusion(index, size, tiles)))
            for index in range(size)
        ]
        self.prefixes = [
            Prefix(tree_root(index, tiles), tuple(prove_consistency(index, size, tiles)))
            for index in range(1, size)
        ]
        last = self.leaves[-1]
        root = IndexRootProof(last.entry, last.proof)
        labels = [registry_index_label(source, version) for source in range(5) for version in range(3)]
        self.index = [IndexProof(root, proof) for proof in _replayed(log).tree.prove_many(labels)]

    def files(self, kind: str) -> Iterator[ViolationFile]:
        """Each entry with what a file of this kind may hold beside it, whatever fits."""
        charter, shown = self.leaves[0], KINDS[kind].shown
        proofs = self.index if shown in (Shown.IN_FORCE, Shown.ABSENT) else []
        for leaf in self.leaves:
            violation = Violation(leaf.index, kind, KINDS[kind].section, "")
            yield ViolationFile(violation, self.note, leaf)
            for prefix in self.prefixes if shown is Shown.PREFIX else []:
                yield ViolationFile(violation, self.note, leaf, prefix=prefix)
            for other in (None, *self.leaves):
                for index in (None, *proofs):
                    yield ViolationFile(violation, self.note, leaf, charter, other, index)


def test_no_file_made_of_what_is_true_shows_a_violation_of_a_sound_log(
    log: LogFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each statement is read once, and not for each of the 54,000 files: reading it does not depend on the file.
    charter = parse_charter(log.entries[0], log.origin)
    monkeypatch.setattr(violationcheck, "parse_charter", cache(parse_charter))
    parsed = cache(lambda raw, index: parse_source(raw, index, charter))
    monkeypatch.setattr(violationcheck, "parse_source", lambda raw, index, _: parsed(raw, index))
    forger = Forger(log, tmp_path)
    assert _replayed(log).violations == []
    for kind in KINDS:
        for file in forger.files(kind):
            assert not _shows(file, forger.checkpoint), (kind, file.violation.index)


@pytest.fixture
def written(log: LogFactory, tmp_path: Path) -> Path:
    """The evidence of a record without signature: entry, charter, version in force, next version, all in one file."""
    index = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    published = log.publish(tmp_path / "public")
    (tmp_path / "policy.txt").write_text(log.policy_text())
    replay = _replayed(log)
    [violation] = replay.violations
    assert violation.index == index
    path = write_violation_evidence(
        FolderLog(published), (published / "checkpoint").read_bytes(), violation, replay, tmp_path
    )
    assert path is not None
    return Path(path)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every member of a JSON value, and of lists every item."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from _places(part, (*path, key))


TOLD = {"what", "takes", "replay", "rule", "detail"}
"""Members for people, which no check looks at."""


def test_a_file_with_anything_altered_shows_nothing(run: Run, written: Path, tmp_path: Path) -> None:
    true = json.loads(written.read_text())
    assert run("violation", written, "--policy", "policy.txt").exit == 1
    for place in _places(true):
        if place[-1] in TOLD:
            continue
        changes: list[Any] = [None, "", 17, [], {}, "AAAA", b64encode(bytes(32)), "gone"]
        for change in changes:
            false = json.loads(written.read_text())
            at = false
            for key in place[:-1]:
                at = at[key]
            if at[place[-1]] == change:
                continue
            if change == "gone":
                del at[place[-1]]
            else:
                at[place[-1]] = change
            (tmp_path / "false.json").write_text(json.dumps(false))
            ran = run("violation", "false.json", "--policy", "policy.txt")
            assert ran.exit == 3, (place, change, ran.err)
            assert "a fault in this program" not in ran.err


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b'{"format": "glassbook-violation/2"}', b"[" * 99]
)
def test_what_is_no_such_file_could_not_be_checked(run: Run, files: Path, data: bytes) -> None:
    (files / "x.json").write_bytes(data)
    ran = run("violation", "x.json", "--policy", "policy.txt", "--json")
    assert ran.exit == 3 and "x.json" in ran.json["message"]


def test_a_file_of_another_log_shows_nothing_of_this_one(run: Run, written: Path, tmp_path: Path) -> None:
    other = LogFactory("log.example.org/other")
    (tmp_path / "other.txt").write_text(other.policy_text())
    assert run("violation", written, "--policy", "other.txt").exit == 3


def test_the_logs_own_signature_is_enough_and_a_forged_one_is_not(
    run: Run, log: LogFactory, written: Path
) -> None:
    content = json.loads(written.read_text())
    text = parse_note(content["checkpoint"].encode()).text
    content["checkpoint"] = format_note(text, [log.log_signer.sign(text)]).decode()
    written.write_text(json.dumps(content))
    ran = run("violation", written, "--policy", "policy.txt")
    assert ran.exit == 1 and "cosigned by no witness of this policy" in ran.out
    stranger = Ed25519Signer(log.origin, Ed25519PrivateKey.generate())
    content["checkpoint"] = format_note(text, [stranger.sign(text), log.witness.sign(text, NOW)]).decode()
    written.write_text(json.dumps(content))
    ran = run("violation", written, "--policy", "policy.txt")
    assert ran.exit == 3 and "the file shows nothing" in ran.err


def test_a_stranger_cannot_date_a_checkpoint_back_to_make_a_day_one_of_the_future(
    run: Run, log: LogFactory, tmp_path: Path
) -> None:
    published = log.publish(tmp_path / "public")
    (tmp_path / "policy.txt").write_text(log.policy_text())
    collector = Collector(FolderLog(published), (published / "checkpoint").read_bytes(), _replayed(log))
    file = collector.collect(Violation(3, "day-in-future", "§2", ""))
    text = parse_note(file.checkpoint).text
    stranger = CosignatureSigner("witness.example/w1", Ed25519PrivateKey.from_seed(seed("stranger")))
    note = format_note(text, [log.log_signer.sign(text), stranger.sign(text, NOW - 90 * 86_400)])
    path = tmp_path / "v.json"
    path.write_bytes(format_violation(ViolationFile(file.violation, note, file.entry), {}))
    assert run("violation", path, "--policy", "policy.txt").exit == 3


def test_an_entry_of_a_false_copy_is_told_from_a_violation(run: Run, log: LogFactory, tmp_path: Path) -> None:
    published = log.publish(tmp_path / "public")
    (tmp_path / "policy.txt").write_text(log.policy_text())
    bundle = next((published / "tile/entries").rglob("*[0-9]"))
    while bundle.is_dir():
        bundle = next(bundle.iterdir())
    data = bytearray(bundle.read_bytes())
    data[-1] ^= 1
    bundle.write_bytes(data)
    ran = run("audit", "--policy", "policy.txt", "--log", "public", "--json")
    [violation] = ran.json["result"]["violations"]
    assert (ran.exit, violation["kind"], violation["of"]) == (1, "bundle", "copy")
    judged = run("violation", violation["evidence"], "--policy", "policy.txt", "--json")
    assert judged.exit == 3 and "broke no rule" in judged.json["message"]
    assert judged.json["result"]["steps"][-1]["title"] == "A copy held another entry"


def test_a_file_is_read_back_as_it_was_written(written: Path) -> None:
    file = parse_violation(written.read_bytes())
    assert file.charter is not None and file.other is not None and file.index is not None
    again = parse_violation(format_violation(file, {"what": "other words"}))
    assert again == file


def test_what_a_person_reads_of_a_file(run: Run, log: LogFactory, written: Path) -> None:
    ran = run("violation", written.name, "--policy", "policy.txt")
    last = len(log.entries) - 1
    index = last - 1
    assert ran.exit == 1
    assert ran.out == (
        f"entry {index} of {log.origin}: signature, docs/formats.md §2\n"
        "\n"
        "1. The log signed the checkpoint\n"
        f"   {log.origin}, size {last + 1}; cosigned by W1.\n"
        "2. The entry is in the log\n"
        f"   Entry {index} of {last + 1} leads to the root that was signed.\n"
        "3. The charter is in the log\n"
        f"   Entry 0 of {last + 1} leads to the root that was signed.\n"
        "4. The other entry is in the log\n"
        f"   Entry 8 of {last + 1} leads to the root that was signed.\n"
        "5. The next version comes later or never\n"
        "   The log's index has version 2 of source 1 nowhere.\n"
        "6. It breaks a rule (docs/formats.md §2)\n"
        "   Rule: a record or coverage is signed by its source. Here: the signature is not by the key of source 1.\n"
        "\n"
        "What this does not prove\n"
        "   It proves what the log holds and signed. It does not prove who put the entry there, that what other"
        " entries say is true, or that nothing else is wrong.\n"
        "\n"
    )
    assert ran.err == (
        f"REFUTED: entry {index} of {log.origin} breaks docs/formats.md §2: a record or coverage is signed by its"
        f" source; evidence: {written.name}\n"
    )
