"""The command `glassbook-verify promise`: its options."""

from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from verifier_cli.commandline import log_at, now, read_file, read_policy, run
from verifier_cli.options import JsonOption, LangOption, PolicyOption
from verifier_cli.outcome import Outcome
from verifier_cli.report import Progress

MAX_NOTE = 1 << 20  # bytes, formats §6


def promise(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A *.promise file, or broken-promise-*.json evidence.")
    ],
    policy: PolicyOption,
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log", metavar="URL|DIR|TAR", help="The published log; evidence that holds the entry needs none.",
            show_default=False,
        ),
    ] = None,
    entry: Annotated[
        Path | None,
        typer.Option(
            "--entry", metavar="FILE", help="The entry that was promised: then the index answers.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint", metavar="FILE", help="Judge under this one, saved earlier.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    lang: LangOption = "en",
) -> None:  # fmt: skip
    """Was a ledger's promise to publish in time kept? Exit 0: yes. Exit 1: broken. Exit 3: not decided."""
    if not log and not _is_evidence(file):
        raise typer.BadParameter("a promise is held against a log: give --log URL|DIR")
    if checkpoint is not None and entry is not None:
        raise typer.BadParameter("--entry asks the index, which no log serves for an older --checkpoint")

    def work() -> Outcome:
        from ledger.core.errors import Malformed
        from verifier_cli.promise import broken_promise_command, promise_command

        data, trusted = read_file(file), read_policy(policy)
        with Progress(as_json) as progress:
            if data[:1] == b"{":
                with nullcontext() if not log else closing(log_at(log)) as opened:
                    return broken_promise_command(opened, trusted, now(), str(file), data, progress)
            if not log:
                raise Malformed(str(file), "is another file than it was a moment ago")
            promised = None if entry is None else read_file(entry)
            note = None if checkpoint is None else read_file(checkpoint, MAX_NOTE)
            with closing(log_at(log, progress)) as source:
                return promise_command(source, trusted, now(), str(file), data, promised, note, progress)

    run("promise", as_json, work, {"policy": policy, "log": log or []})


def _is_evidence(file: Path) -> bool:
    """Whether it begins as JSON does; True as well for what cannot be read, which is told later."""
    try:
        with file.open("rb") as opened:
            return opened.read(1) == b"{"
    except OSError:
        return True
