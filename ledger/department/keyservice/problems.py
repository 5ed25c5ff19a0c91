"""Why no keys are given, as problem details (RFC 9457) with a stable `type`: `urn:glassbook:problem:<code>`.

A problem says what to do.  It never repeats what was sent or what a token says.
"""

from __future__ import annotations

from typing import Final

TYPE: Final = "urn:glassbook:problem:"
MEDIA_TYPE: Final = "application/problem+json"

# code → (HTTP status, title)
PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    "bad-request": (400, "The request cannot be understood"),
    "token-missing": (401, "An access token is needed"),
    "token-invalid": (401, "The access token does not hold"),
    "scope-missing": (403, "The access token is not for this"),
    "delegate-refused": (403, "Nobody may act for another person here"),
    "identifier-missing": (403, "The access token names nobody known here"),
    "identifier-malformed": (403, "The access token's identifier is not right"),
    "not-found": (404, "There is nothing here"),
    "epoch-unknown": (404, "There is no such epoch"),
    "method-not-allowed": (405, "This address does not take that method"),
    "body-refused": (413, "This call takes no body"),
    "too-often": (429, "Asked too often"),
    "internal": (500, "The key service failed"),
    "provider-unavailable": (503, "The identity provider cannot be asked"),
    "cannot-record": (503, "The release cannot be recorded"),
    "cannot-release": (503, "The keys cannot be given now"),
}

# RFC 6750 §3.1: what a client reads from WWW-Authenticate.
_BEARER: Final = {
    "token-missing": "Bearer",
    "token-invalid": 'Bearer error="invalid_token"',
    "scope-missing": 'Bearer error="insufficient_scope"',
}


class Refused(Exception):
    """No keys are given; `detail` says what to do, `retry_after_s` when to come again."""

    def __init__(self, code: str, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(code)
        self.code, self.detail, self.retry_after_s = code, detail, retry_after_s

    @property
    def status(self) -> int:
        return PROBLEMS[self.code][0]

    def problem(self) -> dict[str, str | int]:
        """The members of the problem details object."""
        status, title = PROBLEMS[self.code]
        return {"type": TYPE + self.code, "title": title, "status": status, "detail": self.detail}

    def headers(self) -> dict[str, str]:
        """Retry-After in seconds, and for the token's faults WWW-Authenticate."""
        found = {}
        if self.retry_after_s is not None:
            found["Retry-After"] = str(self.retry_after_s)
        if self.code in _BEARER:
            found["WWW-Authenticate"] = _BEARER[self.code]
        return found
