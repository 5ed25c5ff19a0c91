"""docs/verify-by-hand.md is run as it stands, in bash, on a real log; and it finds what was altered."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

from demorun import DemoRun

from ledger.core.encoding import b64decode
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.core.promise import Promise, sign_promise
from ledger.keyfiles import read_ed25519
from samples import tamper

PAGE = Path(__file__).parents[2] / "docs" / "verify-by-hand.md"
OURS = re.compile(r"^[^#\n]*\b(glassbook|python)", re.M)


def blocks() -> str:
    return "\n".join(re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S))


def run_by_hand(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash"], input=blocks(), cwd=folder, capture_output=True, text=True)


def copy_of(demo_run: DemoRun, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("public", "receipts", "evidence"):
        shutil.copytree(demo_run.folder / name, folder / name)
    for name in ("policy.txt", "citizen.keys.json"):
        shutil.copyfile(demo_run.folder / name, folder / name)
    return folder


def test_the_page_uses_something_of_ours() -> None:
    commands = re.sub(r"glassbook/v1|info:glassbook", "", blocks())
    assert OURS.search(commands) is None


def test_the_page_does_not_work_as_it_stands(demo_run: DemoRun) -> None:
    done = run_by_hand(demo_run.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert all(line.startswith("ok   ") for line in lines)
    assert lines[-1] == "ok   37 records in all, and no next one in any stream"
    assert any("W1 saw this checkpoint" in line for line in lines)
    assert "ok   their tree has the root that the log signed" in lines
    assert "ok   the record is in the index" in lines


def test_a_promise_is_judged_wrongly_by_hand(demo_run: DemoRun, tmp_path: Path) -> None:
    folder = copy_of(demo_run, tmp_path)
    key = read_ed25519(demo_run.folder / "operator" / "keys" / "ledger.key")
    note = (folder / "public" / "checkpoint").read_text(encoding="utf-8")
    receipt = json.loads(next((folder / "receipts").iterdir()).read_bytes())
    leaf = leaf_hash(b64decode(receipt["entry"], "entry"))
    now = int(time.time())
    origin = note.split("\n")[0]
    for name, promised, accepted in (
        ("a", leaf, now), ("b", leaf, 1_000_000_000), ("c", bytes(32), 1_000_000_000), ("d", bytes(32), now),
    ):  # fmt: skip
        (folder / f"{name}.promise").write_bytes(sign_promise(Promise(origin, promised, accepted), key))
    forged = sign_promise(Promise(origin, leaf, now), Ed25519PrivateKey.generate())
    (folder / "e.promise").write_bytes(forged)
    done = run_by_hand(folder)
    verdicts = [line.split("Z: ")[1] for line in done.stdout.splitlines() if "  due by " in line]
    assert verdicts == [
        "kept", "published; an earlier checkpoint can show whether in time", "broken", "open",
    ]  # fmt: skip
    assert done.returncode == 1 and "NOT  the ledger signed e.promise" in done.stdout


def test_a_forged_signature_passes_by_hand(demo_run: DemoRun, tmp_path: Path) -> None:
    folder = copy_of(demo_run, tmp_path)
    checkpoint = folder / "public" / "checkpoint"
    text = checkpoint.read_text(encoding="utf-8").split("\n")
    text[1] = str(int(text[1]) + 1)
    checkpoint.write_text("\n".join(text), encoding="utf-8")
    done = run_by_hand(folder)
    assert done.returncode == 1
    assert "NOT  the log signed the checkpoint" in done.stdout


def test_an_altered_entry_passes_by_hand(demo_run: DemoRun, tmp_path: Path) -> None:
    folder = copy_of(demo_run, tmp_path)
    public = folder / "public"
    public.rename(folder / "real")
    tamper.alter(folder / "real", public, tamper.size_of(folder / "real") // 2)
    done = run_by_hand(folder)
    assert done.returncode == 1
    assert "NOT  their tree has the root that the log signed" in done.stdout
