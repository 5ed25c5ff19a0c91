"""The demo leaves what it promises, catches what it forges, and tells nobody whose data it was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from demorun import DemoRun, command


def test_a_file_the_demo_promises_is_missing(demo_run: DemoRun) -> None:
    folder = demo_run.folder
    for name in ("public/checkpoint", "policy.txt", "citizen.keys.json", "log-url", "pids"):
        assert (folder / name).is_file(), name
    assert len(list((folder / "receipts").glob("*.receipt.json"))) == 3
    assert len(list((folder / "evidence").glob("*.evidence.json"))) == 2
    assert (folder / "citizen.keys.json").stat().st_mode & 0o077 == 0


def test_a_forgery_is_not_caught(demo_run: DemoRun) -> None:
    assert demo_run.output.count("✗ caught:") == 3
    assert demo_run.output.count("exit code 1") == 3


def test_the_demo_keeps_quiet_about_what_it_arranged(demo_run: DemoRun) -> None:
    told = [line for line in demo_run.output.splitlines() if line.startswith("arranged for the demo:")]
    for word in ("moved back by 16 years", "years back", "one sample citizen", "set aside for tests"):
        assert any(word in line for line in told), word


def test_every_sample_event_is_accounted_for(demo_run: DemoRun) -> None:
    for line in (
        "11 events: 4 recorded, 7 not about a person, 0 rejected.",
        "31 events: 25 recorded, 6 not about a person, 0 rejected.",
        "828 events: 828 recorded, 0 not about a person, 0 rejected.",
    ):
        assert line in demo_run.output


def test_something_is_written_outside_of_the_folder(demo_run: DemoRun) -> None:
    assert list(demo_run.home.rglob("*")) == []


def test_a_service_writes_down_whose_data_it_was(demo_run: DemoRun) -> None:
    logs = "".join(path.read_text(encoding="utf-8") for path in (demo_run.folder / "logs").iterdir())
    assert "published" in logs or "sequenced" in logs
    for word in ("9990000018", "encounter-3", "Practitioner", "John Smith", "healthcare marketing"):
        assert word not in logs, word


def test_the_published_log_holds_something_personal(demo_run: DemoRun) -> None:
    files = b"".join(path.read_bytes() for path in (demo_run.folder / "public").rglob("*") if path.is_file())
    for word in (b"9990000018", b"encounter-3", b"Practitioner", b"John Smith"):
        assert word not in files, word


@pytest.mark.parametrize("where", ["public", "url"])
def test_the_citizen_misses_an_access(demo_run: DemoRun, tmp_path: Path, where: str) -> None:
    log = (demo_run.folder / "log-url").read_text().strip() if where == "url" else "public"
    asked = command(
        tmp_path, demo_run.folder,
        "glassbook-verify", "mine", "citizen.keys.json", "--policy", "policy.txt", "--log", log, "--json",
    )  # fmt: skip
    assert asked.returncode == 0, asked.stdout + asked.stderr
    assert "37 accesses in 3 sources" in json.loads(asked.stdout)["message"]


def test_all_receipts_and_evidence_hold(demo_run: DemoRun, tmp_path: Path) -> None:
    for kind in ("receipt", "evidence"):
        files = sorted((demo_run.folder / (kind if kind == "evidence" else "receipts")).iterdir())
        for file in files:
            checked = command(
                tmp_path, demo_run.folder, "glassbook-verify", kind, str(file), "--policy", "policy.txt"
            )
            assert checked.returncode == 0, f"{file.name}: {checked.stdout}{checked.stderr}"


def test_a_missing_extra_is_named_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    code = "import sys; sys.modules['fastapi'] = None; from ledger.cli import main; main()"
    words = [sys.executable, "-c", code, "demo", str(folder)]
    refused = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2, refused.stderr
    assert "it needs fastapi; run: pip install 'glassbook[all]'" in refused.stderr
    assert not folder.exists()


def test_a_folder_with_something_in_it_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    refused = command(tmp_path, tmp_path, "glassbook", "demo", str(tmp_path))
    assert refused.returncode == 3
    assert "is not empty" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_stopping_ends_a_process_that_is_none_of_the_demos(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"], cwd="/")
    try:
        (tmp_path / "pids").write_text(f"{bystander.pid} ledger\n")
        stopped = command(tmp_path, tmp_path, "glassbook", "demo", str(tmp_path), "--stop")
        assert stopped.returncode == 0
        assert "nothing, all had ended before" in stopped.stdout
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_stopping_where_nothing_runs_is_no_error(tmp_path: Path) -> None:
    stopped = command(tmp_path, tmp_path, "glassbook", "demo", str(tmp_path), "--stop")
    assert stopped.returncode == 3
    assert "nothing of a demo runs" in stopped.stderr
