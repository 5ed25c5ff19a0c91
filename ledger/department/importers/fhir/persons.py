"""Whose data an event was about: every person it names, led to a subject by the mapping.

A person is (FHIR R4 and R5, AuditEvent.entity; IHE BALP, "Patient" audit patterns)

- `patient` (R5),
- an entity whose `what` refers to a Patient, whose role is Patient (object-role 1) or whose type is
  Person (audit-entity-type 1) and whose role is not one of staff (6 user, 8 doctor, 11 and 12 security
  users, 15 practitioner),
- with a mapping that says so, the encounter or an agent: what they refer to stands for the person.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ledger.core.errors import Malformed
from ledger.department.importers.fhir.elements import Coding, Reference
from ledger.department.importers.fhir.event import AuditEvent, Entity
from ledger.department.mapping import Mapping

_PERSON: Final = "1"
_STAFF_ROLES: Final = frozenset({"6", "8", "11", "12", "15"})


def persons_of(event: AuditEvent, mapping: Mapping) -> dict[str, Reference]:
    """Each subject once, with the reference that led to it; empty when the event is about nobody.

    Raises Malformed, with the element, when a person is named whom the mapping does not lead to a subject.
    """
    found = _subjects(event, mapping, mapping.places)
    return found or _subjects(event, mapping, mapping.otherwise)


def _subjects(event: AuditEvent, mapping: Mapping, places: tuple[str, ...]) -> dict[str, Reference]:
    subjects: dict[str, Reference] = {}
    for place in places:
        for path, reference in _named(event, mapping, place):
            if reference is None:
                raise Malformed(
                    path, "names a person without a reference or identifier; the event does not say who"
                )
            try:
                subject = mapping.subject(reference.spellings)
            except Malformed as error:
                raise Malformed(reference.path, error.what) from None
            if subject is None:
                raise Malformed(
                    reference.path,
                    "refers to a person that the mapping leads to no subject; add it to [subject.exact] or a pattern",
                )
            subjects.setdefault(subject, reference)
    return subjects


def _named(event: AuditEvent, mapping: Mapping, place: str) -> Iterator[tuple[str, Reference | None]]:
    """What stands at a place for a person, with its path; None where it is there without saying who."""
    if place == "patient" and event.patient is not None:
        yield event.patient.path, event.patient if event.patient.spellings else None
    elif place == "encounter" and event.encounter is not None:
        yield event.encounter.path, event.encounter if event.encounter.spellings else None
    elif place == "agent":
        for agent in event.agents:
            if agent.who is not None and agent.who.resource_type in mapping.persons:
                yield agent.who.path, agent.who
    elif place == "entity":
        for entity in event.entities:
            if is_person(entity, mapping):
                yield entity.path, entity.what if entity.what and entity.what.spellings else None


def is_person(entity: Entity, mapping: Mapping) -> bool:
    """Whether an entity is a person whose data the event was about, or a resource that is her."""
    kind = entity.what.resource_type if entity.what else ""
    # `type` may also be the type of the resource (http://hl7.org/fhir/resource-types).
    return names_patient(entity) or not mapping.persons.isdisjoint(
        {kind, *(coding.code for coding in entity.types)}
    )


def names_patient(entity: Entity) -> bool:
    """Whether an entity stands there to say whose data it was, by its role or type."""
    roles = _codes(entity.roles, "object-role")
    return "1" in roles or (
        _PERSON in _codes(entity.types, "audit-entity-type") and roles.isdisjoint(_STAFF_ROLES)
    )


def _codes(codings: tuple[Coding, ...], system: str) -> frozenset[str]:
    """Codes of the code system with that last segment; a coding without a system is taken to be of it."""
    return frozenset(
        c.code for c in codings if not c.system or c.system.rstrip("/").rsplit("/", 1)[-1] == system
    )
