"""What the commands of `glassbook-verify` share: how they take in time, files and log, and how they end.

    def work() -> Outcome:
        trusted = read_policy(policy)
        with closing(log_at(log)) as source:
            return some_command(source, trusted, now())

    run("some", as_json, work, {"policy": policy, "log": log})

Whatever is raised on the way becomes one message that says where, what and, in an exit code, whether something was
refuted (1) or could not be checked (3). Personal data is printed only as the result of a command that was given keys,
never in an error.
"""

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import typer

from ledger.client.openlog import open_log
from ledger.client.publiclog import ClosableLog, Moved, Unreachable
from ledger.core.errors import GlassbookError, Malformed, Refuted
from ledger.core.policy import Policy, parse_policy
from ledger.files import FileRefused, read_limited
from verifier_cli.outcome import Outcome, Verdict, write_refutation
from verifier_cli.report import Progress, show, warn

MAX_POLICY = 1 << 20  # bytes
MAX_FILE = 16 << 20  # bytes of a receipt, evidence or keys file

clock: Callable[[], float] = time.time
"""What tells all commands the time, in Unix seconds."""


def now() -> int:
    """The time, in whole Unix seconds."""
    return int(clock())


def read_file(path: Path, limit: int = MAX_FILE) -> bytes:
    """A file of at most `limit` bytes. Raises OSError, FileRefused."""
    return read_limited(path, limit)


def read_policy(path: Path) -> Policy:
    """The policy in a file. Raises OSError, FileRefused, Malformed."""
    return parse_policy(read_limited(path, MAX_POLICY))


def log_at(where: str | list[str], progress: Progress | None = None) -> ClosableLog:
    """The published log there, or mirrors of one; says on stderr what it leaves aside. Raises as `open_log`."""
    return open_log(where, None if progress is None else progress.reading, warn)


def run(
    command: str, as_json: bool, work: Callable[[], Outcome], about: Mapping[str, Any] | None = None
) -> NoReturn:
    """Do the work, show what came of it and end with its exit code. `about` goes into the evidence."""
    try:
        outcome = work()
    except Refuted as error:
        path = write_refutation(command, error, about)
        outcome = Outcome(command, Verdict.REFUTED, str(error), evidence_file=path)
    except Moved as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{error}; try again")
    except Unreachable as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, str(error))
    except Malformed as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{error}; nothing was checked with it")
    except (FileRefused, GlassbookError) as error:
        outcome = Outcome(command, Verdict.NOT_CHECKED, str(error))
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{name}{error.strerror or type(error).__name__}")
    except KeyboardInterrupt:
        outcome = Outcome(command, Verdict.NOT_CHECKED, "stopped before the check was done")
    except Exception as error:  # a fault of this program: name its place, not the data it met
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = (
            f"a fault in this program ({type(error).__name__} at {Path(place.filename).name}:{place.lineno})"
        )
        outcome = Outcome(command, Verdict.NOT_CHECKED, f"{what}; please report it")
    code = outcome.verdict.exit_code
    try:
        show(outcome, as_json)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            # A full disk is no refutation, and a result that nobody can read no success.
            code = code or Verdict.NOT_CHECKED.exit_code
            with suppress(OSError):
                print(f"the result could not be written: {error.strerror}; {outcome.told}", file=sys.stderr)
        # Of a pipe, whoever reads has enough. What is left in the buffers must not be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(code)
