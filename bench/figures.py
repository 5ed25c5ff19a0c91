"""A figure: what was measured, its ratio to raw where it has one, and what it must reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.raw import Raw, cores_given, measure_raw
from ledger.vectors import choose


class CannotMeasure(Exception):
    """A part needs what is not installed here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `target` bounds `ratio` where there is one and `value` elsewhere."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    target: float | None = None
    at_least: bool = True
    of: str = "raw"
    """What `ratio` is taken against."""

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None where there is no target."""
        if self.target is None:
            return None
        measured = self.value if self.ratio is None else self.ratio
        return measured >= self.target if self.at_least else measured <= self.target


@dataclass(slots=True)
class Report:
    """All figures of one run, with the raw rates they were measured against."""

    figures: list[Figure] = field(default_factory=list)
    raws: list[Raw] = field(default_factory=list)
    full_load: float = 0.0
    """Entries a second that one log took last, as `ingest` measured it; 0 when it has not yet."""

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)

    def add_cpu(self, part: str, seconds: Mapping[str, float], entries: int) -> None:
        """Where the CPU time went, by what the processes do: microseconds for each entry, and in all."""
        for role, spent in seconds.items():
            self.add(Figure(f"{part}: CPU, {role}", 1e6 * spent / entries, "µs/entry"))
        self.add(Figure(f"{part}: CPU, all", 1e6 * sum(seconds.values()) / entries, "µs/entry"))

    @contextmanager
    def against_raw(self) -> Iterator[Callable[[float], float]]:
        """Measure raw before the block; the callable it gives measures raw again and turns a rate into its ratio."""
        before = measure_raw()
        self.raws.append(before)

        def ratio(rate: float) -> float:
            after = measure_raw()
            self.raws.append(after)
            return rate / ((before.rate + after.rate) / 2)

        yield ratio

    def as_json(self) -> dict[str, Any]:
        return {
            "cores": cores_given(),
            "raw": [
                {"pynacl": round(raw.pynacl), "cryptography": round(raw.cryptography)} for raw in self.raws
            ],
            "signatures": choose("auto").bulk.name,
            "figures": [{**asdict(figure), "reached": figure.reached} for figure in self.figures],
        }

    def print(self, console: Console) -> None:
        """A table for people; raw first, as every ratio is taken against it."""
        rates = [raw.rate for raw in self.raws] or [measure_raw().rate]
        console.print(
            f"raw: {min(rates):,.0f} to {max(rates):,.0f} Ed25519 verifications a second on {cores_given()} cores"
        )
        console.print(f"the ledger checks and makes signatures {choose('auto').bulk.name}")
        table = Table("figure", "value", "ratio (of raw)", "to reach", "")
        for figure in self.figures:
            sign = "≥" if figure.at_least else "≤"
            target = "" if figure.target is None else f"{sign} {figure.target:g}"
            verdict = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[figure.reached]
            of = "" if figure.of == "raw" else f" of {figure.of}"
            ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}{of}"
            table.add_row(
                figure.name,
                f"{figure.value:,.{0 if figure.value >= 1000 else 3}f} {figure.unit}".rstrip(),
                ratio,
                target,
                verdict,
            )
        console.print(table)
