"""`audit`: every rule by leaf and name, every published file against what was signed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory, seed
from logserver import LogServer
from ran import Run

from ledger.core.entries import IndexRoot
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.note import CosignatureSigner


@pytest.fixture
def log() -> LogFactory:
    """600 entries in three bundles, index roots between them, with coverage."""
    log = LogFactory()
    health, tax = log.add_source(), log.add_source("Tax office")
    for number in range(590):
        log.access(health if number % 3 else tax, day=DAY + number % 5)
        if number % 100 == 99:
            log.seal_batch()
    log.coverage(tax, DAY + 1, 39)
    return log


def _audit(run: Run, where: object, *more: object) -> Any:
    return run("audit", "--policy", "policy.txt", "--log", where, "--jobs", "1", "--json", *more)


def _places(ran: Any) -> list[tuple[int, str]]:
    return [(violation["index"], violation["kind"]) for violation in ran.json["result"]["violations"]]


def test_a_sound_log_passes_with_its_counts(run: Run, files: Path, log: LogFactory) -> None:
    ran = _audit(run, "public")
    assert ran.exit == 0, ran.out
    assert ran.json["result"]["violations"] == []
    audited = ran.json["result"]["audited"]
    assert (audited["from"], audited["to"], audited["resumed_at"]) == (0, log.size, 0)
    counts = ran.json["result"]["counts"]
    assert (counts["records"], counts["late"], counts["suspect"]) == (590, 0, 0)
    assert ran.json["result"]["sources"][1]["records"] == 197
    text = run("audit", "--policy", "policy.txt", "--log", "public", "--jobs", "1")
    assert f"HOLDS: all {log.size} entries were checked and there is no violation" in text.out


def test_a_log_read_by_url_passes_too(run: Run, files: Path, log: LogFactory) -> None:
    with LogServer(log) as server:
        assert _audit(run, server.url).exit == 0


def test_each_violation_is_named_by_leaf_and_rule_and_can_be_shown(
    run: Run, files: Path, log: LogFactory
) -> None:
    forged = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    unregistered = log.access(log.sources[0], activity=7)
    again = log.append(log.entries[5])
    garbage = log.append(b"\x01\x09 no such kind")
    log.publish(files / "public")
    ran = _audit(run, "public")
    assert ran.exit == 1
    assert [index for index, _ in _places(ran)] == [forged, unregistered, again, garbage]
    assert dict(_places(ran)) == {
        forged: "signature", unregistered: "activity", again: "label-taken", garbage: "malformed",
    }  # fmt: skip
    assert f"4 violations, the first at entry {forged}" in ran.json["message"]
    listed = ran.json["result"]["violations"]
    assert [one["rule"] for one in listed] == [f"formats.md §{n}" for n in (2, 2, 5, 2)]
    assert {one["of"] for one in listed} == {"log"}
    # Each stands on its own: anybody checks it with the policy alone.
    for one in listed:
        judged = run("violation", one["evidence"], "--policy", "policy.txt", "--json")
        assert (judged.exit, judged.json["result"]["index"]) == (1, one["index"])
    kept = json.loads(Path(ran.json["evidence_file"]).read_text())["evidence"]["violations"]
    assert [one["evidence"] for one in kept] == [one["evidence"] for one in listed]


def test_entries_audited_before_are_not_told_again(run: Run, files: Path, log: LogFactory) -> None:
    forged = log.access(log.sources[0], key=Ed25519PrivateKey.generate())
    log.publish(files / "public")
    assert _audit(run, "public", "--from", forged).exit == 1
    ran = _audit(run, "public", "--from", forged + 1)
    assert ran.exit == 0
    assert ran.json["result"]["audited"]["from"] == forged + 1
    assert _audit(run, "public", "--from", log.size + 1).exit == 3


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("bundle", "at", "index"), [("000", -1, 255), ("001", 300, 258), ("002.p", -1, -1)])
def test_an_altered_bundle_is_found_at_its_entry(
    run: Run, files: Path, log: LogFactory, bundle: str, at: int, index: int
) -> None:
    path = files / f"public/tile/entries/{bundle}"
    _flip(next(path.iterdir()) if path.is_dir() else path, at)
    ran = _audit(run, "public")
    assert ran.exit == 1
    assert _places(ran) == [(index % log.size, "bundle")]


@pytest.mark.parametrize(("tile", "index"), [("0/000", 3), ("0/001", 259), ("1/000.p/2", 0)])
def test_an_altered_hash_tile_is_found(run: Run, files: Path, tile: str, index: int) -> None:
    _flip(files / f"public/tile/{tile}", 3 * 32 if tile[0] == "0" else 0)
    ran = _audit(run, "public")
    assert ran.exit == 1
    assert _places(ran) == [(index, "tile")]


def test_a_bundle_and_its_tile_altered_together_are_refuted(run: Run, files: Path, log: LogFactory) -> None:
    other = files / "other"
    log.entries[300] = log.entries[301]
    log.publish(other)
    (other / "checkpoint").write_bytes((files / "public/checkpoint").read_bytes())
    ran = _audit(run, "other")
    assert ran.exit == 1
    assert any(kind in ("root", "tile", "bundle") for _, kind in _places(ran))


@pytest.mark.parametrize(
    ("change", "code", "first"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), 1, 511),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), 1, 256),
        (lambda path: path.write_bytes(bytes(len(path.read_bytes()))), 1, 256),
        (lambda path: path.unlink(), 3, None),
    ],
)
def test_a_bundle_that_is_none_is_refuted_and_a_missing_one_could_not_be_checked(
    run: Run, files: Path, change: Callable[[Path], object], code: int, first: int | None
) -> None:
    change(files / "public/tile/entries/001")
    ran = _audit(run, "public")
    assert ran.exit == code
    if code == 1:
        assert _places(ran) == [(first, "bundle")]
    else:
        assert "tile/entries/001" in ran.json["message"]


def test_an_index_root_that_leaves_an_entry_out_is_found(run: Run, files: Path, log: LogFactory) -> None:
    covers = log.size
    true = log._index
    log.append(IndexRoot(covers, log._frontier.root(), bytes(32), true.labels - 1).encode())
    log.access(log.sources[0])
    log.publish(files / "public")
    assert _places(_audit(run, "public")) == [(covers, "index-root")]


def test_a_checkpoint_that_is_not_the_logs_is_refuted(run: Run, files: Path, log: LogFactory) -> None:
    (files / "public/checkpoint").write_bytes(log.sign(log.size, bytes(32)))
    assert _audit(run, "public").exit == 1
    note = (files / "public/checkpoint").read_text().splitlines()
    (files / "public/checkpoint").write_text("\n".join(note[:-1]) + "\n")
    ran = _audit(run, "public")
    assert ran.exit == 1 and "quorum" in ran.json["message"]


def test_a_copy_cut_short_under_the_same_checkpoint_could_not_be_checked(run: Run, files: Path) -> None:
    shutil.rmtree(files / "public/tile/entries/002.p")
    assert _audit(run, "public").exit == 3


def test_a_witness_with_a_key_of_the_register_is_warned_of(run: Run, files: Path, log: LogFactory) -> None:
    log.witness = CosignatureSigner("witness.example/w1", Ed25519PrivateKey.from_seed(seed("source 2")))
    (files / "policy.txt").write_text(log.policy_text())
    log.publish(files / "public")
    ran = _audit(run, "public")
    assert ran.exit == 0
    assert ran.json["result"]["warnings"] == ["witness W1 signs with the key for source 2"]


def test_a_log_without_witness_is_audited_by_the_clock_and_says_so(
    run: Run, files: Path, log: LogFactory
) -> None:
    (files / "policy.txt").write_text(
        f"log {log.log_signer.vkey.text}\nwitness PQ {log.mldsa_signer.vkey.text}\nquorum PQ\n"
    )
    log.access(log.sources[0], day=NOW // 86_400 + 1)
    log.publish(files / "public")
    ran = run("audit", "--policy", "policy.txt", "--log", "public", "--jobs", "1")
    assert ran.exit == 1
    assert "this computer's clock" in ran.out
