"""X-Road's operational monitoring, record by record: one side of an exchange as its security server wrote it down.

    {"records": [{"securityServerType": "Client", "messageId": "…", "requestInTs": 1603802102192, …}, …]}
    one such record a line, or in an array
    {"client": {…}, "producer": {…}, "messageId": "…", …}         a document of X-Road Metrics' corrector, a line each

Source: X-Road Operational Monitoring Protocol PR-OPMON, annex B (JSON schema); X-Road Metrics, corrector module.

The mapping file, docs/reconcile.md:

    format = "xroad"
    [exchange]
    claim = "event.request_id"                         # which claim of the records is the message id
    where = { serviceMemberCode = "1234567-8" }        # which exchanges this department has to account for
    [[nobody]]
    where = { serviceCode = "getOpenAPI" }             # which are not about a person
    reason = "describes the service"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import Any, Final

from ledger.core.errors import Malformed
from ledger.department.access import Fate, Outcome
from ledger.department.importers.documents import read_member_items
from ledger.department.importers.fields.conditions import Where, holds, read_where
from ledger.department.importers.fields.jsonvalues import parse_loose
from ledger.department.importers.fields.values import Lookups
from ledger.department.importers.source import Source
from ledger.department.links import CLAIMS, claim_key
from ledger.department.strict_toml import Table, parse_toml

CLIENT: Final = "client"
SERVICE: Final = "service"

_SIDES: Final = {"Client": CLIENT, "Producer": SERVICE}
_MS_A_DAY: Final = 86_400_000
_LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_TIME: Final = re.compile(r"[0-9]{1,15}")
_LONGEST_ID: Final = 1024
_SAME: Final = (
    "messageId", "securityServerType", "xRequestId", "requestInTs", "requestOutTs", "responseInTs", "responseOutTs",
    "clientXRoadInstance", "clientMemberClass", "clientMemberCode", "clientSubsystemCode", "serviceXRoadInstance",
    "serviceMemberClass", "serviceMemberCode", "serviceSubsystemCode", "serviceCode", "serviceVersion",
)  # fmt: skip
"""What makes a record the same one, whichever way it was fetched."""


@dataclass(frozen=True, slots=True)
class XroadMapping:
    """A mapping file for operational monitoring, checked."""

    claim: str
    where: Where
    nobody: tuple[tuple[Where, str], ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an exchange.

    `key` is the message id as records are found by it (empty: a message that failed and had none), `pair` tells
    exchanges with one message id apart (empty: nothing does), `identity` is the record's own; 32 bytes each.  `at` is
    Unix milliseconds.  `nobody` says why it is not about a person; `ours` whether this department has to account for
    it.
    """

    file: str
    position: str
    key: bytes
    pair: bytes
    identity: bytes
    side: str
    at: int
    succeeded: bool
    ours: bool
    nobody: str

    @property
    def day(self) -> int:
        return self.at // _MS_A_DAY


def read_sides(source: Source, mapping: XroadMapping) -> Iterator[Side | Outcome]:
    """Every record of one file, in order; what is none is a rejected outcome.  Raises OSError alone."""
    for piece in read_member_items(source, "records"):
        try:
            if piece.fault:
                raise Malformed("", piece.fault)
            found = list(_records(parse_loose(piece.data)))
        except Malformed as error:
            yield Outcome(source.name, piece.position, Fate.REJECTED, error.what)
            continue
        for below, record in found:
            position = piece.position + below if piece.position != "$" or not below else below.lstrip(": ")
            try:
                yield _side(record, mapping, source.name, position)
            except Malformed as error:
                place = f"{position}: {error.where}" if error.where else position
                yield Outcome(source.name, place, Fate.REJECTED, error.what)


