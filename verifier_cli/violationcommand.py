"""`glassbook-verify violation FILE`: what a file shows of a rule that a log broke, checked offline."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.core.errors import Malformed, Refuted
from ledger.core.policy import Policy
from verifier_cli.commandline import now, read_file, read_policy, run
from verifier_cli.options import JsonOption, LangOption, OfflineLogOption, PolicyOption
from verifier_cli.outcome import Line, Outcome, Verdict, numbered
from verifier_cli.violation import replay_command
from verifier_cli.violationcheck import CheckedViolation, check_violation
from verifier_cli.violationfile import KINDS, Shown, parse_violation

LIMITS = (
    "It proves what the log holds and signed. It does not prove who put the entry there, that what other entries say"
    " is true, or that nothing else is wrong."
)


def violation(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A violation-*.json file.")],
    policy: PolicyOption,
    log: OfflineLogOption = None,
    as_json: JsonOption = False,
    lang: LangOption = "en",
) -> None:
    """Check offline that a log broke a rule. Exit 1: it did, and the file proves it. Exit 3: not by this file."""

    def work() -> Outcome:
        return violation_command(str(file), read_file(file), read_policy(policy), now())

    run("violation", as_json, work)


def violation_command(name: str, data: bytes, policy: Policy, now: int) -> Outcome:
    """Check the file of that name. Raises `Malformed` when it is none.

    A proven violation refutes the log: exit code 1. A file that shows none, or not alone, could not be checked: 3.
    """
    file = parse_violation(data, name)
    result: dict[str, Any] = {
        "file": name,
        "kind": file.violation.kind,
        "rule": f"formats.md {file.violation.rule}",
        "index": file.violation.index,
        "proven": False,
        "steps": [],
    }
    try:
        checked = check_violation(file, policy, now)
    except (Refuted, Malformed) as error:
        message = f"the file shows nothing: {error}"
        return Outcome("violation", Verdict.NOT_CHECKED, message, result | {"still": str(error)})
    return _outcome(name, checked, result)


def _outcome(name: str, checked: CheckedViolation, result: dict[str, Any]) -> Outcome:
    violation = checked.file.violation
    kind = KINDS[violation.kind]
    result |= {
        "origin": checked.checkpoint.origin,
        "size": checked.checkpoint.size,
        "proven": checked.proven,
        "still": checked.still,
        "steps": [{"title": step.title, "detail": step.detail} for step in checked.steps],
    }
    what = f"entry {violation.index} of {checked.checkpoint.origin}"
    head = Line(f"{what}: {violation.kind}, docs/formats.md {violation.rule}", "heading")
    lines = [head, Line(), *numbered(checked.steps)]
    if checked.proven:
        lines += [Line(), Line("What this does not prove", "heading"), Line(LIMITS, indent=3), Line()]
        message = f"{what} breaks docs/formats.md {violation.rule}: {kind.words}"
        return Outcome("violation", Verdict.REFUTED, message, result, lines, name)
    if kind.shown is Shown.REPLAY:
        command = replay_command("URL|DIR|TAR", violation.index)
        lines += [Line(), Line("What it still takes: a replay of all entries before it", "heading")]
        lines += [Line(command, indent=3), Line()]
        result["replay"] = command
        message = f"{checked.still}: {command}"
    else:
        message = f"the file does not prove that the log broke a rule: {checked.still}"
    return Outcome("violation", Verdict.NOT_CHECKED, message, result, [*lines, Line()])
