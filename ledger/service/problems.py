"""Refusals as problem details (RFC 9457), each with a stable `type`: `urn:glassbook:problem:<code>`.

A problem says what is wrong and what to do.  It never repeats what was sent: answers end up in logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TYPE: Final = "urn:glassbook:problem:"
MEDIA_TYPE: Final = "application/problem+json"

# code → (HTTP status when the whole request is refused for it, title)
TITLES: Final[dict[str, tuple[int, str]]] = {
    "malformed-body": (400, "The body is not what this call takes"),
    "malformed-entry": (422, "Not an entry, or not written the one way it can be"),
    "source-unknown": (422, "No source of this number is registered"),
    "source-retired": (422, "The source is retired"),
    "source-revoked": (422, "The source is revoked"),
    "bad-signature": (422, "The signature is not the source's, or not over this"),
    "rule-broken": (422, "A rule of the formats is broken"),
    "day-in-future": (422, "The day has not come yet by the ledger's clock"),
    "label-conflict": (409, "Another entry stands under this label"),
    "envelope-missing": (422, "A record comes with its envelope and the hash of its fetch token"),
    "envelope-forbidden": (422, "Only records have an envelope"),
    "index-root-refused": (422, "Index roots are made by the ledger alone"),
    "too-large": (413, "The body is too large"),
    "too-many": (413, "Too many entries in one request"),
    "unsupported-media-type": (415, "This call does not take that kind of content"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This address does not take that method"),
    "bad-request": (400, "The request cannot be understood"),
    "busy": (503, "The ledger cannot take this now"),
    "internal": (500, "The ledger failed"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one submission, or a whole request, is refused."""

    code: str
    detail: str
    rule: str | None = None

    def problem(self) -> dict[str, str]:
        """The members of the problem details object, without `status`."""
        found = {"type": TYPE + self.code, "title": TITLES[self.code][1], "detail": self.detail}
        if self.rule is not None:
            found["rule"] = self.rule
        return found


class RequestRefused(Exception):
    """A whole request is refused; nothing of it was accepted.  `reason` is for the operator's counts."""

    def __init__(
        self,
        refusal: Refusal,
        retry_after_s: int | None = None,
        reason: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal
        self.retry_after_s = retry_after_s
        self.reason = reason or refusal.code
        self.status = status or TITLES[refusal.code][0]


def busy(
    detail: str, retry_after_s: int = 1, reason: str = "store", status: int | None = None
) -> RequestRefused:
    """503, or 429, with Retry-After: nothing was written, the same request may be sent again."""
    return RequestRefused(Refusal("busy", detail), retry_after_s, reason, status)
