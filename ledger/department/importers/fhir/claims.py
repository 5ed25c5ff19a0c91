"""From an AuditEvent to what the person will read: the claims of docs/formats.md §3.

    actor      the agent that asked for it (`requestor`); its role; the organisation it acted for
    event      when, DPV action, whether data appeared in a result or was opened, outcome, system
    data       DPV categories, and the resources touched
    purpose    the activity, and DPV purposes by the mapping
    reason     the purpose codes and policies as the log has them
    recipient  on a disclosure, who got the data

Claims can be shown one by one, so nothing outside `subject` may name her: her own references are left
out of `data`, and of a query only what was searched and by which parameters, never their values.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ledger.department.access import Claims
from ledger.department.importers.fhir.elements import Coding, Reference
from ledger.department.importers.fhir.event import Agent, AuditEvent, Entity
from ledger.department.importers.fhir.reading import named
from ledger.department.importers.fhir.touched import REQUEST_ID, data_touched
from ledger.department.mapping import Mapping

DISCLOSE: Final = "https://w3id.org/dpv#Disclose"
QUERY: Final = "https://w3id.org/dpv#Query"
HERSELF: Final = "the person whose data it is"
USE: Final = "https://w3id.org/dpv#Use"

_MACHINE_TYPES: Final = frozenset(
    {"110150", "110151", "110154", "110155", "authserver", "dataprocessor", "custodian"}
)
_ENDS_OF_TRANSFER: Final = frozenset({"110152", "110153"})
_MACHINES: Final = frozenset({"Device", "HealthcareService", "Organization", "Endpoint"})
_DESTINATIONS: Final = frozenset({"110152", "110154"})
_OUTCOMES: Final = {
    "0": "success",
    "4": "minor failure",
    "8": "serious failure",
    "12": "major failure",
    "success": "success",
    "information": "success",
    "warning": "minor failure",
    "error": "serious failure",
    "fatal": "major failure",
}
_TRACE = re.compile(r"(?:00-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")


def action_of(event: AuditEvent, mapping: Mapping) -> str:
    """The DPV action: of the subtype's code, the type's, or the action's, the first that the mapping has."""
    for coding in (*event.subtypes, *event.types):
        for code in coding.spellings:
            if code in mapping.actions:
                return mapping.actions[code]
    return mapping.actions.get(event.action, mapping.actions["R"])


def purposes_of(event: AuditEvent) -> tuple[Coding, ...]:
    """Purpose codes of the event and of its agents, each once."""
    return tuple(dict.fromkeys((*event.purposes, *(p for agent in event.agents for p in agent.purposes))))


def claims_of(
    event: AuditEvent, mapping: Mapping, at: str, activity: int, subject: str, persons: dict[str, Reference]
) -> Claims:
    """All claims of the record for the person `subject`; `persons` are all whom the event is about."""
    action = action_of(event, mapping)
    claims: Claims = {
        "subject": subject,
        "actor": _actor(event, mapping, persons[subject]),
        "event": _event(event, at, action),
        "data": data_touched(event, mapping, persons.values()),
        "purpose": _purpose(event, mapping, activity),
    }
    reason = _reason(event)
    if reason:
        claims["reason"] = reason
    recipient = _recipient(event, persons[subject]) if action == DISCLOSE else {}
    if recipient:
        claims["recipient"] = {**recipient, "passed_on": at}
    return claims


def main_agent(event: AuditEvent) -> Agent:
    """The one that asked for it: a human requestor before a machine, the first agent when none is one."""
    requestors = [agent for agent in event.agents if agent.requestor]
    return next(
        (agent for agent in requestors if not is_machine(agent)), (requestors or list(event.agents))[0]
    )


def is_machine(agent: Agent) -> bool:
    """Told by what it refers to, else by its type; a requestor of no machine's type is taken for a person."""
    if agent.who is not None and agent.who.resource_type:
        return agent.who.resource_type in _MACHINES
    codes = {coding.code for coding in agent.types}
    return not codes.isdisjoint(_MACHINE_TYPES) or (not agent.requestor and codes <= _ENDS_OF_TRANSFER)


