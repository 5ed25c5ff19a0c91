"""`glassbook demo`: the whole way of one access, on one machine, on real input.

Everything runs through the product's own commands, started as anybody would start them, and lies in one folder:

    public/  policy.txt  log-url               the published log, whom to trust, and where the log is served
    citizen.keys.json                          the sample citizen's stream keys, of all departments
    receipts/*.receipt.json                    one receipt of each department
    evidence/*.evidence.json                   evidence of single accesses
    operator/  witnesses/  departments/  logs/   what belongs to each party, and what their processes said
    input/                                     the sample access logs, with dates moved out of the future
    forgeries/                                 the copies that are tampered with
    pids                                       while it runs: process numbers and names
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from samples import tamper
from samples.arrange import SAMPLES, Department, departments
from samples.running import Running, answers, free_ports, stop_detached
from samples.stage import DemoFailed, Stage

ORIGIN = "demo.glassbook.example/access"
WITNESS = "witness.glassbook.example/w1"
AUDITOR = "auditor.glassbook.example/a1"
REGISTRY = 2
"""Byte 1 of a registry entry (docs/formats.md §2)."""


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Where to put everything.", show_default="a temporary folder"),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End a demo that was left running in DIR.")] = False,
) -> None:
    """Run everything on this machine on sample data, and let citizen and auditor check it."""
    try:
        if stop:
            _stop(folder)
            return
        if missing := _missing():
            typer.echo(
                f"glassbook demo: Not installed: it needs {missing}; run: pip install 'glassbook[all]'",
                err=True,
            )
            raise typer.Exit(2)
        place = _place(folder)
        stage = Stage(place)
        running = Running(stage)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            Demo(stage, running).play(detach)
        except BaseException:
            running.stop()
            raise
        if not detach:
            running.stop()
    except DemoFailed as error:
        typer.echo(f"glassbook demo: {error}", err=True)
        raise typer.Exit(3) from None


def _missing() -> str | None:
    """A library that the commands of the demo need and that is not there, as after installing the verifier alone."""
    needed = ("fastapi", "msgspec", "prometheus_client", "sqlalchemy", "starlette", "structlog", "uvicorn")
    return next((name for name in needed if find_spec(name) is None), None)


def _place(folder: Path | None) -> Path:
    """An empty folder, made when it is not there. Raises DemoFailed when something is in it."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="glassbook-demo-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DemoFailed(f"{folder}: is not empty; name another folder, or remove this one first")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _stop(folder: Path | None) -> None:
    if folder is None:
        raise DemoFailed("--stop needs the folder of the demo that runs")
    ended = stop_detached(folder.resolve())
    typer.echo(
        f"Ended: {', '.join(ended) or 'nothing, all had ended before'}. The folder {folder} is yours to remove."
    )


