"""evidence.json through the commands: its files, its log as a folder, its keys."""

import json
from pathlib import Path
from typing import Any

import pytest
from ran import Run
from vectorfiles import cases, load

from ledger.core.merkle import leaf_hash
from ledger.core.tiles import ENTRIES, encode_bundle, grow_tiles, tiles_of
from verifier_cli import commandline

VECTORS = load("evidence.json")


@pytest.fixture(autouse=True)
def now(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is looked at in the vectors' time. `run` first: it sets the log factory's."""
    monkeypatch.setattr(commandline, "clock", lambda: VECTORS["now"])


@pytest.mark.parametrize("case", cases(VECTORS["cases"]))
def test_evidence_holds_or_not_as_the_vectors_say(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any]
) -> None:
    monkeypatch.setattr(commandline, "clock", lambda: case.get("now", VECTORS["now"]))
    (tmp_path / "policy.txt").write_text(VECTORS["policies"][case["policy"]])
    (tmp_path / "e.json").write_text(json.dumps(case["evidence"]))
    ran = run("evidence", "e.json", "--policy", "policy.txt", "--json")
    if case["ok"]:
        assert ran.exit == 0, ran.json["message"]
        assert ran.json["result"]["index"] == case["index"]
        assert sorted(ran.json["result"]["claims"]) == sorted(case["claims"])
        assert ran.json["result"]["registration_changed_at"] == case["next"]
    else:
        assert ran.exit in (1, 3) and ran.json["result"] == {}


def test_the_receipt_holds_offline(run: Run, tmp_path: Path) -> None:
    receipt = VECTORS["receipt"]
    (tmp_path / "policy.txt").write_text(VECTORS["policies"][receipt["policy"]])
    (tmp_path / "r.json").write_text(json.dumps(receipt["receipt"]))
    ran = run("receipt", "r.json", "--policy", "policy.txt", "--json")
    assert ran.exit == 0 and ran.json["result"]["index"] == receipt["index"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The vectors' small log as a folder."""
    entries = [bytes.fromhex(raw) for raw in VECTORS["log"]["entries"]]
    files = {tile.path: data for tile, data in grow_tiles(0, {}, [leaf_hash(raw) for raw in entries])}
    files |= {tile.path: encode_bundle(entries) for tile in tiles_of(len(entries)) if tile.level == ENTRIES}
    for path, data in files.items():
        (tmp_path / "public" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "public" / path).write_bytes(data)
    (tmp_path / "public/checkpoint").write_text(VECTORS["log"]["checkpoint"])
    (tmp_path / "policy.txt").write_text(VECTORS["policies"]["ed"])
    return tmp_path


def test_the_small_log_is_audited_and_its_streams_found(run: Run, published: Path) -> None:
    common = ("--policy", "policy.txt", "--log", "public", "--json")
    audited = run("audit", *common)
    assert audited.exit == 0, audited.json["message"]
    (published / "keys.json").write_text(json.dumps(VECTORS["keys"]["file"]))
    ran = run("mine", "keys.json", *common)
    found = {access["index"] for source in ran.json["result"]["sources"] for access in source["accesses"]}
    assert found == {index for stream in VECTORS["keys"]["streams"] for index in stream["records"]}
    # The file is of three streams, and the register makes more of them possible.
    assert ran.exit == 3 and ran.json["verdict"] == "not complete"
