"""A person's whole list with the proof that nothing is missing (docs/formats.md §5, "a person at a source").

The steps are functions of their own, so that each can be timed and tested apart:

    open_streams      keys against the register: every pi verified, beta recomputed from it
    missing_streams   what the register makes possible but the keys lack
    locate            labels 1 … N present, N+1 absent, all under one index root
    read_records      each entry a well-signed record of exactly that source, epoch and seal
    fetch_details     envelopes, asked for by their tokens in shuffled order
    read_details      each opened, and checked against its record
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ledger.client.publiclog import PublicLog
from ledger.client.register import WholeRegister
from ledger.client.view import View
from ledger.core.claims import check_claims, check_complete
from ledger.core.completeness import check_stream_record, schemes_to_ask_for, seals_to_ask_for
from ledger.core.entries import Record, check_time, record_index_label, signed_message
from ledger.core.errors import BadSignature, GlassbookError, Malformed, ProofRefuted, Refuted, RuleBroken
from ledger.core.keys import verify_ed25519
from ledger.core.keysfile import StreamSecret
from ledger.core.notices import Notices
from ledger.core.registry import Register
from ledger.core.sdjwt import SdJwt, split_sd_jwt
from ledger.core.statements import SourceVersion
from ledger.core.streams import StreamKey, open_envelope, parse_subject

FIRST_NUMBERS = 4  # labels of a stream asked for in the first round; each later round asks for thrice as many
THREADS = 2  # verifying leaves Python's lock alone, but two threads keep it busy enough

NOTHING = Notices()

Place = tuple[int, int, int, str]
"""source, epoch, seal, subject: what names a stream."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream whose key is proven: `key` follows from a verified pi."""

    source: int
    epoch: int
    seal: int
    subject: str = field(repr=False)
    key: StreamKey = field(repr=False)

    @property
    def place(self) -> Place:
        return self.source, self.epoch, self.seal, self.subject


@dataclass(slots=True)
class Access:
    """One record of a stream. `details` are its opened claims; `state` says why there are none."""

    stream: Stream
    n: int
    index: int
    record: Record
    version: SourceVersion
    raw: bytes = field(repr=False)
    suspect: bool = False
    state: str = "not fetched"  # opened, missing, not fetched, or refuted
    details: SdJwt | None = field(default=None, repr=False)
    erased_on: int | None = None  # the day that its source names, when it says that it erased them


@dataclass(frozen=True, slots=True)
class Gap:
    """A stream that may hold records and for which there is no key."""

    source: int
    epoch: int
    seal: int
    scheme: str


@dataclass(slots=True)
class Lookup:
    """Everything found out about one person, under one checkpoint."""

    view: View
    whole: WholeRegister
    month: int
    streams: list[Stream]
    accesses: list[Access]
    gaps: list[Gap]
    faults: list[GlassbookError]
    details_fetched: bool
    notices: Notices = NOTHING
    evidence_files: list[str] = field(default_factory=list)
    opened: tuple[str, ...] = ()

    @property
    def asked(self) -> set[int]:
        """The sources that something was asked of: those that use a scheme under which she gave an identifier."""
        return {stream.source for stream in self.streams} | {gap.source for gap in self.gaps}


