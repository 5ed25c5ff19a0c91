"""Which release of FHIR an AuditEvent is written in, told by its shape: resources do not name their release.

R4 (and R4B, which has the same AuditEvent) and R5 are read.  Logs from the time before R5 was final
lack elements that R5 requires (`recorded` for one) and are R5 all the same by their `code`.
"""

from __future__ import annotations

from ledger.core.errors import Malformed
from ledger.department.importers.fhir.elements import Element

_ONLY = "only R4, R4B and R5 are read: convert it first"


def release_of(event: Element) -> str:
    """`R4` or `R5`; Malformed names the release when it is one that is not read, or says that none fits."""
    if event.has("event") or event.has("participant") or event.has("object"):
        raise Malformed("$", f"FHIR DSTU2 (event, participant, object); {_ONLY}")
    if _is_stu3(event):
        raise Malformed("$", f"FHIR STU3 (userId, or reference and identifier); {_ONLY}")
    if event.has("code") or event.has("category"):
        return "R5"
    if event.has("type"):
        type_ = event.child("type")
        if type_ is not None and type_.has("coding"):
            raise Malformed("type", f"FHIR R6 draft (a CodeableConcept); {_ONLY}")
        return "R4"
    raise Malformed("$", "an AuditEvent without type (R4) and without code (R5): of no known release")


def _is_stu3(event: Element) -> bool:
    """R4 renamed what STU3 called agent.userId and agent.reference to who, entity.identifier and .reference to what."""
    source = event.child("source")
    return (
        any(agent.has("userId") or agent.has("reference") for agent in event.children("agent"))
        or any(entity.has("identifier") or entity.has("reference") for entity in event.children("entity"))
        or (source is not None and source.has("identifier"))
    )
