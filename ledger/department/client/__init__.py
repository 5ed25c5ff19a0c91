"""Recording accesses from the code that makes them.

    from ledger.department.client import AccessRecorder

    access = AccessRecorder("/srv/glassbook/cases")
    with access.record(subject="id:4711", activity=1, reason="Appeal 2026-11", actor="u77"):
        show(case)

The record is durable before the block runs: no record, no data.  When the block ends it is told how the access went.
`AccessMiddleware` does the same for every request of an ASGI application (FastAPI, Starlette).  docs/python-client.md.
"""

from ledger.department.client.claims import AccessRefused, NotRecorded
from ledger.department.client.middleware import AccessMiddleware, AccessRoute, Visit
from ledger.department.client.recorder import AccessRecorder, Entry

__all__ = [
    "AccessMiddleware",
    "AccessRecorder",
    "AccessRefused",
    "AccessRoute",
    "Entry",
    "NotRecorded",
    "Visit",
]