def open_streams(
    keys: Iterable[StreamSecret], register: Register
) -> tuple[list[Stream], list[GlassbookError]]:
    """The streams of these keys, and what was wrong with others.

    A key given twice counts once. `ProofRefuted` for a pi that does not hold, or whose beta is not the one
    given; `Malformed` for a source or epoch that the register does not have, or an identifier that is not in
    the canonical form of its scheme.
    """
    streams: dict[Place, Stream] = {}
    faults: list[GlassbookError] = []
    seen = set()
    for key in keys:
        identity = (key.source, key.epoch, key.seal, key.subject, key.beta, key.pi)
        if identity in seen:
            continue
        seen.add(identity)
        where = f"key of source {key.source}, epoch {key.epoch}, seal {key.seal}"
        version = register.in_force(key.source)
        public = version.vrf.get(key.epoch) if version else None
        if public is None:
            faults.append(Malformed(where, "the register of this log has no such source and epoch"))
            continue
        try:
            # Records are logged under the canonical form alone: a key for another spelling would find none of them.
            register.charter.check_subject(*parse_subject(key.subject))
        except GlassbookError as error:
            faults.append(Malformed(where, f"the identifier is {error.what}"))
            continue
        try:
            stream_key = key.check(register.origin, public)
        except GlassbookError as error:
            # Neither pi nor beta is kept with the error: they are her keys.
            faults.append(ProofRefuted(where, error.what, vrf_public=public))
            continue
        stream = Stream(key.source, key.epoch, key.seal, key.subject, stream_key)
        streams[stream.place] = stream
    return list(streams.values()), faults


def missing_streams(
    subjects: Iterable[str], held: Collection[Place], register: Register, month: int
) -> list[Gap]:
    """Every stream that the register makes possible for `subjects` up to `month`, less those `held`."""
    gaps = []
    for source, versions in register.sources.items():
        schemes = schemes_to_ask_for(versions)
        for epoch in sorted(versions[-1].vrf):
            seals = seals_to_ask_for(versions, epoch, month)
            for subject in subjects:
                scheme = parse_subject(subject)[0]
                if scheme in schemes:
                    gaps += [
                        Gap(source, epoch, seal, scheme)
                        for seal in seals
                        if (source, epoch, seal, subject) not in held
                    ]
    return gaps


def locate(
    view: View, streams: Sequence[Stream], counts: dict[Place, int], skipped: list[Refuted] | None = None
) -> dict[Place, list[int]]:
    """For each stream the indices of its records 1 … N; that N+1 is absent is proven under the same index root.

    `counts` is read for what an earlier attempt found, so that one round is enough then, and written for a later one.
    Labels are asked for a few at a time, so that one beyond N+1 may turn out to be there: a stream is counted without a
    gap (docs/formats.md §1), and what hides behind one is put into `skipped`.
    """
    found: dict[Place, list[int]] = {stream.place: [] for stream in streams}
    upto = {
        stream.place: counts[stream.place] + 1 if stream.place in counts else FIRST_NUMBERS
        for stream in streams
    }
    waiting = list(streams)
    while waiting:
        asked = []
        for stream in waiting:
            place, key = stream.place, stream.key
            for n in range(len(found[place]) + 1, upto[place] + 1):
                asked.append((place, record_index_label(place[0], place[1], place[2], key.label(n))))
        answers = view.proofs([label for _, label in asked])
        ended = set()
        for (place, _), located in zip(asked, answers, strict=True):
            if located.index is None:
                ended.add(place)
            elif place not in ended:
                found[place].append(located.index)
            elif skipped is not None:
                what = (
                    f"record {len(found[place]) + 1} of year {place[1]} is absent, yet a later one is there"
                )
                skipped.append(
                    RuleBroken(f"entry {located.index} of source {place[0]}", what, checkpoint=view.note)
                )
        waiting = [stream for stream in waiting if stream.place not in ended]
        counts.update((place, len(found[place])) for place in found if place in ended)
        for stream in waiting:
            upto[stream.place] *= 3
    return found


def read_records(
    view: View, register: Register, streams: Sequence[Stream], found: Mapping[Place, Sequence[int]]
) -> tuple[list[Access], list[Refuted]]:
    """The records at these indices, checked; those that fail a check are among the faults and not in the list."""
    entries = view.entries(index for indices in found.values() for index in indices)
    accesses: list[Access] = []
    faults: list[Refuted] = []
    for stream in streams:
        for n, index in enumerate(found[stream.place], 1):
            try:
                accesses.append(_access(view, register, stream, n, index, entries[index]))
            except GlassbookError as error:
                faults.append(
                    RuleBroken(f"entry {index}", error.what, entry=entries[index], checkpoint=view.note)
                )

    origin = register.origin

    def signed(access: Access) -> bool:
        message = signed_message(origin, access.raw)
        return verify_ed25519(access.version.key, access.record.signature, message)

    good = []
    for access, holds in zip(accesses, _threaded(signed, accesses), strict=True):
        if holds:
            good.append(access)
        else:
            faults.append(
                BadSignature(
                    f"entry {access.index}",
                    f"is not signed by source {access.record.source}",
                    entry=access.raw,
                    checkpoint=view.note,
                )  # fmt: skip
            )
    return good, faults


