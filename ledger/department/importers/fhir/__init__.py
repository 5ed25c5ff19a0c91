"""AuditEvents of FHIR R4, R4B and R5: single resources and Bundles in JSON and XML, NDJSON; plain or gzip.

    source → pieces (documents.py) → JSON, or XML as JSON (xmlform.py) → release (releases.py)
           → AuditEvent (reading.py) → persons (persons.py) → claims (claims.py, touched.py) → Outcome

DSTU2 and STU3 are rejected by name.  Nothing raises for what a file holds: every event, and every
line or entry that is none, ends as an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ledger.core.errors import Malformed
from ledger.core.jose import parse_json
from ledger.department.access import Access, Fate, Outcome
from ledger.department.importers.documents import Piece, read_pieces
from ledger.department.importers.fhir.claims import claims_of, purposes_of
from ledger.department.importers.fhir.elements import Element
from ledger.department.importers.fhir.persons import persons_of
from ledger.department.importers.fhir.reading import read_event
from ledger.department.importers.fhir.when import moment
from ledger.department.importers.fhir.xmlform import read_xml
from ledger.department.importers.files import read_path
from ledger.department.importers.identity import Identities
from ledger.department.importers.source import Source
from ledger.department.mapping import Mapping

_PEEK = 1 << 16
_NOBODY = "names no patient, and nothing else that the mapping takes for a person"


def read_fhir(path: Path, mapping: Mapping) -> Iterator[Outcome]:
    """Every event of one file, in order; a file that cannot be opened is one rejected event."""
    return read_path(path, lambda source: read_fhir_source(source, mapping))


def read_fhir_source(source: Source, mapping: Mapping) -> Iterator[Outcome]:
    """Every event of one file, in order.  Raises OSError alone."""
    with Identities() as identities:
        for position, resource in _of_file(source):
            yield _outcome(source.name, position, resource, mapping, identities)


def _of_file(source: Source) -> Iterator[tuple[str, Any]]:
    """The resources of a file with their positions, a Malformed where one cannot be had."""
    try:
        is_xml = source.peek(_PEEK).lstrip().startswith(b"<")
    except Malformed as error:
        yield "$", Malformed("", str(error))
        return
    if is_xml:
        for position, value in read_xml(source):
            if isinstance(value, Malformed):
                yield position, value
            elif position == "$":
                yield from _unfold(value, position)
            else:
                yield from _entry(value, position)
        return
    for piece in read_pieces(source, source.name):
        yield from _resources(piece)


def _resources(piece: Piece) -> Iterator[tuple[str, Any]]:
    """The resources of a piece with their positions; a Malformed stands where one cannot be had."""
    if piece.fault:
        yield piece.position, Malformed("", piece.fault)
        return
    try:
        value = parse_json(piece.data, "")
    except Malformed as error:
        yield piece.position, error
        return
    yield from _entry(value, piece.position) if piece.entry else _unfold(value, piece.position)


def _entry(entry: Any, position: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(entry, dict) or "resource" not in entry:
        yield position, Malformed("", "a Bundle entry without a resource")
        return
    yield from _unfold(entry["resource"], f"{position}.resource")


def _unfold(value: Any, position: str) -> Iterator[tuple[str, Any]]:
    """A resource itself, or those of a Bundle: one on a line of its own, or inside another."""
    if not (isinstance(value, dict) and value.get("resourceType") == "Bundle"):
        yield position, value
        return
    entries = value.get("entry", [])
    if "entry" not in value and value.get("total") != 0:
        # An empty search result says `total` 0; anything else without entries may have lost them.
        yield position, Malformed("", "a Bundle without entries that does not say it is empty (total 0)")
    if not isinstance(entries, list):
        yield position, Malformed("entry", "is no array")
        return
    prefix = "" if position == "$" else f"{position}: " if position.startswith("line") else f"{position}."
    for i, entry in enumerate(entries):
        yield from _entry(entry, f"{prefix}entry[{i}]")


def _outcome(file: str, position: str, resource: Any, mapping: Mapping, identities: Identities) -> Outcome:
    try:
        if isinstance(resource, Malformed):
            raise resource
        accesses = _accesses(resource, mapping)
    except Malformed as error:
        return Outcome(file, _join(position, error.where), Fate.REJECTED, error.what)
    if not accesses:
        return Outcome(file, position, Fate.NOT_ABOUT_A_PERSON, _NOBODY)
    return Outcome(file, position, Fate.RECORDED, "", accesses, identities.of(resource))


def _join(position: str, element: str) -> str:
    if element in ("", "$", "mapping"):
        return position
    if position == "$":
        return element
    return f"{position}: {element}" if position.startswith("line") else f"{position}.{element}"


def _accesses(resource: Any, mapping: Mapping) -> tuple[Access, ...]:
    """One access for each person an event is about."""
    element = Element(resource, "")
    kind = element.text("resourceType")
    if kind != "AuditEvent":
        # The type's name is shown only when it has the form of one: anything may stand there.
        raise Malformed(
            "$", f"a {kind}, not an AuditEvent" if kind.isalpha() and len(kind) < 40 else "no AuditEvent"
        )
    event = read_event(resource)
    at, day = moment(event.times)
    persons = persons_of(event, mapping)
    if not persons:
        return ()
    purposes = [code for coding in purposes_of(event) for code in coding.spellings]
    activity = mapping.activity(
        (code for coding in event.types for code in coding.spellings),
        (code for coding in event.subtypes for code in coding.spellings),
        event.action,
        purposes,
    )
    if activity is None:
        raise Malformed("$", "belongs to no activity by the mapping; add a rule or a default to [activity]")
    return tuple(
        Access(subject, day, activity, claims_of(event, mapping, at, activity, subject, persons))
        for subject in persons
    )
