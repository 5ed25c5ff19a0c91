"""Submissions against the register, in the order in which docs/formats.md lets each be refused:

    record     shape · source active · signature · epoch, seal, activity and day allowed · (label free)
    coverage   shape · source registered · signature · rules · (label free)
    registry   shape · signature · rules · (label free)

Signatures are checked together at the end, because that is nearly all the work and needs no lock.  Whether the
label is free, and whether a coverage counts right, only the store can say: see acceptance.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol

from ledger.core.entries import (
    RECORD,
    RECORD_BYTES,
    VERSION,
    Coverage,
    Entry,
    IndexRoot,
    Record,
    Registry,
    check_time,
    decode_entry,
    entry_hash,
    record_label_prefix,
    record_message_prefix,
    registry_index_label,
    signed_message,
)
from ledger.core.errors import BadSignature, GlassbookError, Malformed, RuleBroken
from ledger.core.merkle import leaf_hash
from ledger.core.registry import Register
from ledger.core.statements import parse_source
from ledger.service.body import Submission
from ledger.service.problems import TITLES, Refusal
from ledger.vectors import Job

ENVELOPE_VERSION = 0x01
ENVELOPE_FRAME = 1 + 12 + 16  # version, nonce, tag of AES-256-GCM (formats §4)
ENVELOPE_STEP = 1024
ENVELOPE_LIMIT = 65_536
_RECORD_HEAD = bytes((VERSION, RECORD))


class Candidate(NamedTuple):
    """A submission that may enter the inbox if its label is free.

    `refusal` is set when a rule forbids it now; the very same bytes may still be in the log from before.
    `registrations` is how many registry entries the register had that it was checked against. `coverage` is the entry
    when it is one, whose count is still to be checked.
    """

    place: int
    raw: bytes
    label: bytes
    leaf: bytes
    envelope: bytes | None
    fetch: bytes | None
    registrations: int
    refusal: Refusal | None
    coverage: Coverage | None = None


@dataclass(frozen=True, slots=True)
class View:
    """The register as log and inbox make it together, after `registrations` registry entries."""

    origin: str
    register: Register
    registrations: int


@dataclass(slots=True)
class Checked:
    """A request's submissions after every check that needs no store: a refusal or a candidate for each."""

    view: View
    after: View  # with the registry entries among them
    refusals: dict[int, Refusal]
    candidates: list[Candidate]
    total: int

    @property
    def plain(self) -> bool:
        """Whether all of it are records that no rule forbids, checked against one register."""
        return (
            len(self.candidates) == self.total > 0
            and self.after is self.view
            and all(
                candidate.envelope is not None and candidate.refusal is None for candidate in self.candidates
            )
        )


class _Head(NamedTuple):
    """What is found out once for all records that begin alike: version, kind, source, epoch, day, seal, activity."""

    key: bytes
    label_prefix: bytes  # what the index label is the hash of, but for the record's own label
    refusal: Refusal | None


class Verifier(Protocol):
    """Checks many signatures at once: `Signatures`, or `HERE`."""

    def verify(self, jobs: Sequence[Job]) -> Sequence[bool | int]:
        """A true value for each job whose signature is good."""

    def verify_records(self, key: bytes, prefix: bytes, entries: Sequence[bytes]) -> Sequence[int]:
        """1 for each record that this key has signed, `prefix` standing before what it signs; 0 for each other."""


def check_submissions(
    view: View, submissions: Sequence[Submission | Refusal], now: int, verifier: Verifier
) -> Checked:
    """Check all of them, each against the register with the registry entries before it; `now` in Unix seconds."""
    checked = Checked(view, view, {}, [], len(submissions))
    heads: dict[bytes, _Head] = {}
    records: dict[bytes, list[Candidate]] = {}  # by the key that must have signed them
    others: list[tuple[Candidate, bytes]] = []
    for place, submission in enumerate(submissions):
        if isinstance(submission, Refusal):
            checked.refusals[place] = submission
            continue
        try:
            raw = submission[0]
            if raw[:2] == _RECORD_HEAD and len(raw) == RECORD_BYTES:
                candidate, key = _check_record(checked.after, heads, place, submission, now)
                signed = records.get(key)
                if signed is not None:
                    signed.append(candidate)
                elif key:  # without one the record may only be one that is there already
                    records[key] = [candidate]
            else:
                candidate, key = _check(checked, place, submission, now)
                if key:  # a registry entry's is the registrar's, and is checked
                    others.append((candidate, key))
                else:
                    heads.clear()
        except _Refused as refused:
            checked.refusals[place] = refused.refusal
            continue
        except GlassbookError as error:
            checked.refusals[place] = _refusal(error)
            continue
        checked.candidates.append(candidate)
    bad = _badly_signed(view.origin, verifier, records, others)
    if bad:
        checked.candidates = [candidate for candidate in checked.candidates if candidate.place not in bad]
        for place in bad:
            checked.refusals[place] = Refusal("bad-signature", "entry: not signed by the source's key")
    return checked


