"""From an access to what is handed in: a signed record, its SD-JWT in an envelope, and the hash of its fetch token.

access → claims completed from the register → SD-JWT → commitment ┐
stream key (one VRF evaluation a stream) → label(n)              ┴→ record, signed
"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ledger.core.encoding import b64url_decode, day_of, year_of
from ledger.core.entries import Record, check_time, decode_entry, sign_record, signed_message
from ledger.core.errors import GlassbookError
from ledger.core.jose import sign_jws
from ledger.core.keys import Ed25519PrivateKey, SigningKey, verify_ed25519
from ledger.core.merkle import leaf_hash
from ledger.core.schemes import check_canonical
from ledger.core.sdjwt import CLAIMS, DIGESTS, SALT_BYTES, commitment, issue
from ledger.core.sdjwt import TYP as SD_JWT_TYP
from ledger.core.statements import Charter
from ledger.core.streams import (
    NONCE_BYTES,
    StreamKey,
    alpha,
    open_envelope,
    parse_subject,
    seal_envelope,
    stream_key,
)
from ledger.core.vrf import evaluate
from ledger.department.access import Access, Claims
from ledger.department.identifiers import check_form
from ledger.department.outbox import Prepared, Stream, Waiting
from ledger.department.registration import Registration
from ledger.department.settings import CannotGoOn

NOT_STATED: Final = {"text": "not stated in the log this record was made from"}
"""Stands for a claim that the charter demands and the log does not tell."""

_KEYS_HELD: Final = 100_000
"""Stream keys kept in memory, some 30 MB: in memory alone, for whoever has one reads the person's envelopes."""

_PLACE_BYTES: Final = 7
_RANDOM_BYTES: Final = len(CLAIMS) * SALT_BYTES + DIGESTS * 32 + NONCE_BYTES + _PLACE_BYTES
"""What one record needs at most: a salt a claim, 32 bytes a decoy, a nonce, its place in the order of sending."""


