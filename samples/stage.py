"""What the demo shows: chapters in plain words, the commands as they are typed, and what each one proved.

On a terminal in colour, anywhere else as plain lines. The commands print their own output and progress.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text


class DemoFailed(Exception):
    """A command of the demo ended otherwise than it should; the message names it and what to look at."""


class Stage:
    """One run of the demo in one folder; commands run inside it, so that a reader can type them there again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.console = Console(markup=False, highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())
        self.chapters = 0
        self.began = time.monotonic()
        # What the verifier remembers belongs into the folder too: the demo leaves nothing else behind.
        self.environment = {
            **os.environ,
            "XDG_DATA_HOME": str(folder / "remembered"),
            "PYTHONUNBUFFERED": "1",
        }

    def chapter(self, title: str, words: str) -> None:
        """Begin a part: its number and title, and a sentence or two on what is about to happen."""
        self.chapters += 1
        heading = f"{self.chapters}. {title}"
        self.console.print()
        if self.console.is_terminal:
            self.console.print(Rule(Text(heading, style="bold cyan"), align="left", style="cyan"))
        else:
            self.console.print(f"== {heading}")
        self.say(words)

    def say(self, words: str) -> None:
        """Plain words."""
        self._print(Text(words), 0)

    def arranged(self, words: str) -> None:
        """Something that is so only because this is a demo."""
        self._print(Text("arranged for the demo: ", style="yellow") + Text(words, style="not bold"), 0)

    def proved(self, words: str) -> None:
        """What the command before has shown."""
        self._print(Text("✓ ", style="bold green") + Text(words, style="green"), 0)

    def caught(self, words: str) -> None:
        """What the command before has refused to believe."""
        self._print(Text("✗ caught: ", style="bold red") + Text(words, style="red"), 0)

    def _print(self, text: Text, indent: int) -> None:
        if self.console.is_terminal:
            self.console.print(Padding(text, (0, 0, 0, indent)))
        else:
            self.console.print(Text(" " * indent) + text)

    def command(self, line: str) -> None:
        """A command line, as it is typed."""
        self._print(Text("$ " + line, style="bold"), 2)

    def run(self, *command: str, expect: int = 0, quiet: bool = False, shown: Sequence[str] = ()) -> str:
        """Run one of the product's own commands in the folder, showing it as it is typed.

        `quiet` keeps its output to itself and returns it. `shown` stands for the files named, where they are too many
        to read. Raises DemoFailed when it exits otherwise than `expect`.
        """
        self.command(self._shortened(command, shown) if shown else shlex.join(command))
        sys.stdout.flush()
        process = self._start(command, captured=quiet)
        with self.waiting("…") if quiet else nullcontext():
            output, errors = process.communicate()
        self._check(command, process.returncode, expect, (output or "") + (errors or ""))
        if expect:
            self._print(Text(f"exit code {process.returncode}", style="bold red"), 2)
        return output or ""

    def run_together(self, commands: Sequence[Sequence[str]], quiet: bool = False) -> list[str]:
        """Run several commands at once; each is shown with its output as if they had run in order.

        Returns what each wrote to standard output.
        """
        outputs = []
        processes = [self._start(command, captured=True) for command in commands]
        for command, process in zip(commands, processes, strict=True):
            self.command(shlex.join(command))
            with self.waiting("…"):
                output, errors = process.communicate()
            self._check(command, process.returncode, 0, output + errors)
            outputs.append(output)
            if not quiet:
                for line in (output + errors).splitlines():
                    self._print(Text(line), 0)
        return outputs

    def waiting(self, words: str) -> AbstractContextManager[object]:
        """On a terminal, something that moves while nothing else does."""
        return self.console.status(words) if self.console.is_terminal else nullcontext()

    def _start(self, command: Sequence[str], captured: bool) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [program(command[0]), *command[1:]],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if captured else None,
            stderr=subprocess.PIPE if captured else None,
            text=True,
        )

    @staticmethod
    def _check(command: Sequence[str], code: int, expected: int, output: str) -> None:
        if code != expected:
            raise DemoFailed(
                f"{shlex.join(command)}: exit code {code}, expected {expected}\n{output}".rstrip()
            )

    @staticmethod
    def _shortened(command: Sequence[str], shown: Sequence[str]) -> str:
        kept = [word for word in command if not word.endswith((".json", ".gz"))]
        return " ".join([shlex.join(kept), *shown])

    def seconds(self) -> int:
        """Whole seconds since the demo began."""
        return round(time.monotonic() - self.began)


def program(name: str) -> str:
    """The command of that name beside this Python: the one that belongs to this installation."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name
