"""AuditEvents of FHIR R4, R4B and R5: single resources, Bundles and NDJSON, plain or gzip.

    source → pieces (documents.py) → JSON → release (releases.py) → AuditEvent (reading.py)
           → persons (persons.py) → claims (claims.py, touched.py) → Outcome

DSTU2, STU3 and XML are rejected by name.  Nothing raises for what a file holds: every event, and every
line or entry that is none, ends as an `Outcome`.
"""

from __future__ import annotations

import hashlib
import json
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
from ledger.department.importers.source import Source
from ledger.department.mapping import Mapping

_NOBODY = "names no patient, and nothing else that the mapping takes for a person"


def read_fhir(path: Path, mapping: Mapping) -> Iterator[Outcome]:
    """Every event of one file, in order; a file that cannot be opened is one rejected event."""
    name = str(path)
    seen: dict[bytes, int] = {}
    try:
        with Source(path) as source:
            for piece in read_pieces(source, path.name):
                for position, resource in _resources(piece):
                    yield _outcome(name, position, resource, mapping, seen)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or 'input/output error'}"
        yield Outcome(name, "$", Fate.REJECTED, reason, unread=True)


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


def _outcome(file: str, position: str, resource: Any, mapping: Mapping, seen: dict[bytes, int]) -> Outcome:
    try:
        if isinstance(resource, Malformed):
            raise resource
        accesses = _accesses(resource, mapping)
    except Malformed as error:
        return Outcome(file, _join(position, error.where), Fate.REJECTED, error.what)
    if not accesses:
        return Outcome(file, position, Fate.NOT_ABOUT_A_PERSON, _NOBODY)
    return Outcome(file, position, Fate.RECORDED, "", accesses, _identity(resource, seen))


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


def _identity(resource: Any, seen: dict[bytes, int]) -> bytes:
    """32 bytes for one event of one file: its content, and how many the same stood before it in the file.

    The order of members does not count: a server may write them in another one next time.  A file read again
    gives the same identities, so an import that was cut short can be run again; two accesses that a log
    writes down alike are still two.
    """
    content = hashlib.sha256(json.dumps(resource, sort_keys=True).encode("ascii")).digest()
    number = seen[content] = seen.get(content, 0) + 1
    return hashlib.sha256(content + number.to_bytes(8, "big")).digest()
