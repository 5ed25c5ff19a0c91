"""What an event touched, told without telling whose it was.

A person may show the claim `data` and keep `subject` to herself, so nothing in it names her, or another person the
event is about: resources are called by their references unless a person's identifier stands in them, and of a query
only the type searched and the names of its parameters are told, never their values.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Final

from ledger.department.importers.fhir.elements import Reference
from ledger.department.importers.fhir.event import AuditEvent, Entity
from ledger.department.importers.fhir.persons import names_patient
from ledger.department.importers.hiding import folded, names
from ledger.department.mapping import Mapping

REQUEST_ID: Final = "XrequestId"
"""IHE BALP's type of the entity that only names the HTTP request."""

# `GET …/Observation?patient=1` or `POST …/Observation/_search`, an empty line, `patient=1`
_SEARCH = re.compile(
    r"[^\n?]*?/([A-Z][a-z][A-Za-z]{1,40})/?(?:/_search[^\n]*\n(?:.*?\n)?\r?\n|\?)(\S*)", re.DOTALL
)
_PARAMETER = re.compile(r"(?:^|&)([A-Za-z_][A-Za-z0-9_\-]{0,40}(?:[:.][A-Za-z]{1,20})?)=")


def data_touched(event: AuditEvent, mapping: Mapping, persons: Iterable[Reference]) -> dict[str, list[str]]:
    """The claim `data`: DPV categories by the types of the resources touched, and the resources themselves."""
    categories: dict[str, None] = {}
    fields: dict[str, None] = {}
    hidden = _hidden(persons)
    for entity in event.entities:
        if names_patient(entity) or any(coding.code == REQUEST_ID for coding in entity.types):
            continue  # says whose data it was, or which request: nothing that was touched
        kind = entity.what.resource_type if entity.what else ""
        categories.update(dict.fromkeys(mapping.data.get(kind, ())))
        text = _query(entity.query) if entity.query else _touched(entity, hidden, mapping)
        if text:
            fields[text] = None
    return {"categories": list(categories), "fields": list(fields)}


def _touched(entity: Entity, hidden: tuple[str, ...], mapping: Mapping) -> str:
    """What to call a thing touched, unless that would name a person."""
    literal = entity.what.literal if entity.what else ""
    kind = entity.what.resource_type if entity.what else ""
    if kind in mapping.persons:
        return f"{kind} record"
    for text in (literal, entity.name, *(entity.what.identifiers if entity.what else ())):
        if text and not names(text, hidden):
            return text.lstrip("|")
    return kind or next((c.words for c in (*entity.types, *entity.roles) if c.words), "")


def _hidden(persons: Iterable[Reference]) -> tuple[str, ...]:
    """What would name one of the persons, case folded."""
    words = set()
    for person in persons:
        words |= {person.literal.rsplit("/", 1)[-1], person.display}
        words |= {identifier.rsplit("|", 1)[-1] for identifier in person.identifiers}
    return folded(words)


def _query(encoded: str) -> str:
    """A search in words: the type searched and the names of the parameters, whose values may name a person."""
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return "a query"
    found = None if text.lstrip().startswith("<") else _SEARCH.match(text)
    if found is None:
        return "a query"
    parameters = list(dict.fromkeys(_PARAMETER.findall(found.group(2))))[:20]
    return f"a search for {found.group(1)}" + (f" by {', '.join(parameters)}" if parameters else "")
