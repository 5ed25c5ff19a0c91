"""A release: recorded as an access of its own, durable in the outbox, and only then given.

The record goes the way of every other one, so the person finds it in her list: that keys to the list were given,
when, to herself or to whom in her name.  What cannot be recorded is not given.

Of a retired or revoked source the log takes no record any more, and people need its keys all the same: there the
release is kept in the department's own list, and every keys file given to her names it (ownreleases.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from ledger.core.completeness import schemes_to_ask_for
from ledger.core.errors import GlassbookError
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.keysfile import KeysFile, format_keys_file
from ledger.core.notices import Released
from ledger.department.access import Access, Claims, Fate, Outcome
from ledger.department.home import Home
from ledger.department.importers.fhir.claims import HERSELF
from ledger.department.keyservice.person import Person
from ledger.department.keyservice.problems import Refused
from ledger.department.keyservice.settings import KeyServiceSettings
from ledger.department.ownreleases import keep_release
from ledger.department.recording import Crowded, Desk, Recording
from ledger.department.registration import KEPT, Registration, kept_registration
from ledger.department.release import notices_for, release
from ledger.department.settings import CannotGoOn

RECORDED_S: Final = 30.0
"""Seconds that a release may take to be recorded; then the person is told to come again."""

LATER_S: Final = 10
_SOURCE: Final = "key service"


@dataclass(frozen=True, slots=True, repr=False)
class _Holding:
    """What keys are made of: the registration, as the outbox kept it, and the VRF keys, as the folder has them."""

    kept: bytes | None
    home: Home
    registration: Registration
    seeds: dict[int, Ed25519PrivateKey]


class Releases:
    """Gives keys, and records that it does.  Safe to use from several threads.

    `say` tells the department what hinders a release.  Making one raises CannotGoOn when the settings name an
    activity or a scheme that is not registered.
    """

    def __init__(
        self, recording: Recording, settings: KeyServiceSettings, say: Callable[[str], None]
    ) -> None:
        self._recording, self._settings, self._say = recording, settings, say
        self._held: _Holding | None = None
        self._check(recording.run(self._holding).result().registration)

    def keys_for(self, person: Person, epochs: Collection[int] | None, now: int) -> bytes:
        """The `*.keys.json` file of these epochs, or of all; its release is recorded.  Raises Refused.

        `now` is Unix seconds: seals open by then are in it, used or not, and later ones for nobody.
        """
        try:
            holding = self._recording.run(self._holding).result(RECORDED_S)
            subjects = _known(holding.registration, person)
            unknown = set(epochs or ()) - set(holding.registration.newest.vrf)
            if unknown:
                there = ", ".join(map(str, sorted(holding.registration.newest.vrf)))
                raise Refused("epoch-unknown", f"this department has the epochs {there}")
            source = holding.registration.source
            notices = self._recording.run(
                lambda desk: notices_for(desk.home.settings.home, desk.outbox, source, subjects)
            ).result(RECORDED_S)
            file = release(holding.registration, holding.seeds, subjects, now, epochs, notices)
        except NotInTime:
            raise Refused(
                "cannot-release", "too much waits to be recorded; ask again later", LATER_S
            ) from None
        except GlassbookError as error:
            # What exactly is for the department's own eyes.
            self._say(f"key service: keys were not given: {error}")
            raise Refused(
                "cannot-release", "the department has to look after its keys; ask again later", 60
            ) from None
        if holding.registration.newest.status == "active":
            self._record(person, holding.registration, subjects, now)
        else:
            file = self._keep(person, source, subjects, now, file)
        return format_keys_file(file)

    def _keep(self, person: Person, source: int, subjects: list[str], now: int, file: KeysFile) -> KeysFile:
        """The file that names this release too, which is durable in the department's own list when it returns."""
        try:
            self._recording.run(
                lambda desk: keep_release(desk.home.settings.home, source, subjects, person.delegates, now)
            ).result(RECORDED_S)
        except (Crowded, NotInTime):
            raise _unrecorded("too much waits to be recorded; ask again later") from None
        except GlassbookError as error:
            self._say(f"key service: a release was not recorded, and no keys given: {error}")
            raise _unrecorded(
                "the department's list of releases takes nothing now; ask again later"
            ) from None
        this = tuple(Released(source, subject, now, person.delegates) for subject in subjects)
        notices = replace(file.notices, released=file.notices.released + this)
        return replace(file, notices=notices)

    def _record(self, person: Person, registration: Registration, subjects: list[str], now: int) -> None:
        """Durable when it returns."""
        # A scheme that the source has given up can be asked for, but nothing more is recorded under it.
        recordable = [s for s in subjects if s.partition(":")[0] in registration.newest.schemes] or subjects
        accesses = tuple(
            Access(
                s, now // 86_400, self._settings.activity, _claims(s, person, self._settings.activity, now)
            )
            for s in recordable
        )
        outcome = Outcome(_SOURCE, "$", Fate.RECORDED, "", accesses, secrets.token_bytes(32))
        try:
            ((recorded, _),) = self._recording.record([outcome]).result(RECORDED_S)
        except (Crowded, NotInTime):
            raise _unrecorded("too much waits to be recorded; ask again later") from None
        except (GlassbookError, OSError) as error:
            self._say(f"key service: a release was not recorded, and no keys given: {error}")
            raise _unrecorded("the department's outbox takes nothing now; ask again later") from None
        if recorded.fate is not Fate.RECORDED:
            self._say(f"key service: a release was not recorded, and no keys given: {recorded.reason}")
            raise _unrecorded("this department can record nothing at present; ask the department itself")

    def _holding(self, desk: Desk) -> _Holding:
        """In the recording thread: read anew when the registration has changed."""
        desk.maker()
        kept = desk.outbox.get(KEPT)
        if self._held is None or (self._held.kept, self._held.home) != (kept, desk.home):
            found = kept_registration(desk.outbox, desk.home.settings.origin)
            if found is None:
                raise CannotGoOn("outbox", "holds no registration; run: glassbook department run")
            self._held = _Holding(kept, desk.home, found, desk.home.seeds())
        return self._held

    def _check(self, registration: Registration) -> None:
        if self._settings.activity not in registration.newest.activities:
            raise CannotGoOn(
                "department.toml: keyservice.activity",
                f"{self._settings.activity} is not registered for this source; there are: "
                f"{', '.join(map(str, sorted(registration.newest.activities)))}. Have the giving of keys registered",
            )
        known = schemes_to_ask_for(registration.versions)
        for scheme in self._settings.claims.values():
            if scheme not in known:
                raise CannotGoOn(
                    "department.toml: keyservice.claims",
                    f"this source has no scheme {scheme}; it has {', '.join(known)}",
                )


