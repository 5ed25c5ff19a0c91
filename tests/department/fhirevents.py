"""AuditEvents made for tests: the smallest good ones, to be bent."""

import json
from typing import Any


def r4(**changes: Any) -> dict[str, Any]:
    """A read of Patient/p1's chart in R4; `None` takes a member away."""
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "read"}],
        "action": "R",
        "recorded": "2026-02-28T10:03:00Z",
        "outcome": "0",
        "agent": [{"who": {"reference": "Practitioner/7"}, "requestor": True}],
        "source": {"observer": {"display": "ward system"}},
        "entity": [{"what": {"reference": "Patient/p1"}, "role": {"code": "1"}}],
    } | changes
    return {name: value for name, value in event.items() if value is not None}


def r5(**changes: Any) -> dict[str, Any]:
    """The same in R5."""
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "category": [{"coding": [{"code": "rest"}]}],
        "code": {"coding": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "read"}]},
        "action": "R",
        "occurredDateTime": "2026-02-28T10:03:00Z",
        "recorded": "2026-03-01T00:00:00Z",
        "outcome": {"code": {"system": "http://hl7.org/fhir/issue-severity", "code": "information"}},
        "patient": {"reference": "Patient/p1"},
        "agent": [{"who": {"reference": "Practitioner/7"}, "requestor": True}],
        "source": {"observer": {"display": "ward system"}},
    } | changes
    return {name: value for name, value in event.items() if value is not None}


def bundle(*resources: Any) -> bytes:
    return json.dumps(
        {"resourceType": "Bundle", "entry": [{"resource": r} for r in resources]}, indent=1
    ).encode()


def ndjson(*resources: Any) -> bytes:
    return b"".join(json.dumps(resource).encode() + b"\n" for resource in resources)
