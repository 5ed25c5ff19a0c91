"""One run of `glassbook`: its exit code and what it printed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of the program."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]