def _known(registration: Registration, person: Person) -> list[str]:
    """Her identifiers in schemes of this source.  Refused when one is not as the charter has it, or there is none."""
    known = schemes_to_ask_for(registration.versions)
    subjects = [subject for subject in person.subjects if subject.partition(":")[0] in known]
    for subject in subjects:
        scheme, _, value = subject.partition(":")
        try:
            registration.charter.check_subject(scheme, value)
        except GlassbookError:
            raise Refused(
                "identifier-malformed",
                f"what the token has as an identifier of kind {scheme} is none; tell the identity provider",
            ) from None
    if not subjects:
        raise Refused("identifier-missing", "this department knows nobody by the identifiers in the token")
    return subjects


def _claims(subject: str, person: Person, activity: int, now: int) -> Claims:
    """What the record says (docs/formats.md §3); the register adds purpose, legal ground and kinds of data."""
    actor: Claims = {"id": HERSELF, "automated": False}
    reason = "the person asked for the keys to her list of accesses"
    if person.delegates:
        actor = {"id": person.delegates[0], "role": "acting for the person", "automated": False}
        reason = "somebody acting for the person asked for the keys to her list of accesses"
        if person.delegates[1:]:
            reason += f", sent by {', then '.join(person.delegates[1:])}"
    return {
        "subject": subject,
        "actor": actor,
        "event": {
            "at": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "action": "https://w3id.org/dpv#Consult",
            "result": "opened",
            "outcome": "success",
            "system": _SOURCE,
        },
        "data": {"fields": ["the keys to the list of accesses"]},
        "purpose": {"activity": activity},
        "reason": {"text": reason},
    }


def _unrecorded(detail: str) -> Refused:
    return Refused("cannot-record", f"each release is recorded, and this one cannot be: {detail}", LATER_S)
