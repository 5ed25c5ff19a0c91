"""`receipt`, `evidence` and `show`: one file, no network, and what it does not prove said last."""

import json
from pathlib import Path
from typing import Any

import pytest
from logfactory import NOW, LogFactory
from ran import Run

from ledger.client.folderlog import FolderLog
from ledger.client.register import read_register
from ledger.client.shown import make_evidence
from ledger.client.view import View
from ledger.core.encoding import b64decode, b64encode
from ledger.core.evidence import format_evidence
from ledger.core.receipt import format_receipt
from ledger.core.sdjwt import present, split_sd_jwt


@pytest.fixture
def shown(files: Path, log: LogFactory) -> Path:
    """`r.receipt.json` and `e.evidence.json` of entry 3."""
    view = View.open(FolderLog(files / "public"), log.policy(), NOW)
    (files / "r.receipt.json").write_bytes(format_receipt(view.receipt(3)))
    sd_jwt = present(split_sd_jwt(log.sd_jwts[3], log.sources[0].key.public), ["actor", "event", "purpose"])
    evidence = make_evidence(view, read_register(view).register, 3, sd_jwt)
    (files / "e.evidence.json").write_bytes(format_evidence(evidence))
    return files


def test_a_receipt_is_checked_step_by_step(run: Run, shown: Path) -> None:
    ran = run("receipt", "r.receipt.json", "--policy", "policy.txt")
    assert ran.exit == 0
    assert ran.out.startswith("Entry 3 records an access by source 1 on 22 June 2026, activity 1.\n")
    for number in (1, 2, 3, 4):
        assert f"\n{number}. The " in ran.out
    assert (
        ran.out.index("4. The") < ran.out.index("What this does not prove") < ran.out.index("HOLDS: entry 3")
    )


def test_evidence_tells_what_is_opened_and_what_is_not(run: Run, shown: Path) -> None:
    ran = run("evidence", "e.evidence.json", "--policy", "policy.txt", "--lang", "cy")
    assert ran.exit == 0
    assert "dr-1138, physician, Ward 3, looked at your data in ehr." in ran.out
    assert "why: Rydym yn darllen" in ran.out
    assert "not opened: subject, data, reason" in ran.out
    assert "9434765919" not in ran.out
    assert ran.out.index("What this does not prove") > ran.out.index("7. The")
    assert run("evidence", "e.evidence.json", "--policy", "policy.txt", "--json").json["result"]["claims"].keys() == {
        "actor", "event", "purpose",
    }  # fmt: skip


def test_an_entry_that_is_only_shown_is_not_said_to_hold(run: Run, shown: Path) -> None:
    ran = run("show", "e.evidence.json")
    assert ran.exit == 0
    assert "SHOWN: nothing was checked" in ran.out and "HOLDS" not in ran.out


def test_evidence_of_a_source_that_changed_later_says_to_look_it_up(
    run: Run, files: Path, log: LogFactory
) -> None:
    changed = log.change_source(log.sources[0], status="revoked", revoked="2026-06-30")
    log.publish(files / "public")
    view = View.open(FolderLog(files / "public"), log.policy(), NOW)
    nothing = present(split_sd_jwt(log.sd_jwts[3], log.sources[0].key.public), [])
    evidence = make_evidence(view, read_register(view).register, 3, nothing)
    (files / "e.evidence.json").write_bytes(format_evidence(evidence))
    ran = run("evidence", "e.evidence.json", "--policy", "policy.txt", "--json")
    assert ran.exit == 0
    assert ran.json["result"]["registration_changed_at"] == changed
    assert "revoked" in ran.json["result"]["notes"][0]


def _altered(path: Path, *members: str) -> None:
    """Flip one bit in a base64 member."""
    value = json.loads(path.read_text())
    inner: Any = value
    for name in members[:-1]:
        inner = inner[name]
    data = bytearray(b64decode(inner[members[-1]], ""))
    data[-1] ^= 1
    inner[members[-1]] = b64encode(bytes(data))
    path.write_text(json.dumps(value))


@pytest.mark.parametrize("members", [("entry",), ("index_proof",), ("index_root", "entry")])
def test_an_altered_receipt_is_refuted_and_kept_as_evidence(
    run: Run, shown: Path, members: tuple[str, ...]
) -> None:
    _altered(shown / "r.receipt.json", *members)
    ran = run("receipt", "r.receipt.json", "--policy", "policy.txt")
    assert ran.exit == 1
    assert "REFUTED: " in ran.err and "HOLDS" not in ran.out
    assert Path(ran.err.split("evidence: ")[1].strip()).exists()


def test_evidence_whose_claims_were_altered_could_not_be_believed(run: Run, shown: Path) -> None:
    path = shown / "e.evidence.json"
    value = json.loads(path.read_text())
    jwt, first, *rest = value["sd_jwt"].split("~")
    value["sd_jwt"] = "~".join([jwt[:-4] + ("AAAA" if jwt[-4:] != "AAAA" else "BBBB"), first, *rest])
    path.write_text(json.dumps(value))
    ran = run("evidence", "e.evidence.json", "--policy", "policy.txt")
    assert ran.exit == 1
    assert "physician" not in ran.out + ran.err + Path(ran.err.split("evidence: ")[1].strip()).read_text()


@pytest.mark.parametrize("command", ["receipt", "evidence"])
@pytest.mark.parametrize(
    "content", [b"", bytes(500), b"{}", b"[]", b'{"entry":1,"entry":2}', b"\xff\xfe", b'{"receipt":{}}']
)
def test_a_file_that_is_none_could_not_be_checked(
    run: Run, files: Path, command: str, content: bytes
) -> None:
    (files / "x").write_bytes(content)
    ran = run(command, "x", "--policy", "policy.txt")
    assert ran.exit == 3 and ran.err.startswith("COULD NOT CHECK: ")


def test_a_receipt_under_another_policy_is_refuted(run: Run, shown: Path) -> None:
    other = LogFactory("log.example.gov/other")
    (shown / "policy.txt").write_text(other.policy_text())
    assert run("receipt", "r.receipt.json", "--policy", "policy.txt").exit == 1


def test_show_tells_an_entry_by_index_from_a_file_and_alone(run: Run, shown: Path, log: LogFactory) -> None:
    common = ("--policy", "policy.txt", "--log", "public")
    assert "is the charter of the log log.example.gov/test/2026" in run("show", 0, *common).out
    assert "registers source 2 (Tax office, active) in version 0" in run("show", 2, *common).out
    assert "states the index over the 8 entries before it: 8 labels" in run("show", 8, *common).out
    for file in ("r.receipt.json", "e.evidence.json"):
        ran = run("show", file)
        assert ran.exit == 0 and "Entry 3 records an access" in ran.out and "nothing was checked" in ran.out
    (shown / "entry").write_bytes(log.entries[3])
    assert "This entry records an access" in run("show", "entry").out
    assert run("show", 3, *common, "--json").json["result"]["entry"]["date"] == "2026-06-22"


def test_show_past_the_end_and_of_nonsense_could_not_be_checked(run: Run, shown: Path) -> None:
    ran = run("show", 9999, "--policy", "policy.txt", "--log", "public")
    assert ran.exit == 3 and "entry 9999" in ran.err
    (shown / "x").write_bytes(b"\x01\x01")
    assert run("show", "x").exit == 3
    assert run("show", "me.keys.json").exit == 3
    assert run("show", 3).exit == 2
