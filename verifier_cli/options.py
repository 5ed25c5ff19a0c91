"""Options that several commands of `glassbook-verify` take, each the same everywhere."""

import os
from pathlib import Path
from typing import Annotated

import typer

PolicyOption = Annotated[
    Path,
    typer.Option("--policy", metavar="FILE", help="Whom you trust: a tlog-policy file.", show_default=False),
]
LogOption = Annotated[
    list[str],
    typer.Option(
        "--log",
        metavar="URL|DIR|TAR",
        help="The published log: its URL, a folder, or a tar of it; again for each further copy of it.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
LangOption = Annotated[str, typer.Option("--lang", metavar="TAG", help="Language of the registered texts.")]
OfflineLogOption = Annotated[
    str | None, typer.Option("--log", hidden=True, help="Not needed: the file is checked offline.")
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state", metavar="FILE", help="Where the last checkpoint seen is kept.", show_default=False
    ),
]
JobsOption = Annotated[
    int,
    typer.Option("--jobs", metavar="N", min=1, help="Processes that check signatures.", show_default=False),
]
JOBS = max(1, os.cpu_count() or 1)
AuditOption = Annotated[
    Path | None,
    typer.Option(
        "--audit", metavar="FILE", help="Where the audit is kept, to go on with it.", show_default=False
    ),
]
