"""How a department stands: what needs a person now, and what is worth knowing.  Nothing here asks the network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.core.encoding import SECONDS_PER_DAY, day_of, format_date, parse_date, year_of
from ledger.core.errors import GlassbookError
from ledger.core.jose import parse_jwk
from ledger.department.agent import STATE
from ledger.department.coverage import owed_days
from ledger.department.coveragetable import (
    count_coverages,
    coverage_problems,
    days_known,
    late_waiting,
)
from ledger.department.home import Home
from ledger.department.ownlog import is_read
from ledger.department.promises import in_words
from ledger.department.registration import Registration, kept_registration
from ledger.department.setup import STATEMENT
from ledger.department.strict_toml import LIMIT
from ledger.files import FileRefused, read_limited

WARN_DAYS: Final = 56
"""Days before a new year from which its missing VRF key is said."""

SILENT_S: Final = 90
"""Seconds without a sign from the agent after which it is not taken to run."""

SKEW_S: Final = 30
"""Seconds between this clock and the ledger's that are worth saying."""


@dataclass(slots=True)
class Standing:
    """`attention`: a person has to do something; `notes`: a person may want to know; `facts`: the same for programs."""

    attention: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def find_standing(home: Home, now: int) -> Standing:
    """How things stand at `now` (Unix seconds); raises CannotGoOn for an outbox that cannot be read."""
    standing = Standing()
    registration = kept_registration(home.outbox, home.settings.origin)
    _agent(standing, home, now)
    if registration is None:
        standing.notes.append(
            "The register was not read yet: hand statement.json to the registrar; then start: glassbook department run"
        )
        return standing
    _coverage(standing, home, registration, now)
    _epochs(standing, home, registration, now)
    standing.facts["register"] = {
        "source": registration.source,
        "version": registration.newest.version,
        "status": registration.newest.status,
    }
    if registration.newest.status != "active":
        standing.notes.append(f"The register says that this source is {registration.newest.status}.")
    return standing


def _agent(standing: Standing, home: Home, now: int) -> None:
    kept = home.outbox.get(STATE)
    if kept is None:
        standing.notes.append("The agent has not run here yet; start it with: glassbook department run")
        standing.facts["agent"] = None
        return
    state: dict[str, Any] = json.loads(kept)
    seen, running = int(state["seen"]), not state["ended"] and now - int(state["seen"]) <= SILENT_S
    ago = in_words(max(now - seen, 0))
    ahead = state["ahead_s"]
    standing.facts["agent"] = {
        "running": running,
        "seen": seen,
        "started": state["started"],
        "clock_ahead_s": ahead,
        "failing": state["failing"],
    }
    if running:
        standing.notes.append(f"The agent runs since {_moment(state['started'])}.")
    elif state["ended"]:
        standing.attention.append(f"The agent was stopped {ago} ago; start it with: glassbook department run")
    else:
        standing.attention.append(
            f"The agent does not run, or hangs: its last sign was {ago} ago. Start it with: glassbook department run"
        )
    for failing in state["failing"] if running else ():
        since = in_words(max(now - int(failing["since"]), 0))
        standing.attention.append(
            f"Since {since} the agent cannot go on with {failing['part']}: {failing['problem']}"
        )
    if ahead is not None and abs(ahead) > SKEW_S:
        side = "ahead of" if ahead > 0 else "behind"
        standing.attention.append(
            f"This computer's clock is {in_words(int(abs(ahead)))} {side} the ledger's; one of the two has to be set"
        )


