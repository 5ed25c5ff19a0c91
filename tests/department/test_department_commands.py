"""The commands as people meet them: settings and statements that are not right, dry runs, exit codes, silence."""

import json
import os
import stat
from pathlib import Path

import pytest
from fhirevents import bundle, ndjson, r4
from smalldepartment import TODAY, SmallDepartment
from typer.testing import CliRunner, Result

from ledger.core.errors import Malformed
from ledger.department.cli import app
from ledger.department.settings import CannotGoOn, read_settings
from ledger.department.setup import parse_epochs, read_system

SAMPLES = Path(__file__).parents[2] / "samples"
GOOD = """origin = "log.example.gov/x"
ledger = "http://127.0.0.1:1"
log = "public"
"""

SETTINGS: dict[str, tuple[str, str]] = {
    "no origin": (GOOD.replace("origin", "origins"), "origin: missing"),
    "origin with a space": (GOOD.replace("gov/x", "gov/ x"), "space"),
    "unknown member": (GOOD + "polcy = 'p'\n", "polcy: unknown"),
    "unknown table": (GOOD + "[server]\n", "server: unknown"),
    "ledger without scheme": (GOOD.replace("http://", ""), "ledger: must be an http or https URL"),
    "ledger with a password": (
        GOOD.replace("http://", "http://me:secret@"),
        "ledger: must be an http or https URL",
    ),
    "epoch that is no year": (GOOD + "[vrf]\n26 = 'k'\n", "vrf.26: is no year"),
    "vrf is a list": (GOOD + "vrf = []\n", "vrf: is a list, must be a table"),
    "batch of nothing": (GOOD + "[send]\nbatch = 0\n", "send.batch: must be from 1 to 10000"),
    "batch too large": (GOOD + "[send]\nbatch = 10001\n", "send.batch: must be from 1 to 10000"),
    "batch is a string": (GOOD + "[send]\nbatch = '5'\n", "send.batch: is a string"),
}


