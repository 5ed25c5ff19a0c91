"""Exit codes, JSON that stays the same, no traceback, no colour in a pipe, no extras needed."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from logfactory import LogFactory
from ran import Run

EXTRAS = ("fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "msgspec", "structlog", "prometheus_client",
          "stamina", "ledger.store", "ledger.service", "ledger.sequencer", "publisher")  # fmt: skip

# The program as the base install has it: importing anything of the extras fails.
BARE = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in {EXTRAS!r} or name.split('.')[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Refuse())
from verifier_cli.cli import main
main()
"""


@pytest.mark.parametrize(
    "args",
    [
        ["nothing"],
        ["receipt"],
        ["receipt", "x"],
        ["mine", "--policy", "policy.txt", "--log", "public"],
        ["mine", "me.keys.json", "--policy", "policy.txt"],
        ["audit", "--policy", "policy.txt", "--log", "public", "--jobs", "0"],
        ["audit", "--policy", "policy.txt", "--log", "public", "--from", "x"],
        ["consistency", "--log", "public"],
        ["show"],
        ["receipt", "x", "--policy", "policy.txt", "--colour"],
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(run: Run, files: Path, args: list[str]) -> None:
    ran = run(*args)
    assert ran.exit == 2
    assert "Usage:" in ran.err and "Error" in ran.err


@pytest.mark.parametrize(
    "args",
    [
        ["receipt", "absent", "--policy", "policy.txt"],
        ["receipt", "me.keys.json", "--policy", "absent"],
        ["receipt", "me.keys.json", "--policy", "me.keys.json"],
        ["mine", "absent", "--policy", "policy.txt", "--log", "public"],
        ["mine", "policy.txt", "--policy", "policy.txt", "--log", "public"],
        ["mine", "me.keys.json", "--policy", "policy.txt", "--log", "absent"],
        ["mine", "me.keys.json", "--policy", "policy.txt", "--log", "http://127.0.0.1:9"],
        ["mine", "me.keys.json", "--policy", "policy.txt", "--log", "http://a:b@127.0.0.1:9"],
        ["audit", "--policy", "policy.txt", "--log", "."],
        ["audit", "--policy", "policy.txt", "--log", "policy.txt"],
        ["consistency", "--policy", "policy.txt", "--log", "public", "--from", "absent"],
        ["show", "absent"],
        ["receipt", ".", "--policy", "policy.txt"],
    ],
)
def test_what_cannot_be_checked_exits_3_and_names_the_input(run: Run, files: Path, args: list[str]) -> None:
    ran = run(*args)
    assert ran.exit == 3
    assert ran.err.startswith("COULD NOT CHECK: ") and ran.err.count("\n") == 1
    assert "9434765919" not in ran.err
    answer = run(*args, "--json").json
    assert (answer["verdict"], answer["exit"], answer["result"]) == ("not checked", 3, {})


def test_a_fault_of_the_program_itself_shows_no_traceback_and_no_data(
    run: Run, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import verifier_cli.mine

    def fail(*args: Any) -> None:
        raise KeyError("nhs:9434765919")

    monkeypatch.setattr(verifier_cli.mine, "merge_keys", fail)
    ran = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", "public")
    assert ran.exit == 3
    assert "9434765919" not in ran.out + ran.err and "KeyError" in ran.err


def test_a_key_in_a_broken_keys_file_is_not_shown(run: Run, files: Path, log: LogFactory) -> None:
    keys = json.loads(log.keys_file("nhs:9434765919"))
    keys["keys"][0]["subject"] = "nhs 9434765919 of Jane"
    (files / "me.keys.json").write_text(json.dumps(keys))
    ran = run("mine", "me.keys.json", "--policy", "policy.txt", "--log", "public")
    assert ran.exit == 3 and "9434765919" not in ran.err and "Jane" not in ran.err


def _shape(value: Any) -> Any:
    """Types in place of values; of a list its first item stands for all."""
    if isinstance(value, dict):
        return {name: _shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__


def test_the_json_of_each_command_keeps_its_shape(run: Run, files: Path, log: LogFactory) -> None:
    """What programs read: members may be added to the snapshot, never change or go."""
    from logfactory import NOW

    from ledger.client.folderlog import FolderLog
    from ledger.client.view import View
    from ledger.core.merkle import leaf_hash
    from ledger.core.promise import Promise, sign_promise
    from ledger.core.receipt import format_receipt

    view = View.open(FolderLog(files / "public"), log.policy(), NOW)
    (files / "r.receipt.json").write_bytes(format_receipt(view.receipt(3)))
    promised = Promise(log.origin, leaf_hash(log.entries[3]), NOW)
    (files / "a.promise").write_bytes(sign_promise(promised, log.ledger_key))
    common = ("--policy", "policy.txt", "--log", "public", "--json")
    shapes = {
        "receipt": run("receipt", "r.receipt.json", "--policy", "policy.txt", "--json"),
        "mine": run("mine", "me.keys.json", *common),
        "consistency": run("consistency", *common, "--state", "seen"),
        "audit": run("audit", *common),
        "show": run("show", 8, *common),
        "promise": run("promise", "a.promise", *common),
    }
    found = {command: _shape(ran.json) for command, ran in shapes.items()}
    snapshot = Path(__file__).parent / "json_shapes.json"
    assert found == json.loads(snapshot.read_text())


def _bare(files: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, *args], cwd=files, capture_output=True, text=True, check=False
    )


def test_the_base_install_runs_everything_but_the_witness(files: Path) -> None:
    common = ("--policy", "policy.txt", "--log", "public")
    for args in (
        ["audit", *common, "--jobs", "1"],
        ["mine", "me.keys.json", *common],
        ["show", "0", *common],
    ):
        ran = _bare(files, *args)
        # The files are dated in the log factory's time, which is not the clock's.
        assert ran.returncode == 0, ran.stderr
        assert "\x1b" not in ran.stdout + ran.stderr
    assert _bare(files, "--help").returncode == 0
    made = _bare(files, "witness", "w.sqlite", "--plain", "--init", "--name", "witness.example/w9")
    assert made.returncode == 0, made.stderr
    served = _bare(files, "witness", "w.sqlite", "--plain", "--listen", "127.0.0.1:0")
    assert served.returncode == 2 and "glassbook[witness]" in served.stderr


def test_a_reader_that_hangs_up_does_not_make_the_result_another(files: Path, log: LogFactory) -> None:
    for _ in range(300):
        log.access(log.sources[0])
    log.publish(files / "public")
    args = f"{sys.executable} -m verifier_cli mine me.keys.json --policy policy.txt --log public"
    for more in ("", " --json"):
        # The reader takes one line of some hundred kilobytes.
        script = f"set -o pipefail; {args}{more} | head -n 1; echo ${{PIPESTATUS[0]}}"
        ran = subprocess.run(["bash", "-c", script], cwd=files, capture_output=True, text=True, check=False)
        assert ran.stdout.splitlines()[-1] == "0", ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr and "Exception" not in ran.stderr


def test_a_full_disk_under_the_result_is_no_refutation(files: Path) -> None:
    args = [sys.executable, "-m", "verifier_cli", "audit", "--jobs", "1", "--policy", "policy.txt", "--log"]
    for log, more in (("public", []), ("public", ["--json"]), ("gone", ["--json"])):
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run(
                [*args, log, *more], cwd=files, stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert ran.returncode == 3, ran.stderr
        assert ran.stderr.startswith("the result could not be written: No space left on device; ")
        assert "Traceback" not in ran.stderr


def test_colour_is_for_terminals_only(files: Path) -> None:
    args = [sys.executable, "-m", "verifier_cli", "show", "0", "--policy", "policy.txt", "--log", "public"]
    lines = _on_a_terminal(args, files)
    assert "\x1b[" in lines and "SHOWN" in lines
    plain = subprocess.run(args, cwd=files, capture_output=True, text=True, check=True)
    assert "\x1b[" not in plain.stdout


def _on_a_terminal(args: list[str], folder: Path) -> str:
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {
        "TERM": "xterm"
    }
    process = subprocess.Popen(args, cwd=folder, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # how a terminal says that the other side is gone
        pass
    os.close(ours)
    assert process.wait() == 0
    return said.decode()
