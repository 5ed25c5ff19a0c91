"""`glassbook demo`: the whole way of one access, on one machine, on real input.

Everything runs through the product's own commands, started as anybody would start them, and lies in one folder:

    public/  policy.txt  log-url               the published log, whom to trust, and where the log is served
    citizen.keys.json                          the sample citizen's stream keys, of all departments
    receipts/*.receipt.json                    one receipt of each department
    evidence/*.evidence.json                   evidence of single accesses
    operator/  witness/  departments/  logs/   what belongs to each party, and what their processes said
    input/                                     the sample access logs, with dates moved out of the future
    forgeries/                                 the copies that are tampered with
    pids                                       while it runs: process numbers and names
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from samples import tamper
from samples.arrange import SAMPLES, Department, departments
from samples.running import Running, answers, free_ports, stop_detached
from samples.stage import DemoFailed, Stage, plural

ORIGIN = "demo.glassbook.example/access"
WITNESS = "witness.glassbook.example/w1"


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Where to put everything.", show_default="a temporary folder"),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave it running.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End a demo that was left running in DIR.")] = False,
) -> None:
    """Run everything on this machine on sample data, and let citizen and auditor check it."""
    try:
        if stop:
            _stop(folder)
            return
        place = _place(folder)
        stage = Stage(place)
        running = Running(stage)
        try:
            Demo(stage, running).play(detach)
        finally:
            if not detach:
                running.stop()
    except DemoFailed as error:
        typer.echo(f"glassbook demo: {error}", err=True)
        raise typer.Exit(3) from None


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
        self.ledger_port, self.public_port, self.witness_port = free_ports(3)

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
        """The operator's log and one witness, running."""
        stage = self.stage
        stage.chapter(
            "An operator begins a log, and a witness watches it",
            "The operator runs the ledger, but cannot read what is in it. The witness is somebody else: it signs only "
            "what adds to what it saw before.",
        )
        stage.run(
            "glassbook", "init", "operator", "--origin", ORIGIN, "--charter", str(SAMPLES / "charter.toml"),
            "--yes", "--no-passphrase",
            "--listen", f"127.0.0.1:{self.ledger_port}", "--public-listen", f"127.0.0.1:{self.public_port}",
            quiet=True,
        )  # fmt: skip
        settings = self.folder / "operator" / "glassbook.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(text.replace('public = "public"', 'public = "../public"'), encoding="utf-8")
        (self.folder / "operator" / "public").rmdir()
        stage.arranged("keys without a passphrase, and the published log in public/, beside everything else.")

        (self.folder / "witness").mkdir()
        witness = ("glassbook-verify", "witness", "witness/witness.sqlite", "--plain")
        vkey = stage.run(*witness, "--init", "--name", WITNESS, quiet=True).strip()
        url = f"http://127.0.0.1:{self.witness_port}"
        stage.run("glassbook", "witness", "add", vkey, url, "operator")
        policy = (self.folder / "operator" / "policy.txt").read_text(encoding="utf-8")
        (self.folder / "policy.txt").write_text(policy, encoding="utf-8")
        log_vkey = next(line.split()[1] for line in policy.splitlines() if line.startswith("log "))
        address = f"127.0.0.1:{self.witness_port}"
        self.running.start("witness", *witness, "--log-vkey", log_vkey, "--listen", address)
        self.running.start("ledger", "glassbook", "up", "operator")
        public = f"http://127.0.0.1:{self.public_port}"
        (self.folder / "log-url").write_text(public + "\n", encoding="utf-8")
        self.running.wait_for("the first checkpoint", (self.folder / "public" / "checkpoint").exists)
        self.running.wait_for("the published log", lambda: answers(f"{public}/checkpoint"))
        stage.proved(
            "The log runs. policy.txt names its keys and the witness; it is all that a reader has to trust."
        )
