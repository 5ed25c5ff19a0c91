"""The ledger's reasons for refusing a record, and what a department does about each."""

from __future__ import annotations

from typing import Final

WHAT_NEXT: Final[dict[str, str]] = {
    "source-unknown": "the registrar has to register this source (statement.json); then send again",
    "source-retired": "the register says the source is retired; speak with the registrar",
    "source-revoked": "the register says the source is revoked; speak with the registrar",
    "bad-signature": "the register has another key: department.toml has to name its file as key or next_key; then the "
    "running agent (glassbook department run) signs these again",
    "rule-broken": "the registration has to allow it (epoch, activity or seal); have it changed and send again",
    "day-in-future": "the ledger's clock is behind this one; it is sent again by itself",
    "label-conflict": "this number was given before, by an outbox that was lost: run glassbook department recover",
}
"""What to do about a refusal, by its code."""


def code_of(problem: str) -> str:
    """The code of a kept problem text."""
    return problem.split(":", 1)[0].split(" ", 1)[0]


def what_next(problem: str) -> str:
    """What to do about a kept problem text."""
    return WHAT_NEXT.get(code_of(problem), "look at the ledger's reason, mend its cause and send again")
