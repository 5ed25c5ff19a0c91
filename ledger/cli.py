"""`glassbook`: what operators and departments run.

Each command lives with the part it belongs to and is loaded when it is called, so that a part's libraries are
needed for that part alone: a missing extra is named, with exit code 2.  Other packages add commands through the
entry point group `glassbook.commands`, a name and a typer app or function.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
import typer.core
import typer.main

GROUP = "glassbook.commands"

# name → where the command is
OWN = {
    "init": "ledger.founding:init",
    "source": "ledger.registrar:app",
    "ledger": "ledger.serving:app",
    "doctor": "ledger.doctor:doctor",
}
# name → the extra whose libraries it needs
EXTRAS = {"init": "ledger", "source": "ledger", "ledger": "ledger", "department": "department"}
PUBLISHING = ("publisher", "witness", "up")


class Commands(typer.core.TyperGroup):
    """The root group: commands by name, loaded when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted({*OWN, *(point.name for point in entry_points(group=GROUP))})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in OWN:
            return _load(cmd_name, EntryPoint(cmd_name, OWN[cmd_name], GROUP))
        for point in entry_points(group=GROUP):
            if point.name == cmd_name:
                return _load(cmd_name, point)
        return None


def _load(name: str, point: EntryPoint) -> Any:
    try:
        found = getattr(importlib.import_module(point.module), point.attr)
    except ModuleNotFoundError as error:
        found = _missing(name, error.name or point.module)
    command = typer.main.get_command(found if isinstance(found, typer.Typer) else _only(found))
    command.name = name
    return command


def _only(function: Callable[..., Any]) -> typer.Typer:
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return app


def _missing(name: str, module: str) -> typer.Typer:
    """A command that says what to install and ends with exit code 2, whatever its arguments."""
    extra = EXTRAS.get(name, "publisher" if name in PUBLISHING else "all")
    text = f"Not installed: it needs {module}; run: pip install 'glassbook[{extra}]'"

    app = typer.Typer(add_completion=False)

    @app.command(
        short_help=text,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def refuse() -> None:
        typer.echo(f"glassbook {name}: {text}", err=True)
        raise typer.Exit(2)

    return app


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A ledger of who looked at whose data: run one, or put a department's accesses into one.",
)


@app.callback()
def root() -> None:
    """A ledger of who looked at whose data: run one, or put a department's accesses into one."""


def main() -> None:
    """The program `glassbook`."""
    try:
        app(prog_name="glassbook")
    except OSError as error:
        # Commands tell of their own files: this is standard output on a full disk.
        typer.echo(f"glassbook: {error.filename or 'output'}: {error.strerror}", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(3) from None
