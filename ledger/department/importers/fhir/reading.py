"""An AuditEvent resource of R4, R4B or R5 into the one `AuditEvent` of event.py."""

from __future__ import annotations

from typing import Any, Final

from ledger.core.errors import Malformed
from ledger.department.importers.fhir.elements import (
    Coding,
    Element,
    Reference,
    read_coding,
    read_concept,
    read_concepts,
    read_reference,
)
from ledger.department.importers.fhir.event import Agent, AuditEvent, Entity
from ledger.department.importers.fhir.releases import release_of

ON_BEHALF_OF: Final = "http://hl7.org/fhir/StructureDefinition/auditevent-OnBehalfOf"
"""HL7's extension of R4's agent: the organisation or person the agent acted for."""

Contained = dict[str, Element]


def read_event(resource: dict[str, Any]) -> AuditEvent:
    """The event in one AuditEvent resource.

    Raises Malformed with the element's place, for a release that is not read, an element of the wrong type,
    or an event that names nobody who took part (FHIR requires one agent).
    """
    event = Element(resource, "")
    release = release_of(event)
    contained = {item.text("id"): item for item in event.children("contained")}
    agents = tuple(_agent(item, release, contained) for item in event.children("agent"))
    if not agents:
        raise Malformed("agent", "missing; an AuditEvent has at least one agent")
    entities = tuple(_entity(item, release, contained) for item in event.children("entity"))
    read = _read_r5 if release == "R5" else _read_r4
    return read(event, agents, entities, contained)


def _read_r4(
    event: Element, agents: tuple[Agent, ...], entities: tuple[Entity, ...], inside: Contained
) -> AuditEvent:
    type_, period, source = event.child("type"), event.child("period"), event.child("source")
    return AuditEvent(
        types=(read_coding(type_),) if type_ else (),
        subtypes=tuple(read_coding(item) for item in event.children("subtype")),
        action=event.text("action"),
        times=_times(
            ("period.start", period.text("start") if period else ""), ("recorded", event.text("recorded"))
        ),
        outcome=event.text("outcome"),
        outcome_text=event.text("outcomeDesc"),
        purposes=_once(read_concepts(event, "purposeOfEvent")),
        agents=agents,
        entities=entities,
        patient=_reference(event, "patient", inside),
        encounter=_reference(event, "encounter", inside),
        system=_system(source, source.text("site") if source else "", inside),
    )


def _read_r5(
    event: Element, agents: tuple[Agent, ...], entities: tuple[Entity, ...], inside: Contained
) -> AuditEvent:
    code, period, outcome = event.child("code"), event.child("occurredPeriod"), event.child("outcome")
    outcome_code = outcome.child("code") if outcome else None
    details = read_concepts(outcome, "detail") if outcome else []
    source = event.child("source")
    site = _reference(source, "site", inside) if source else None
    return AuditEvent(
        types=tuple(read_concepts(event, "category")),
        subtypes=tuple(read_concept(code)) if code else (),
        action=event.text("action"),
        times=_times(
            ("occurredDateTime", event.text("occurredDateTime")),
            ("occurredPeriod.start", period.text("start") if period else ""),
            ("recorded", event.text("recorded")),
        ),
        outcome=read_coding(outcome_code).code if outcome_code else "",
        outcome_text="; ".join(detail.words for detail in details),
        purposes=_once(read_concepts(event, "authorization")),
        agents=agents,
        entities=entities,
        patient=_reference(event, "patient", inside),
        encounter=_reference(event, "encounter", inside),
        system=_system(source, named(site) if site else "", inside),
    )


def _times(*elements: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name, text in elements if text)


def _agent(agent: Element, release: str, contained: Contained) -> Agent:
    type_, network = agent.child("type"), agent.child("network")
    where = _reference(agent, "networkReference", contained)
    purposes = read_concepts(agent, "authorization" if release == "R5" else "purposeOfUse")
    return Agent(
        path=agent.path,
        who=_reference(agent, "who", contained),
        alt_id=agent.text("altId"),
        name=agent.text("name"),
        requestor=bool(agent.flag("requestor")),
        types=tuple(read_concept(type_)) if type_ else (),
        roles=tuple(read_concepts(agent, "role")),
        location=_reference(agent, "location", contained),
        network=(network.text("address") if network else "")
        or agent.text("networkString")
        or agent.text("networkUri")
        or (named(where) if where else ""),
        policies=tuple(agent.texts("policy")),
        purposes=tuple(purposes),
        behalf=_behalf(agent, contained),
    )


def _behalf(agent: Element, contained: Contained) -> Reference | None:
    for extension in agent.children("extension"):
        if extension.text("url") == ON_BEHALF_OF:
            return _reference(extension, "valueReference", contained)
    return None


def _entity(entity: Element, release: str, contained: Contained) -> Entity:
    """R4's type and role are Codings, R5 has no type and its role is a CodeableConcept."""
    role = entity.child("role")
    type_ = entity.child("type") if release == "R4" else None
    labels = entity.children("securityLabel")
    return Entity(
        path=entity.path,
        what=_reference(entity, "what", contained),
        types=(read_coding(type_),) if type_ else (),
        roles=() if role is None else tuple(read_concept(role)) if release == "R5" else (read_coding(role),),
        labels=tuple(
            c for item in labels for c in (read_concept(item) if release == "R5" else [read_coding(item)])
        ),
        name=entity.text("name"),
        query=entity.text("query"),
    )


def _reference(parent: Element, name: str, contained: Contained) -> Reference | None:
    element = parent.child(name)
    return None if element is None else read_reference(element, contained)


def _system(source: Element | None, site: str, contained: Contained) -> str:
    """The system that wrote the event down, with its site."""
    observer = _reference(source, "observer", contained) if source else None
    parts = [named(observer) if observer else "", site]
    return ", ".join(dict.fromkeys(part for part in parts if part))


def named(reference: Reference) -> str:
    """What to call the thing referred to."""
    identifier = reference.identifiers[0].lstrip("|") if reference.identifiers else ""
    return reference.display or identifier or reference.literal


def _once(codings: list[Coding]) -> tuple[Coding, ...]:
    return tuple(dict.fromkeys(codings))