class Demo:
    """One run, chapter by chapter."""

    def __init__(self, stage: Stage, running: Running) -> None:
        self.stage = stage
        self.running = running
        self.folder = stage.folder
        self.ledger_port, self.public_port, self.witness_port, self.auditor_port = free_ports(4)

    def play(self, detach: bool) -> None:
        """The whole demo; with `detach` the processes stay."""
        self.stage.say(
            "Glassbook: every access to a person's data is recorded; she can see all of them, with proof that none is "
            "missing, and nobody else learns whose data it was."
        )
        self.stage.say(f"Everything happens in {self.folder}; nothing is written anywhere else.")
        ready, years = departments(self.folder / "input", time.gmtime().tm_year)
        self.set_up()
        self.register(ready, years)
        for department in ready[:2]:
            self.record(department)
        self.remember()
        self.record(ready[2])
        self.receipts(ready)
        self.citizen(ready)
        self.everyone()
        self.forgeries()
        self.farewell(detach)

    # -- the chapters ----------------------------------------------------------------------------------

    def set_up(self) -> None:
        """The operator's log, a witness and an auditor, running."""
        stage = self.stage
        stage.chapter(
            "An operator begins a log; a witness and an auditor watch it",
            "The operator runs the ledger, but cannot read what is in it. The witness is somebody else: it signs only "
            "what adds to what it saw before, so nobody is shown another past. The auditor is somebody else again, and "
            "does more: it reads every entry, holds it against every rule, and computes the index anew, the one from "
            "which a citizen learns that nothing is missing. It needs no secret for that. Nothing is published that "
            "not both have signed.",
        )
        shutil.copyfile(SAMPLES / "charter.toml", self.folder / "input" / "charter.toml")
        stage.run(
            "glassbook", "init", "operator", "--origin", ORIGIN, "--charter", "input/charter.toml",
            "--yes", "--no-passphrase",
            "--listen", f"127.0.0.1:{self.ledger_port}", "--public-listen", f"127.0.0.1:{self.public_port}",
            quiet=True,
        )  # fmt: skip
        settings = self.folder / "operator" / "glassbook.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace('public = "public"', 'public = "../public"'), encoding="utf-8")
        (self.folder / "operator" / "public").rmdir()
        stage.arranged("keys without a passphrase, and the published log in public/, beside everything else.")

        public = f"http://127.0.0.1:{self.public_port}"
        (self.folder / "witnesses").mkdir()
        plain = ("glassbook-verify", "witness", "witnesses/plain.sqlite", "--plain")
        auditor = ("glassbook-verify", "witness", "witnesses/auditor.sqlite")
        vkeys = stage.run_together(
            [(*plain, "--init", "--name", WITNESS), (*auditor, "--init", "--name", AUDITOR)], quiet=True
        )
        addresses = [f"127.0.0.1:{port}" for port in (self.witness_port, self.auditor_port)]
        add = ("glassbook", "witness", "add")
        stage.run(*add, vkeys[0].strip(), f"http://{addresses[0]}", "operator", quiet=True)
        stage.run(*add, vkeys[1].strip(), f"http://{addresses[1]}", "operator", "--auditor")
        policy = (self.folder / "operator" / "policy.txt").read_text(encoding="utf-8")
        (self.folder / "policy.txt").write_text(policy, encoding="utf-8")
        log_vkeys = (self.folder / "operator" / "log-vkeys.txt").read_text(encoding="utf-8").split()
        known = [word for vkey in log_vkeys for word in ("--log-vkey", vkey)]
        self.running.start("witness", *plain, *known, "--listen", addresses[0])
        self.running.start("auditor", *auditor, *known, "--log", public, "--listen", addresses[1])
        self.running.start("ledger", "glassbook", "up", "operator")
        (self.folder / "log-url").write_text(public + "\n", encoding="utf-8")
        self.running.wait_for("the first checkpoint", (self.folder / "public" / "checkpoint").exists)
        self.running.wait_for("the published log", lambda: answers(f"{public}/checkpoint"))
        stage.proved(
            "The log runs. policy.txt names its keys, the witness and the auditor: all that a reader has to trust."
        )

    def register(self, ready: list[Department], years: int) -> None:
        """Three departments, each with keys of its own, entered in the register."""
        stage = self.stage
        stage.chapter(
            "Three departments are registered",
            "Each makes its own keys and says what its system does and on what legal ground. The registrar signs that, "
            "and it becomes an entry of the log.",
        )
        today = time.strftime("%Y-%m-%d", time.gmtime())
        epochs = self._epochs(ready)
        (self.folder / "departments").mkdir()
        inits = []
        for department in ready:
            name = department.name
            statement = (SAMPLES / "systems" / f"{name}.toml").read_text(encoding="utf-8")
            stated = re.sub(r"(?m)^since = .*$", f'since = "{today}"', statement)
            (self.folder / "input" / f"{name}.system.toml").write_text(stated, encoding="utf-8")
            shutil.copyfile(SAMPLES / "maps" / f"{name}.toml", self.folder / "input" / f"{name}.map.toml")
            inits.append((
                "glassbook", "department", "init", f"departments/{name}", "--statement", f"input/{name}.system.toml",
                "--origin", ORIGIN, "--ledger", f"http://127.0.0.1:{self.ledger_port}",
                "--log", f"http://127.0.0.1:{self.public_port}", "--epoch", epochs[name], "--no-passphrase",
            ))  # fmt: skip
        stage.run_together(inits, quiet=True)
        for department in ready:
            home = f"departments/{department.name}"
            shutil.copyfile(self.folder / "policy.txt", self.folder / home / "policy.txt")
            stage.run("glassbook", "source", "add", "operator", f"{home}/statement.json")
        stage.arranged(
            "keys for years back, because the sample accesses lie years back. A real log begins with this year."
        )
        stage.arranged(
            "each department owes a daily count of its records from today on, and none for the years before."
        )
        if years:
            stage.arranged(
                f"the screening programme's sample dates reach into the future: all are moved back by {years} years."
            )
        # The charter and one statement of each department, published: only then can an agent find its number.
        self.running.wait_for("the register", lambda: self._published(REGISTRY) == 1 + len(ready))

    def _epochs(self, ready: list[Department]) -> dict[str, str]:
        """The years in each department's files, as `department init` takes them."""
        spans = {}
        for department in ready:
            years: set[int] = set()
            for file in department.files:
                data = file.read_bytes()
                text = (gzip.decompress(data) if file.suffix == ".gz" else data).decode()
                years |= {
                    int(year) for year in re.findall(r'"(?:recorded|occurredDateTime)": *"([0-9]{4})-', text)
                }
            spans[department.name] = f"{min(years)}-{max(years)}"
        return spans

    def record(self, department: Department) -> None:
        """Import one department's access log and hand it in."""
        stage = self.stage
        home = f"departments/{department.name}"
        if department.name == "health":
            stage.chapter(
                "The departments import their access logs",
                "Each access becomes a record: signed, and encrypted for the person it is about. A record counts as "
                "logged only when the department has checked the receipt for it.",
            )
            stage.arranged(
                "HL7's and IHE's examples name several imaginary patients; the mappings lead all to one sample citizen."
            )
        files = [str(file.relative_to(self.folder)) for file in department.files]
        mapping = f"input/{department.name}.map.toml"
        stage.run(
            "glassbook", "department", "import", "fhir", "--dir", home, "--map", mapping, *files,
            shown=[*files[:1], "…"] if len(files) > 1 else files,
        )  # fmt: skip
        stage.run("glassbook", "department", "send", "--dir", home, "--wait")

    def remember(self) -> None:
        """Somebody looks at the log, and keeps what the log was then; so do we, for a forgery."""
        shutil.copytree(self.folder / "public", self.folder / "forgeries" / "earlier")
        self.stage.say("Somebody looks at the log now, and will look again later:")
        self.stage.run("glassbook-verify", "consistency", *self.where())

    def where(self, log: str = "public") -> tuple[str, ...]:
        """The options of the verifier: whom to trust, and where the log is."""
        return ("--policy", "policy.txt", "--log", log)

    def receipts(self, ready: list[Department]) -> None:
        """One receipt of each department, checked offline, and the log once more."""
        stage = self.stage
        stage.chapter(
            "What a department holds: a receipt",
            "It proves, without asking anybody, that this very record is in the log and can be found there.",
        )
        stage.run_together([
            ("glassbook", "department", "receipts", "--dir", f"departments/{department.name}", "--limit", "1",
             "--out", "receipts")
            for department in ready
        ], quiet=True)  # fmt: skip
        for receipt in sorted((self.folder / "receipts").glob("*.receipt.json"))[:1]:
            stage.run("glassbook-verify", "receipt", f"receipts/{receipt.name}", "--policy", "policy.txt")
        stage.proved("The receipt holds.")

    def citizen(self, ready: list[Department]) -> None:
        """The sample citizen's keys, her list, and evidence of one access."""
        stage = self.stage
        stage.chapter(
            "The citizen looks",
            "Each department gives her the keys to her own records. With them her computer finds every access to her "
            "data, and proves for every department and year that there is no further one.",
        )
        stage.arranged(
            "the sample citizen has an NHS number from the range set aside for tests, and an encounter number."
        )
        files = [f"departments/{department.name}/citizen.keys.json" for department in ready]
        stage.run_together([
            ("glassbook", "department", "keys", "--dir", f"departments/{department.name}",
             "--subject", department.subject, "--out", file)
            for department, file in zip(ready, files, strict=True)
        ])  # fmt: skip
        parts = [json.loads((self.folder / file).read_text(encoding="utf-8")) for file in files]
        merged = {"origin": parts[0]["origin"], "keys": [key for part in parts for key in part["keys"]]}
        keys = self.folder / "citizen.keys.json"
        keys.touch(mode=0o600)
        keys.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
        stage.say(
            "The three files are put together into one, citizen.keys.json. It is as private as what it opens."
        )
        # All records of the first two departments are hers: the newest receipts name two of them.
        chosen = sorted(int(path.name.split(".")[0]) for path in (self.folder / "receipts").iterdir())[:2]
        stage.run(
            "glassbook-verify", "mine", "citizen.keys.json", *self.where(self._url()), "--evidence", "evidence",
            *(word for index in chosen for word in ("--entry", str(index))), "--open", "actor,event,purpose",
        )  # fmt: skip
        stage.proved("She sees every access, and that no department has logged one that she cannot see.")
        stage.say(
            "She can show one access to a journalist, choose what it says, and keep the rest to herself:"
        )
        stage.run(
            "glassbook-verify", "evidence", f"evidence/{chosen[0]}.evidence.json", "--policy", "policy.txt"
        )
        stage.proved("Who has this file can check it offline.")

    def everyone(self) -> None:
        """What anybody can check without any key."""
        stage = self.stage
        stage.chapter(
            "Anyone can check the whole log",
            "Without any secret: every signature, every hash, every rule, on every entry. And that the log only grew "
            "since we looked before.",
        )
        stage.run("glassbook-verify", "audit", *self.where())
        stage.proved(
            "Nothing in the log breaks a rule, and the index that her list came from is the right one."
        )
        stage.run("glassbook-verify", "consistency", *self.where())
        stage.proved("Everything that was in the log when we looked first is still there, unchanged.")

    def forgeries(self) -> None:
        """Three copies of the log, each tampered with, each caught."""
        stage, public, forged = self.stage, self.folder / "public", self.folder / "forgeries"
        stage.chapter(
            "Three forgeries",
            "Each on a copy of the published log. The real one stays as it is.",
        )
        index = min(int(path.name.split(".")[0]) for path in (self.folder / "evidence").iterdir())

        stage.say(f"First: one bit of one byte. The access at index {index} is moved to another day.")
        tamper.alter(public, forged / "altered", index)
        stage.run("glassbook-verify", "audit", *self.where("forgeries/altered"), expect=1)
        stage.caught("the bundle no longer hashes to what the log signed.")

        stage.say(
            f"Second: the access at index {index} is removed, and every file made anew so that all fits together again."
        )
        tamper.remove(public, forged / "removed", index)
        stage.run("glassbook-verify", "audit", *self.where("forgeries/removed"), expect=1)
        stage.caught("nobody but the log can sign the checkpoint that would fit.")

        stage.say(
            "Third: the log goes back to what it was before the last department handed in. Every signature in this "
            "copy is genuine."
        )
        tamper.forget(forged / "earlier", forged / "shorter")
        stage.run("glassbook-verify", "consistency", *self.where("forgeries/shorter"), expect=1)
        stage.caught("whoever looked once knows that there was more.")

    def farewell(self, detach: bool) -> None:
        """What the reader can do now."""
        stage = self.stage
        stage.chapter("Your turn", f"All of this took {stage.seconds()} seconds. What you can type next:")
        stage.command(f"cd {self.folder}")
        stage.command(f"export PATH={Path(sys.executable).parent}:$PATH")
        stage.command("glassbook-verify mine citizen.keys.json --policy policy.txt --log public")
        stage.command("glassbook-verify show 10 --policy policy.txt --log public")
        stage.say(
            "docs/verify-by-hand.md checks the same with openssl, sha256sum and jq, and nothing of ours."
        )
        if detach:
            stage.say(f"The log is served at {self._url()} until you type: make demo-stop DIR={self.folder}")
        stage.say(
            "What this does not prove: that a department recorded every access, that what it wrote is true, or that it "
            "wrote it under the right person. No log can prove that."
        )
        stage.say(f"Everything lies in {self.folder}, and nowhere else.")

    def _url(self) -> str:
        return (self.folder / "log-url").read_text(encoding="utf-8").strip()

    def _published(self, kind: int) -> int:
        """How many entries of a kind the published log has."""
        return sum(entry[1] == kind for entry in tamper.read_entries(self.folder / "public"))