class RecordMaker:
    """Makes the records of one source.

    `seeds` are the VRF keys by epoch, 32 bytes each; `random(n)` gives n bytes;
    `forms` are those of identifiers by scheme, where a scheme is not named as its form.
    Raises CannotGoOn when a key is not the registered one: what it signed or labelled would be refused.
    """

    def __init__(
        self,
        registration: Registration,
        key: SigningKey,
        seeds: Mapping[int, Ed25519PrivateKey],
        random: Callable[[int], bytes] = secrets.token_bytes,
        forms: Mapping[str, str] | None = None,
    ) -> None:
        self._registration = registration
        self._forms = forms or {}
        self._key = key
        self._seeds = seeds
        self._random = random
        self._streams: dict[tuple[int, int, str], StreamKey] = {}
        newest = registration.newest
        if newest.key != key.public:
            raise CannotGoOn("key", "is not the one registered for this source; has it been rotated?")
        for epoch, seed in seeds.items():
            if newest.vrf.get(epoch, seed.public) != seed.public:
                raise CannotGoOn(
                    f"VRF key of {epoch}",
                    "is not the one registered; find the right file, it can never be changed",
                )

    @property
    def source(self) -> int:
        return self._registration.source

    @property
    def registration(self) -> Registration:
        return self._registration

    @property
    def charter(self) -> Charter:
        return self._registration.charter

    def check_subject(self, subject: str) -> None:
        """GlassbookError unless `scheme:value` is written as the charter and this department have the scheme."""
        check_canonical(self.charter.schemes, *parse_subject(subject))
        # A slip of the pen is somebody else's number, or nobody's: no one would find the record.
        check_form(subject, self._forms)

    def fault(self, access: Access, now: int) -> str:
        """Why an access cannot be recorded, with what to do; empty when it can.  `now` is Unix seconds."""
        newest = self._registration.newest
        epoch = year_of(access.day)
        if newest.status != "active":
            return f"the source is {newest.status} in the register; it can record nothing more"
        if epoch not in newest.vrf and (epoch not in self._seeds or epoch not in _current_years(now)):
            return (
                f"no VRF key is registered for the epoch {epoch}; run glassbook department epochs {epoch}, "
                "and have the registrar register the new statement"
            )
        if epoch not in self._seeds:
            return f"the VRF key of the epoch {epoch} is registered, but department.toml names no file for it"
        try:
            scheme, _ = parse_subject(access.subject)
            if scheme not in newest.schemes:
                return "the mapping leads to a scheme that is not registered for this source; correct the mapping"
            self.check_subject(access.subject)
            record = Record(
                newest.source, epoch, access.day, access.seal, self._activity(access), b"", b"", b""
            )
            if epoch not in newest.vrf:
                # Of this year, and its key is made: the record waits in the outbox until the key is registered.
                newest = replace(newest, vrf={**newest.vrf, epoch: self._seeds[epoch].public})
            newest.check_record(record)
            if access.seal and access.activity not in newest.activities:
                # The entry does not tell it: nobody but her would see that it is none of the register's.
                return (
                    f"activity {access.activity} is not registered; correct the mapping or the registration"
                )
            # The ledger's own clock decides, without the readers' five minutes.
            check_time(record, now, slack=0)
        except GlassbookError as error:
            return f"{error.what}; correct the log, the mapping or the registration"
        return ""

    def check_year(self, access: Access, now: int) -> None:
        """CannotGoOn for an access of the year that has come when it has no VRF key at all: it has to wait outside."""
        year = year_of(day_of(now))
        newest = self._registration.newest
        if year_of(access.day) != year or newest.status != "active":
            return
        if year not in newest.vrf and year not in self._seeds:
            raise CannotGoOn(
                f"epoch {year}",
                f"has no VRF key, so no access of {year} can be recorded. Nothing is lost: run glassbook department "
                f"epochs {year}, hand the statement to the registrar, and record this again",
            )

    def sign_again(self, old: Waiting) -> Prepared:
        """The same record, with the same number, label, salts and disclosures, signed with the key in force.

        Raises ProofRefuted for an envelope that cannot be opened.
        """
        record = decode_entry(old.entry)
        if not isinstance(record, Record):
            raise CannotGoOn("outbox", "holds an entry that is no record; it was not written by this program")
        key = self.key_of(old.stream.epoch, old.stream.seal, old.stream.subject)
        jwt, tilde, disclosures = open_envelope(key, old.n, old.envelope).partition("~")
        # The payload byte for byte: the disclosures' digests are in it.
        payload = b64url_decode(jwt.split(".")[1], "record in the outbox")
        signed = sign_jws(payload, SD_JWT_TYP, self._key) + tilde + disclosures
        return self._seal(key, old.n, signed, record.day, record.seal, record.activity, self._random_of_one())

    def is_signed(self, entry: bytes) -> bool:
        """Whether the key in force signed this record or coverage."""
        message = signed_message(self._registration.charter.origin, entry)
        return verify_ed25519(self._registration.newest.key, entry[-64:], message)

    @property
    def key(self) -> SigningKey:
        """The key in force, which signs."""
        return self._key

    def _activity(self, access: Access) -> int:
        return 0 if access.seal else access.activity

    def key_of(self, epoch: int, seal: int, subject: str) -> StreamKey:
        """The key of one stream; the VRF is evaluated once for each."""
        name = (epoch, seal, subject)
        found = self._streams.get(name)
        if found is None:
            if len(self._streams) >= _KEYS_HELD:
                del self._streams[next(iter(self._streams))]
            text = alpha(self._registration.charter.origin, self.source, epoch, seal, subject)
            if epoch not in self._seeds:
                raise CannotGoOn(
                    f"VRF key of {epoch}", "is missing; department.toml has to name its file under [vrf]"
                )
            found = self._streams[name] = stream_key(evaluate(self._seeds[epoch].seed, text))
        return found

    def prepare(self, access: Access, n: int) -> Prepared:
        """The record for an access as number n of its stream.

        Raises Malformed when the claims cannot be written (an envelope holds 65,535 bytes of SD-JWT).
        """
        epoch = year_of(access.day)
        claims = complete_claims(access, self._registration)
        random = self._random_of_one()
        sd_jwt = issue(self._registration.charter.origin, self.source, epoch, claims, self._key, random)
        key = self.key_of(epoch, access.seal, access.subject)
        return self._seal(key, n, sd_jwt, access.day, access.seal, self._activity(access), random)

    def _random_of_one(self) -> Callable[[int], bytes]:
        """Random bytes for one record by one call of the system; none are left for another, in a fork neither."""
        return io.BytesIO(self._random(_RANDOM_BYTES)).read

    def renumber(self, old: Waiting, stream: Stream, n: int) -> Prepared:
        """The same SD-JWT as another number of its stream, for a record whose label turned out to be taken."""
        key = self.key_of(stream.epoch, stream.seal, stream.subject)
        record = decode_entry(old.entry)
        if not isinstance(record, Record):
            raise CannotGoOn("outbox", "holds an entry that is no record; it was not written by this program")
        sd_jwt = open_envelope(key, old.n, old.envelope)
        random = self._random_of_one()
        return self._seal(key, n, sd_jwt, record.day, record.seal, record.activity, random)

    def _seal(
        self,
        key: StreamKey,
        n: int,
        sd_jwt: str,
        day: int,
        seal: int,
        activity: int,
        random: Callable[[int], bytes],
    ) -> Prepared:
        label = key.label(n)
        entry = sign_record(
            self._registration.charter.origin,
            self._key,
            source=self.source,
            day=day,
            seal=seal,
            activity=activity,
            label=label,
            commitment=commitment(sd_jwt.partition("~")[0]),
        )
        envelope = seal_envelope(key, n, sd_jwt, random(NONCE_BYTES), label)
        place = int.from_bytes(random(_PLACE_BYTES), "big")
        return Prepared(n, entry, leaf_hash(entry), envelope, key.deposited(n), place)


def _current_years(now: int) -> tuple[int, int]:
    """The year that it is, and of the day after: a year begins earlier elsewhere, and the log's clock decides."""
    return year_of(day_of(now)), year_of(day_of(now) + 1)


def complete_claims(access: Access, registration: Registration) -> Claims:
    """An access's claims with what the register says about its activity, and with every claim the charter demands."""
    claims: dict[str, Any] = dict(access.claims)
    registered = registration.newest.activities.get(access.activity)
    if registered is not None:
        purpose: dict[str, Any] = {"activity": access.activity} | dict(claims.get("purpose", {}))
        purpose["purpose"] = purpose.get("purpose") or list(registered.purpose)
        purpose.setdefault("legal_basis", list(registered.legal_basis))
        data = dict(claims.get("data", {}))
        data["categories"] = data.get("categories") or list(registered.data)
        claims |= {"purpose": purpose, "data": data}
    return claims | {name: NOT_STATED for name in registration.charter.claims if name not in claims}
