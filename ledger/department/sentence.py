"""An access as the person will read it, in one plain sentence: for `--dry-run`, before anything is recorded."""

from __future__ import annotations

from typing import Any

from ledger.core.encoding import format_date
from ledger.core.statements import Activity
from ledger.department.access import Access

# By the last word of the action's IRI: what was done, and what was tried.
_DONE = {
    "Consult": ("looked at your data", "look at your data"),
    "Query": ("searched for you", "search for you"),
    "Disclose": ("gave your data to someone else", "give your data to someone else"),
    "Collect": ("wrote down new data about you", "write down new data about you"),
    "Alter": ("changed your data", "change your data"),
    "Erase": ("deleted data about you", "delete data about you"),
    "Combine": ("combined your data with other data", "combine your data with other data"),
    "Use": ("used your data", "use your data"),
}


def sentence(access: Access, activity: Activity | None = None) -> str:
    """`On 2026-02-28 Practitioner/7 (nurse) looked at your data: Observation/9. Why: treatment.`

    With the registered activity its own sentence is added.  Control characters are left out: what a log
    says must not steer a terminal.
    """
    claims = access.claims
    actor, event = claims.get("actor", {}), claims.get("event", {})
    who = str(actor.get("name") or actor.get("id", "someone"))
    if who == "not stated":
        who = "someone whom the log does not name"
    elif actor.get("automated"):
        who = f"the program {who}"
    details = ", ".join(str(actor[name]) for name in ("role", "unit") if actor.get(name))
    behalf = f" for {actor['on_behalf_of']}" if actor.get("on_behalf_of") else ""
    text = f"On {format_date(access.day)} {who}{f' ({details})' if details else ''}{behalf} "
    term = str(event.get("action", "")).rpartition("#")[2]
    done, deed = _DONE.get(term, (f"did something with your data ({term})", f"do something ({term})"))
    text += f"tried in vain to {deed}" if str(event.get("outcome", "")).endswith("failure") else done
    touched = ", ".join(map(str, _list(claims, "data", "fields")))
    text += f": {touched}." if touched else "."
    if claims.get("recipient"):
        text += f" To: {claims['recipient'].get('name')}."
    why = claims.get("reason", {}).get("text")
    if activity is not None:
        text += f" {activity.text.get('en') or next(iter(activity.text.values()))}"
    if why:
        text += f" Reason given: {why}."
    return printable(text)


def printable(text: str) -> str:
    """The text on one line and without control or formatting characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def _list(claims: dict[str, Any], claim: str, member: str) -> list[Any]:
    found = claims.get(claim, {}).get(member, [])
    return found if isinstance(found, list) else []