def glassbook(*words: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return result


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_are_not_right_are_used(case: str, tmp_path: Path) -> None:
    text, fault = SETTINGS[case]
    (tmp_path / "department.toml").write_text(text)
    with pytest.raises(Malformed) as caught:
        read_settings(tmp_path)
    assert fault in str(caught.value) and "secret" not in str(caught.value)


def test_missing_folder_or_policy_gives_a_traceback(tmp_path: Path) -> None:
    assert "glassbook department init" in glassbook("status", "--dir", tmp_path, code=3).stderr
    small = SmallDepartment(tmp_path)
    (small.home_folder / "policy.txt").unlink()
    log = small.write_log([r4()])
    assert "policy file" in glassbook("import", "fhir", "--dir", small.home_folder, log, code=3).stderr


def test_numbers_beyond_any_log_give_a_traceback(tmp_path: Path) -> None:
    home = SmallDepartment(tmp_path).home_folder
    for number in (2**63, 10**30, -1):
        assert "--record" in glassbook("erase", "--record", str(number), "--dir", home, code=2).stderr
    told = glassbook("erase", "--record", str(2**63 - 1), "--dir", home, code=3).stderr
    assert "is no record of this department" in told
    receipts = ("receipts", "--out", tmp_path / "out", "--dir", home, "--limit")
    assert "--limit" in glassbook(*receipts, str(2**63), code=2).stderr
    glassbook(*receipts, str(2**63 - 1))
    many = [word for number in range(10_001) for word in ("--record", str(number))]
    assert "more than 10000 times" in glassbook("erase", *many, "--dir", home, code=2).stderr


def test_format_that_is_not_read_is_tried(tmp_path: Path) -> None:
    assert "the formats are: fhir" in glassbook("import", "docx", tmp_path, code=2).stderr


def test_dry_run_needs_a_department_or_writes_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log.json"
    log.write_bytes(bundle(r4(), r4(entity=None), r4(agent=None)))
    result = json.loads(glassbook("import", "fhir", "--dry-run", "--json", log).stdout)
    assert result["summary"] == {
        "events": 3, "recorded": 1, "not_about_a_person": 1, "rejected": 1, "records": 1, "recorded_before": 0,
    }  # fmt: skip
    assert result["rejected"] == [
        {
            "file": str(log),
            "position": "entry[2].resource.agent",
            "reason": "missing; an AuditEvent has at least one agent",
        }
    ]
    (access,) = result["accesses"]
    assert access["subject"] == "id:p1"
    assert access["sentence"] == "On 2026-02-28 Practitioner/7 looked at your data."
    assert [path.name for path in tmp_path.iterdir()] == ["log.json"]
    words = glassbook("import", "fhir", "--dry-run", log)
    assert "id:p1  On 2026-02-28 Practitioner/7 looked at your data." in words.stdout
    assert "3 events: 1 would be recorded, 1 not about a person, 1 rejected." in words.stdout
    assert f"rejected: {log}: entry[2].resource.agent: missing" in words.stderr


def test_dry_run_shows_what_the_register_does_not_allow(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    log = small.write_log([r4(recorded="2020-01-01T00:00:00Z")])
    dry = glassbook("import", "fhir", "--dry-run", "--dir", small.home_folder, log)
    assert "no VRF key is registered for the epoch 2020" in dry.stderr
    assert "0 would be recorded, 0 not about a person, 1 rejected" in dry.stdout


def test_strict_import_with_a_rejection_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.ndjson").write_bytes(ndjson(r4(agent=None)))
    glassbook("import", "fhir", "--dry-run", "log.ndjson")
    glassbook("import", "fhir", "--dry-run", "--strict", "log.ndjson", code=3)


def test_file_that_is_not_there_passes_for_one_that_was_imported(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    log = small.write_log([r4()])
    common = ("import", "fhir", "--json", "--dir", small.home_folder)
    result = json.loads(glassbook(*common, tmp_path / "gone.json", log, code=3).stdout)
    assert result["complete"] is False
    assert result["summary"]["recorded"] == 1, "the others go on"
    assert "cannot be read" in result["rejected"][0]["reason"]


def test_import_twice_says_it_recorded_twice(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    people = [{"what": {"reference": f"Patient/{name}"}} for name in ("anna", "ben")]
    log = small.write_log([r4(recorded=f"{TODAY}T10:00:00Z", entity=people)])
    first = glassbook("import", "fhir", "--dir", small.home_folder, log).stdout
    assert "1 event: 1 recorded" in first and "They make 2 records" in first
    again = json.loads(glassbook("import", "fhir", "--json", "--dir", small.home_folder, log).stdout)
    assert again["summary"]["recorded"] == again["summary"]["recorded_before"] == 1
    assert again["summary"]["records"] == 0
    status = json.loads(glassbook("status", "--json", "--dir", small.home_folder).stdout)
    assert status["outbox"]["waiting"] == 2


def test_control_characters_of_a_log_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    agent = {"name": "\x1b[2J\u202eeve", "requestor": True}
    (tmp_path / "log.ndjson").write_bytes(ndjson(r4(agent=[agent])))
    output = glassbook("import", "fhir", "--dry-run", "log.ndjson").output
    assert "\x1b" not in output and "\u202e" not in output and "eve" in output


def test_keys_for_a_scheme_or_form_that_is_not_hers_are_written(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    out = tmp_path / "k.keys.json"
    for subject in ("nhs:9434765919", "anna", "id:Anna Smith", "id:"):
        refused = glassbook("keys", "--subject", subject, "--out", out, "--dir", small.home_folder, code=3)
        assert "anna" not in refused.stderr.lower()
        assert not out.exists()


def test_file_that_cannot_be_written_is_named_by_its_temporary_name(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    common = ("keys", "--subject", "id:anna", "--dir", small.home_folder, "--out")
    for out in (tmp_path, tmp_path / "nowhere" / "k.keys.json"):
        assert glassbook(*common, out, code=3).stderr.startswith(f"{out}: ")


def test_programs_get_no_json_when_a_command_fails(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    (small.home_folder / "outbox.sqlite").write_bytes(bytes(8192))
    log = small.write_log([r4()])
    for words in (("import", "fhir", log), ("send",), ("status",), ("recover",)):
        failed = glassbook(*words, "--json", "--dir", small.home_folder, code=3)
        told = json.loads(failed.stdout)
        assert told["exit"] == 3
        assert told["error"]["message"] == failed.stderr.strip()
        assert "run glassbook department recover" in told["error"]["message"]


def test_keys_leave_out_an_epoch_whose_key_is_gone(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    settings = small.home_folder / "department.toml"
    settings.write_text(settings.read_text().replace('2025 = "keys/vrf-2025.key"\n', ""))
    refused = glassbook(
        "keys", "--subject", "id:anna", "--out", tmp_path / "k.json", "--dir", small.home_folder, code=3
    )
    assert "VRF key of 2025" in refused.stderr and not (tmp_path / "k.json").exists()


def test_seals_already_open_are_left_out_of_keys(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    small.log.change_source(small.source, seal_months=3)
    small.ledger.publish()
    out = tmp_path / "k.keys.json"
    glassbook("keys", "--subject", "id:anna", "--out", out, "--dir", small.home_folder)
    keys = json.loads(out.read_text())["keys"]
    january = (2025 - 1970) * 12
    assert [key["seal"] for key in keys if key["epoch"] == 2025] == [0, *range(january + 1, january + 15)]


def test_init_overwrites_keys_or_leaves_them_open(tmp_path: Path) -> None:
    place = tmp_path / "health"
    words: list[str | Path] = [
        "init", place, "--statement", SAMPLES / "systems" / "health.toml", "--origin", "log.example.gov/x",
        "--ledger", "http://127.0.0.1:1", "--log", "http://127.0.0.1:2", "--no-passphrase", "--epoch", "2024-2026",
    ]  # fmt: skip
    glassbook(*words)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for path in (place / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = (place / "keys" / "source.key").read_bytes()
    assert "already" in glassbook(*words, code=3).stderr
    assert (place / "keys" / "source.key").read_bytes() == before
    statement = json.loads((place / "statement.json").read_text())
    assert list(statement["vrf"]) == ["2024", "2025", "2026"]
    assert not {"origin", "source", "version", "prev"} & statement.keys()
    assert read_settings(place).vrf[2024] == place / "keys" / "vrf-2024.key"


def test_passphrase_is_ignored_or_taken_from_an_open_file(tmp_path: Path) -> None:
    place, secret = tmp_path / "health", tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    os.chmod(secret, 0o600)
    words: list[str | Path] = [
        "init", place, "--statement", SAMPLES / "systems" / "health.toml", "--origin", "log.example.gov/x",
        "--ledger", "http://127.0.0.1:1", "--log", "http://127.0.0.1:2", "--passphrase-file", secret,
    ]  # fmt: skip
    glassbook(*words)
    assert b"ENCRYPTED" in (place / "keys" / "source.key").read_bytes()
    os.chmod(secret, 0o644)
    assert "chmod 600" in glassbook(*words[:1], tmp_path / "other", *words[2:], code=3).stderr


STATEMENTS: dict[str, tuple[str, str, str]] = {
    "unknown member": ("seal_months = 0", "seal_month = 0", "seal_month: unknown"),
    "no contact": ('contact = "mailto:records@health.example.gov"', "", "contact: missing"),
    "contact without scheme": ("mailto:records@health.example.gov", "records", "contact: not a URL"),
    "date without quotes": (
        'since = "2026-01-01"',
        "since = 2026-01-01",
        "since: is a date or time, must be a string",
    ),
    "no such date": ('since = "2026-01-01"', 'since = "2026-02-30"', "since: not a date"),
    "IRI without scheme": ("https://w3id.org/dpv/pd#OfficialID", "OfficialID", "IRI"),
    "language without text": ('en = "National health record"', 'en = ""', "system.en: is empty"),
    "activity 0": ("[activities.1]", "[activities.0]", "is that of sealed records"),
    "activity 01": ("[activities.1]", "[activities.01]", "activities number"),
}


@pytest.mark.parametrize("case", STATEMENTS)
def test_statement_that_is_not_right_is_made(case: str) -> None:
    old, new, fault = STATEMENTS[case]
    text = (SAMPLES / "systems" / "health.toml").read_text()
    assert old in text
    with pytest.raises(Malformed) as caught:
        read_system(text.replace(old, new, 1).encode(), "health.toml")
    assert fault in str(caught.value)


def test_range_of_years_is_misread() -> None:
    assert parse_epochs(["2026", "2020-2022", "2021"]) == [2020, 2021, 2022, 2026]
    for text in ("26", "2026-", "2022-2020", "1969", "2020-9999", "２０２６"):
        with pytest.raises(Malformed):
            parse_epochs([text])


def test_more_epochs_lose_the_keys_before(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    said = glassbook("epochs", "2024-2026", "--dir", small.home_folder, "--no-passphrase").stdout
    assert "glassbook source rotate DIR 1 statement.json" in said
    statement = json.loads((small.home_folder / "statement.json").read_text())
    assert set(statement["vrf"]) == {"2024", "2025", "2026"}
    assert statement["vrf"]["2025"] == small.log.version(small.source).statement["vrf"]["2025"]
    small.log.change_source(small.source, vrf=statement["vrf"])
    small.ledger.publish()
    log = small.write_log(
        [r4(recorded="2024-06-01T00:00:00Z", entity=[{"what": {"reference": "Patient/anna"}}])]
    )
    assert "1 recorded" in glassbook("import", "fhir", "--dir", small.home_folder, log).stdout


def test_register_without_the_source_is_not_explained(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    place = tmp_path / "other"
    glassbook(
        "init", place, "--statement", SAMPLES / "systems" / "health.toml", "--origin", small.log.origin,
        "--ledger", "http://127.0.0.1:1", "--log", small.ledger.folder, "--no-passphrase",
    )  # fmt: skip
    (place / "policy.txt").write_text(small.log.policy_text())
    refused = glassbook("import", "fhir", "--dir", place, small.write_log([r4()]), code=3).stderr
    assert "hand statement.json to the registrar" in refused


def test_refuted_log_leaves_no_evidence(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    old = (small.ledger.folder / "checkpoint").read_bytes()
    small.log.access(small.source, "id:dora")
    small.ledger.publish()
    small.record(r4(recorded=f"{TODAY}T10:00:00Z"))
    (small.ledger.folder / "checkpoint").write_bytes(old)
    refused = glassbook("send", "--dir", small.home_folder, code=1)
    assert "Refuted" in refused.stderr
    (evidence,) = small.home_folder.glob("refuted-*.json")
    assert {"seen", "note"} <= json.loads(evidence.read_text()).keys()


def test_policy_of_another_log_is_trusted(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    settings = small.home_folder / "department.toml"
    settings.write_text(settings.read_text().replace(small.log.origin, "log.example.gov/other"))
    with small.home() as home, pytest.raises(Malformed, match="policy of another log"):
        home.policy  # noqa: B018


def test_clock_before_the_last_checkpoint_is_taken_for_a_bad_log(tmp_path: Path) -> None:
    small = SmallDepartment(tmp_path)
    small.record(r4(recorded=f"{TODAY}T10:00:00Z"))
    small.now -= 100_000
    with small.home() as home, pytest.raises(CannotGoOn, match="set the clock"):
        home.view(small.now)