def _access(view: View, register: Register, stream: Stream, n: int, index: int, raw: bytes) -> Access:
    record = check_stream_record(raw, stream.source, stream.epoch, stream.seal, stream.key.label(n))
    version = register.version_at(record.source, index)
    if version is None:
        raise RuleBroken("record", f"source {record.source} was not registered before it")
    version.check_signer(record)
    version.check_record(record)
    if view.opened.newest is not None:
        check_time(record, view.opened.newest)
    return Access(stream, n, index, record, version, raw, register.is_suspect(record, index))


def fetch_details(log: PublicLog, accesses: Sequence[Access]) -> list[bytes | None] | None:
    """The envelopes of these accesses in order, None for one that is missing; None when the log holds none.

    Asked for in shuffled order, so that the order says nothing about which belong together.
    """
    order = list(range(len(accesses)))
    secrets.SystemRandom().shuffle(order)
    given = log.envelopes([accesses[i].stream.key.fetch_token(accesses[i].n) for i in order])
    if given is None:
        return None
    envelopes: list[bytes | None] = [None] * len(accesses)
    for i, envelope in zip(order, given, strict=True):
        envelopes[i] = envelope
    return envelopes


def read_details(
    register: Register, accesses: Sequence[Access], envelopes: Sequence[bytes | None]
) -> list[GlassbookError]:
    """Open each envelope, check it against its record and put its claims into the access.

    What fails is returned: the access stays in the list, with its state `refuted`.
    """
    faults: list[GlassbookError] = []
    opened: list[tuple[Access, SdJwt]] = []
    for access, envelope in zip(accesses, envelopes, strict=True):
        if envelope is None:
            access.state = "missing"
            continue
        try:
            text = open_envelope(access.stream.key, access.n, envelope)
            opened.append((access, split_sd_jwt(text, access.version.key)))
        except GlassbookError as error:
            faults.append(_detail_fault(access, error))

    def signed(pair: tuple[Access, SdJwt]) -> bool:
        return verify_ed25519(pair[0].version.key, pair[1].signature, pair[1].signing_input)

    for (access, details), holds in zip(opened, _threaded(signed, opened), strict=True):
        try:
            if not holds:
                raise BadSignature("SD-JWT", "is not signed by the record's source")
            check_claims(access.record, details, register.charter, access.stream.subject)
            check_complete(details, register.charter)
        except GlassbookError as error:
            faults.append(_detail_fault(access, error))
            continue
        access.details = details
        access.state = "opened"
    return faults


def _detail_fault(access: Access, error: GlassbookError) -> Refuted:
    access.state = "refuted"
    # Only the public half goes with it: an envelope or a claim is hers to show.
    return RuleBroken(f"details of entry {access.index}", str(error), entry=access.raw)


T = TypeVar("T")


def _threaded(check: Callable[[T], bool], items: Sequence[T]) -> list[bool]:
    """`check` of each item, in a few threads when there are many."""
    if len(items) < 64:
        return [check(item) for item in items]
    size = -(-len(items) // THREADS)
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(THREADS) as pool:
        return [
            holds for part in pool.map(lambda part: [check(item) for item in part], parts) for holds in part
        ]


def claims_of(access: Access) -> Mapping[str, Any]:
    """The opened claims; none when the details are not there."""
    return access.details.claims if access.details else {}