def _coverage(standing: Standing, home: Home, registration: Registration, now: int) -> None:
    counts, known = count_coverages(home.outbox), days_known(home.outbox)
    owed = [day for day in owed_days(registration, home.settings.coverage, now) if day not in known]
    last = None if counts.last is None else format_date(counts.last)
    late = late_waiting(home.outbox)
    standing.facts["coverage"] = {
        "done": counts.done,
        "handed_in": counts.handed_in,
        "waiting": counts.waiting,
        "refused": counts.refused,
        "owed": len(owed),
        "last": last,
        "late_records": late,
        "log_read": is_read(home.outbox),
    }
    words = f"Coverage: {counts.done} days have their receipt" + (f", the last is {last}." if last else ".")
    if counts.handed_in + counts.waiting:
        words += f" {counts.handed_in + counts.waiting} are on their way."
    standing.notes.append(words)
    # Silence begins two days after a day: what is owed longer than one is worth a person's look.
    overdue = [day for day in owed if now >= home.settings.coverage.late(day) + 3600]
    if overdue:
        # Before its first run the agent is still being set up; that it has not run is said.
        told = standing.notes if standing.facts["agent"] is None else standing.attention
        told.append(
            f"{len(overdue)} days have no coverage, the first is {format_date(overdue[0])}: without it the public log "
            "shows silence. The running agent makes it once the records of the day have their receipts"
        )
    elif owed:
        standing.notes.append(
            f"{len(owed)} days wait for their coverage, the first is {format_date(owed[0])}."
        )
    for day, problem in coverage_problems(home.outbox)[:5]:
        standing.attention.append(f"The ledger refuses the coverage of {format_date(day)}: {problem}")
    if late:
        standing.notes.append(
            f"{late} records without a receipt will come after the coverage of their day: late."
        )


def _epochs(standing: Standing, home: Home, registration: Registration, now: int) -> None:
    today = day_of(now)
    year = year_of(today)
    waiting = _waiting_of(home, set(registration.newest.vrf))
    standing.facts["epochs"] = {
        "registered": sorted(registration.newest.vrf),
        "waiting_records": waiting,
    }
    if registration.newest.status != "active":
        return
    for epoch, count in waiting.items():
        standing.attention.append(
            f"{count} records of {epoch} wait until the VRF key of {epoch} is registered; {_what_to_do(home, epoch)}"
        )
    if year not in registration.newest.vrf and year not in waiting:
        standing.attention.append(f"The register has no VRF key of {year}; {_what_to_do(home, year)}")
    days = parse_date(f"{year + 1}-01-01", "new year") - today
    if days <= WARN_DAYS and year + 1 not in registration.newest.vrf and year + 1 not in waiting:
        standing.notes.append(
            f"In {days} days {year + 1} begins, and the register has no VRF key of it; {_what_to_do(home, year + 1)}"
        )
    if home.settings.next_key is not None and not _is_in_force(home, registration):
        standing.notes.append(
            f"{home.settings.next_key.name} signs as soon as the register names it; until then the other key does."
        )


def _is_in_force(home: Home, registration: Registration) -> bool:
    """The register names the newest key made, as statement.json has it: the key itself may be under a passphrase."""
    try:
        statement = json.loads(read_limited(home.settings.home / STATEMENT, LIMIT))
        return parse_jwk(statement["key"], STATEMENT) == registration.newest.key
    except (GlassbookError, FileRefused, OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _what_to_do(home: Home, epoch: int) -> str:
    if epoch in home.settings.vrf:
        return "the key is made: hand statement.json to the registrar"
    return f"run glassbook department epochs {epoch}, and hand the statement to the registrar"


def _waiting_of(home: Home, registered: set[int]) -> dict[int, int]:
    """Records without a receipt by epoch, of epochs that are not registered."""
    with home.outbox.reading() as db:
        rows = db.execute(
            "SELECT s.epoch, count(*) FROM records AS r JOIN streams AS s ON s.id = r.stream "
            "GROUP BY s.epoch ORDER BY s.epoch"
        ).fetchall()
    return {epoch: count for epoch, count in rows if epoch not in registered}


def _moment(unix_seconds: int) -> str:
    day, rest = divmod(int(unix_seconds), SECONDS_PER_DAY)
    return f"{format_date(day)} {rest // 3600:02}:{rest % 3600 // 60:02} UTC"
