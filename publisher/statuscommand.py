"""`glassbook publisher status`: how publishing stands, and each witness, from the database; whether or not it runs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from ledger.core.policy import Policy, Witness
from ledger.settings import Settings
from ledger.store import Store
from ledger.store.log import read_size
from ledger.store.publication import Publication, read_publication
from ledger.store.witnesses import COSIGNS, WitnessProgress, read_witnesses
from publisher.health import about_witness
from publisher.witnesses import describe


@dataclass(frozen=True, slots=True)
class Overview:
    """What is sequenced, signed and published, and how each witness of the policy stands that can be asked."""

    origin: str
    size: int
    row: Publication
    running: bool
    standings: list[tuple[Witness, WitnessProgress]]
    unreachable: list[Witness]


def look(settings: Settings, store: Store, policy: Policy) -> Overview:
    """Read all of it. Raises StoreBusy, OSError."""
    with store.read() as db:
        size, row, known = read_size(db), read_publication(db), read_witnesses(db)
    running = store.is_led("publisher")
    others = [witness for witness in policy.witnesses if witness.vkey != policy.log_mldsa]
    standings = [
        (witness, known.get(witness.vkey.text) or WitnessProgress(witness.vkey.text))
        for witness in others
        if witness.url
    ]
    return Overview(settings.origin, size, row, running, standings, [w for w in others if not w.url])


def words(found: Overview, now: int) -> list[str]:
    """Line by line, for a person. `now` is Unix seconds."""
    row = found.row
    lines = [
        found.origin,
        f"publisher   {'runs' if found.running else 'does not run: start it with glassbook up'}",
        f"sequenced   {found.size:,} entries",
        f"published   {row.published_size:,} entries"
        + (
            f", cosigned {_at(row.published_time)}, {_ago(now - row.published_time)}"
            if row.published_time
            else ""
        ),
    ]
    if waiting := found.size - row.published_size:
        lines.append(f"            {waiting:,} entries are sequenced, not published")
        if found.running and all(progress.standing == COSIGNS for _, progress in found.standings):
            lines.append("            if that lasts, GET /readyz at the publisher and its log say why")
    lines.append("")
    for witness, progress in found.standings:
        if progress.standing != COSIGNS:
            lines.append(describe(witness, progress))
            if progress.cosigned:
                lines.append(f"    it cosigned last at size {progress.confirmed:,}, {_at(progress.cosigned)}")
        elif progress.cosigned:
            kind = "auditor" if witness.auditor else "witness"
            lines.append(
                f"{kind} {witness.name} cosigned size {progress.confirmed:,}, {_at(progress.cosigned)}"
            )
        else:
            lines.append(f"witness {witness.name} has not been asked yet")
    lines += [f"witness {w.name} has no URL in policy.txt, so it cannot be asked" for w in found.unreachable]
    # A policy file may hold octets that are not UTF-8; a terminal takes none.
    return [line.encode("utf-8", "backslashreplace").decode() for line in lines]


def as_json(found: Overview) -> str:
    """The same for a program; times in Unix seconds, null for never."""
    return json.dumps(
        {
            "origin": found.origin,
            "running": found.running,
            "sequenced_size": found.size,
            "signed_size": found.row.signed_size,
            "published_size": found.row.published_size,
            "published_time": found.row.published_time or None,
            "witnesses": [about_witness(*standing) for standing in found.standings],
        }
    )


def _at(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _ago(seconds: int) -> str:
    return f"{max(0, seconds)} s ago" if seconds < 120 else f"{seconds // 60} min ago"
