"""`glassbook bench`: measures what docs/performance.md claims, on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console

from bench import (
    audit,
    day,
    growth,
    index,
    ingest,
    latency,
    lookup,
    otlp,
    overload,
    prepare,
    signatures,
    two,
)
from bench.figures import CannotMeasure, Report

app = typer.Typer(
    help="Measure what docs/performance.md claims, as ratios to what the machine can do at that moment."
)

PARTS: dict[str, Callable[[Report, float], None]] = {
    "ingest": ingest.measure,
    "latency": latency.measure,
    "growth": growth.measure,
    "two": two.measure,
    "day": day.measure,
    "audit": audit.measure,
    "lookup": lookup.measure,
    "index": index.measure,
    "prepare": prepare.measure,
    "otlp": otlp.measure,
    "signatures": signatures.measure,
    "overload": overload.measure,
}


@app.callback(invoke_without_command=True)
def bench(
    part: Annotated[
        list[str] | None, typer.Option(help=f"Only this part, may be given again: {', '.join(PARTS)}.")
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.001, help="Size of the load, 1 is what the targets are for.")
    ] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the benchmark and print each figure, its ratio to raw, and whether its target is reached."""
    unknown = sorted(set(part or ()) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"no part called {unknown[0]}; there are {', '.join(PARTS)}")
    progress, report = Console(stderr=True), Report()
    left_out = False
    for name in part or PARTS:
        with progress.status(f"measuring {name}"):
            try:
                PARTS[name](report, scale)
            except ConnectionError as error:
                raise RuntimeError(
                    f"{name}: a connection failed: {error}"
                ) from error  # click hides a broken pipe
            except CannotMeasure as error:
                progress.print(f"{name} is not measured: {error}", markup=False)
                left_out = True
    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        report.print(Console())
    if left_out:
        raise typer.Exit(3)