def _badly_signed(
    origin: str,
    verifier: Verifier,
    records: Mapping[bytes, Sequence[Candidate]],
    others: Sequence[tuple[Candidate, bytes]],
) -> set[int]:
    """The places of those whose signature is not by the key that must have signed them."""
    bad: set[int] = set()
    for key, signed in records.items():
        good = verifier.verify_records(
            key, record_message_prefix(origin), [candidate.raw for candidate in signed]
        )
        if not all(good):
            bad.update(candidate.place for candidate, one in zip(signed, good, strict=True) if not one)
    if others:
        jobs = [
            (key, candidate.raw[-64:], signed_message(origin, candidate.raw)) for candidate, key in others
        ]
        good = verifier.verify(jobs)
        bad.update(candidate.place for (candidate, _), one in zip(others, good, strict=True) if not one)
    return bad


class _Refused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, detail)


def _check_record(
    view: View, heads: dict[bytes, _Head], place: int, submission: Submission, now: int
) -> tuple[Candidate, bytes]:
    raw, envelope, fetch = submission
    if envelope is None or fetch is None:
        raise _Refused("envelope-missing", "record: envelope and fetch are required with it")
    _check_envelope(envelope, fetch)
    head = heads.get(raw[:18])
    if head is None:
        head = heads[raw[:18]] = _check_head(view, decode_entry(raw), now)
    label = sha256(head[1] + raw[18:50]).digest()
    leaf = leaf_hash(raw)
    return Candidate(place, raw, label, leaf, envelope, fetch, view.registrations, head[2]), head[0]


def _check_head(view: View, entry: Entry, now: int) -> _Head:
    """What the rules say of a record, of which they look at nothing but its beginning."""
    assert isinstance(entry, Record)
    key, refusal = _check_rules(view, entry, now)
    return _Head(key, record_label_prefix(entry.source, entry.epoch, entry.seal), refusal)


def _check_rules(view: View, entry: Record | Coverage, now: int) -> tuple[bytes, Refusal | None]:
    """The key that must have signed it, and why a rule forbids it.  Raises RuleBroken if there is no such key."""
    key = b""
    try:
        source = view.register.signer(entry)
        key = source.key
        if isinstance(entry, Record):
            source.check_record(entry)
        else:
            source.check_coverage(entry)
        check_time(entry, now, 0)
    except RuleBroken as error:
        if view.register.in_force(entry.source) is None:
            raise
        # Not refused yet: of a source in force the signature comes first in the order of checks, and
        # of one that is retired or revoked the very same entry may be in the log from before.
        return key, _refusal(error)
    return key, None


def _check(checked: Checked, place: int, submission: Submission, now: int) -> tuple[Candidate, bytes]:
    """Any entry but a whole record."""
    raw, envelope, fetch = submission
    entry = decode_entry(raw)
    view = checked.after
    if isinstance(entry, IndexRoot):
        raise _Refused("index-root-refused", "index root: not taken from anybody")
    if envelope is not None or fetch is not None:
        raise _Refused("envelope-forbidden", "envelope and fetch come with records only")
    assert not isinstance(entry, Record)  # decode_entry takes no record of another length
    refusal = None
    if isinstance(entry, Registry):
        key, label = b"", _check_registry(checked, entry, raw)
    else:
        label = entry.index_label
        key, refusal = _check_rules(view, entry, now)
    coverage = entry if isinstance(entry, Coverage) else None
    return (
        Candidate(place, raw, label, leaf_hash(raw), None, None, view.registrations, refusal, coverage),
        key,
    )


def _check_registry(checked: Checked, entry: Registry, raw: bytes) -> bytes:
    """Take a registry entry into the register that the next submissions meet; its index label."""
    view = checked.after
    stated = view.register.sources.get(entry.source, ())
    known = [version.entry_hash for version in stated[entry.version : entry.version + 1]]
    if not entry.source and not entry.version:
        known = [view.register.charter.entry_hash]
    if entry_hash(raw) not in known:
        # Signature and payload first, then what stood before it.
        parse_source(raw, view.registrations, view.register.charter)
        register = view.register.copy()
        register.add(view.registrations, raw)
        checked.after = View(view.origin, register, view.registrations + 1)
    return registry_index_label(entry.source, entry.version)


def _check_envelope(envelope: bytes, fetch: bytes) -> None:
    if len(fetch) != 32:
        raise _Refused("malformed-entry", f"fetch: {len(fetch)} bytes instead of 32")
    plain = len(envelope) - ENVELOPE_FRAME
    if plain % ENVELOPE_STEP or not 0 < plain <= ENVELOPE_LIMIT:
        raise _Refused(
            "malformed-entry", f"envelope: {len(envelope)} bytes is no length an envelope can have"
        )
    if envelope[0] != ENVELOPE_VERSION:
        raise _Refused("malformed-entry", f"envelope: unknown version {envelope[0]}")


def _refusal(error: GlassbookError) -> Refusal:
    rule = error.evidence.get("rule")
    if isinstance(error, Malformed):
        return Refusal("malformed-entry", str(error))
    if isinstance(error, BadSignature):
        return Refusal("bad-signature", str(error))
    if rule in TITLES:
        return Refusal(rule, str(error))
    return Refusal("rule-broken", str(error), rule)