def _actor(event: AuditEvent, mapping: Mapping, person: Reference) -> dict[str, Any]:
    agent = main_agent(event)
    who = agent.who
    identifier = who.identifiers[0].lstrip("|") if who and who.identifiers else ""
    spellings = {
        "identifier": identifier,
        "altId": agent.alt_id,
        "reference": who.literal if who else "",
        "name": agent.name,
        "display": who.display if who else "",
        "policy": agent.policies[0] if agent.policies else "",
    }
    actor: dict[str, Any] = {
        "id": next((spellings[name] for name in mapping.actor_ids if spellings[name]), "not stated"),
        "automated": is_machine(agent),
    }
    name = agent.name or (who.display if who else "")
    if _is(who, person):
        # Her own reference here would say who she is to whoever is shown this claim alone.
        actor["id"], name = HERSELF, ""
    if mapping.actor_name and name and name != actor["id"]:
        actor["name"] = name
    unit = mapping.unit or (named(agent.location) if agent.location else "")
    behalf = mapping.on_behalf_of or _organisation(event, agent)
    for member, text in (
        ("role", _role(agent)),
        ("unit", unit),
        ("on_behalf_of", behalf),
        ("network", agent.network),
    ):
        if text:
            actor[member] = text
    return actor


def _is(who: Reference | None, person: Reference) -> bool:
    return who is not None and not frozenset(who.spellings).isdisjoint(person.spellings)


def _role(agent: Agent) -> str:
    """The agent's roles in words, else its type; that it was the sending or receiving end is no role."""
    codings = agent.roles or tuple(coding for coding in agent.types if coding.code not in _ENDS_OF_TRANSFER)
    words = [coding.display for coding in codings if coding.display] or [coding.code for coding in codings]
    return "; ".join(dict.fromkeys(filter(None, words)))


def _organisation(event: AuditEvent, main: Agent) -> str:
    """Whom the actor acted for: HL7's OnBehalfOf extension, or the agent that is an organisation (BALP: PROV)."""
    if main.behalf is not None:
        return named(main.behalf)
    for agent in event.agents:
        provider = any(coding.code == "PROV" for coding in agent.types)
        if agent is not main and agent.who and (provider or agent.who.resource_type == "Organization"):
            return named(agent.who)
    return ""


def _event(event: AuditEvent, at: str, action: str) -> dict[str, Any]:
    outcome = _OUTCOMES.get(event.outcome, "not stated" if not event.outcome else "not known")
    claim: dict[str, Any] = {"at": at, "action": action, "outcome": outcome}
    if outcome in ("success", "not stated") and action != USE:
        searched = action == QUERY or any(entity.query for entity in event.entities)
        claim["result"] = "appeared" if searched else "opened"
    if event.outcome_text:
        claim["detail"] = event.outcome_text
    if event.system:
        claim["system"] = event.system
    trace = next((t for entity in event.entities if (t := _trace(entity))), "")
    if trace:
        claim["trace_id"] = trace
    request = next((_request(entity) for entity in event.entities if _request(entity)), "")
    if request:
        claim["request_id"] = request
    return claim


def _request(entity: Entity) -> str:
    """The X-Request-Id that IHE BALP writes as an entity of its own."""
    if not any(coding.code == REQUEST_ID for coding in entity.types) or entity.what is None:
        return ""
    return next((identifier.rsplit("|", 1)[-1] for identifier in entity.what.identifiers), "")


def _trace(entity: Entity) -> str:
    """A W3C trace id (32 hex digits, not all zero), when an entity's identifier is one or a traceparent."""
    for identifier in entity.what.identifiers if entity.what else ():
        found = _TRACE.fullmatch(identifier.rsplit("|", 1)[-1])
        if found and found.group(1).strip("0"):
            return found.group(1)
    return ""


def _purpose(event: AuditEvent, mapping: Mapping, activity: int) -> dict[str, Any]:
    iris: dict[str, None] = {}
    for coding in purposes_of(event):
        for code in coding.spellings:
            if code in mapping.purposes:
                iris.update(dict.fromkeys(mapping.purposes[code]))
                break
    return {"activity": activity, "purpose": list(iris)}


def _reason(event: AuditEvent) -> dict[str, Any]:
    """The justification as the log has it: purpose codes in words, and what they were called by."""
    purposes = purposes_of(event)
    reason: dict[str, Any] = {}
    if purposes:
        reason["text"] = "; ".join(coding.words for coding in purposes)
        codes = [coding.spellings[0] for coding in purposes if coding.code]
        if codes:
            reason["codes"] = codes
    return reason


def _recipient(event: AuditEvent, person: Reference) -> dict[str, Any]:
    for agent in event.agents:
        if any(coding.code in _DESTINATIONS for coding in agent.types):
            name = (named(agent.who) if agent.who else "") or agent.name or agent.network
            if name:
                network = {"network": agent.network} if agent.network else {}
                return {"name": HERSELF if _is(agent.who, person) else name, **network}
    return {}