def _records(value: Any) -> Iterator[tuple[str, Any]]:
    """The records in one piece, with their places in it."""
    if not isinstance(value, dict):
        raise Malformed("", "no JSON object")
    if "securityServerType" not in value and isinstance(value.get("records"), list):
        yield from ((f": records[{i}]", record) for i, record in enumerate(value["records"]))
    elif "securityServerType" not in value and ("client" in value or "producer" in value):
        both = [(f": {name}", value[name]) for name in ("client", "producer") if value.get(name) is not None]
        if not both:
            raise Malformed("", "has neither a client's nor a producer's side")
        yield from both
    else:
        yield "", value


def _side(record: Any, mapping: XroadMapping, file: str, position: str) -> Side:
    if not isinstance(record, dict):
        raise Malformed("", "no JSON object")
    kind = record.get("securityServerType")
    side = _SIDES.get(kind) if isinstance(kind, str) else None
    if side is None:
        raise Malformed(
            "securityServerType", "is neither Client nor Producer; is this operational monitoring?"
        )
    at = _time(record)
    succeeded = record.get("succeeded")
    if not isinstance(succeeded, bool):
        raise Malformed("succeeded", "is neither true nor false")
    key = _key(record.get("messageId"), mapping.claim, succeeded)
    request = record.get("xRequestId")
    return Side(
        file,
        position,
        key,
        sha256(request.encode("utf-8", "replace")).digest() if isinstance(request, str) and request else b"",
        _identity(record),
        side,
        at,
        succeeded,
        holds(mapping.where, record),
        next((reason for where, reason in mapping.nobody if holds(where, record)), ""),
    )


def _key(message: Any, claim: str, succeeded: bool) -> bytes:
    if message in (None, "") and not succeeded:
        return b""  # what could not be read as a message has no id, and led to nothing
    if not isinstance(message, str) or not message.strip() or len(message) > _LONGEST_ID:
        raise Malformed("messageId", f"is no text of 1 to {_LONGEST_ID} characters")
    key = claim_key(claim, message)
    if key is None:
        raise Malformed("messageId", f"is no {claim}: not 32 hex digits")
    return key


def _time(record: dict[str, Any]) -> int:
    """When the request came in, which both sides have; Unix milliseconds."""
    text = record.get("requestInTs")
    if not isinstance(text, str) or not _TIME.fullmatch(text) or int(text) > _LAST_MS:
        raise Malformed("requestInTs", "is no time in Unix milliseconds")
    return int(text)


def _identity(record: dict[str, Any]) -> bytes:
    digest = sha256()
    for name in _SAME:
        value = record.get(name)
        text = value.encode("utf-8", "replace") if isinstance(value, str) else b""
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.digest()


@cache
def default_xroad_mapping() -> XroadMapping:
    """What holds without a mapping file: every exchange is the department's, save those of the security servers."""
    data = resources.files("ledger.department").joinpath("maps/xroad.toml").read_bytes()
    return _read(data, "xroad.toml", None)


def read_xroad_mapping(data: bytes, where: str) -> XroadMapping:
    """A mapping file; [[nobody]] rules come before the default ones.  Malformed names what is wrong in it."""
    return _read(data, where, default_xroad_mapping())


def _read(data: bytes, where: str, base: XroadMapping | None) -> XroadMapping:
    top = parse_toml(data, where)
    if top.text("format", "") != "xroad":
        raise top.wrong("format", 'must be "xroad"; name the right file with --map')
    lookups = Lookups()
    exchange = top.table("exchange")
    claim = exchange.text("claim", base.claim if base else None)
    if claim not in CLAIMS:
        raise exchange.wrong("claim", f"must be one of {', '.join(CLAIMS)}")
    ours = read_where(exchange, lookups, required=False)
    exchange.finish()
    nobody = [_nobody(item, lookups) for item in top.tables("nobody")]
    top.finish()
    return XroadMapping(claim, ours, (*nobody, *(base.nobody if base else ())))


def _nobody(table: Table, lookups: Lookups) -> tuple[Where, str]:
    rule = (
        read_where(table, lookups, required=True),
        table.text("reason", "not about a person by a [[nobody]] rule of the mapping"),
    )
    table.finish()
    return rule
