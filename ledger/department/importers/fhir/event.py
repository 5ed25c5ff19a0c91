"""An AuditEvent as both releases mean it, before a mapping gives it a meaning here.

Element by element (FHIR's own "differences" page of the R5 AuditEvent, and DICOM PS3.15 A.5 behind it):

    here            R4, R4B                                 R5
    type            type                                    category
    subtype         subtype                                 code
    times           period.start, recorded                  occurredDateTime | occurredPeriod.start, recorded
    outcome         outcome, outcomeDesc                    outcome.code, outcome.detail
    purposes        purposeOfEvent, agent.purposeOfUse      authorization, agent.authorization
    patient         (some servers add R5's)                 patient
    encounter       (the same)                              encounter
    network         agent.network.address                   agent.networkString | networkUri | networkReference
    system          source.observer, source.site (text)     source.observer, source.site (Reference)
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.department.importers.fhir.elements import Coding, Reference


@dataclass(frozen=True, slots=True)
class Agent:
    """Who or what took part; `requestor` is the one that asked for it."""

    path: str
    who: Reference | None
    alt_id: str
    name: str
    requestor: bool
    types: tuple[Coding, ...]
    roles: tuple[Coding, ...]
    location: Reference | None
    network: str
    policies: tuple[str, ...]
    purposes: tuple[Coding, ...]
    behalf: Reference | None


@dataclass(frozen=True, slots=True)
class Entity:
    """What was touched: a resource, a document, a person, or the query that was run."""

    path: str
    what: Reference | None
    types: tuple[Coding, ...]
    roles: tuple[Coding, ...]
    labels: tuple[Coding, ...]
    name: str
    query: str


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event; `times` are pairs of element and text, the nearest to the access itself first."""

    types: tuple[Coding, ...]
    subtypes: tuple[Coding, ...]
    action: str
    times: tuple[tuple[str, str], ...]
    outcome: str
    outcome_text: str
    purposes: tuple[Coding, ...]
    agents: tuple[Agent, ...]
    entities: tuple[Entity, ...]
    patient: Reference | None
    encounter: Reference | None
    system: str
