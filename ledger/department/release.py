"""What a person is given: the keys of all her streams at this source, used or not (docs/formats.md §5, §6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ledger.core.completeness import LAST_SEAL, schemes_to_ask_for, seals_to_ask_for
from ledger.core.encoding import day_of, month_of
from ledger.core.errors import GlassbookError
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.keysfile import KeysFile, StreamSecret
from ledger.core.notices import EpochNotice, Erased, Notices
from ledger.core.streams import alpha, parse_subject
from ledger.core.vrf import beta_of, prove
from ledger.department.epochkeys import read_epochs
from ledger.department.erasures import erased_of
from ledger.department.outbox import Outbox
from ledger.department.ownreleases import kept_releases
from ledger.department.registration import Registration
from ledger.department.settings import CannotGoOn

NOTHING: Final = Notices()


def release(
    registration: Registration,
    seeds: Mapping[int, Ed25519PrivateKey],
    subjects: list[str],
    now: int,
    epochs: Collection[int] | None = None,
    notices: Notices = NOTHING,
    unseal: Collection[int] = (),
) -> KeysFile:
    """Every stream a person with these identifiers can have here: each registered epoch, and each seal open by now.

    `epochs` narrows it to these.  `notices` (`notices_for`) go with the keys; an epoch whose key is destroyed, as
    they say, is left out.  Streams sealed until the months `unseal` are given before their time.

    Streams without records are in it too, so that the file says nothing about which there are.  `subjects` are
    her `scheme:value`, one for each scheme she has an identifier under.
    Raises CannotGoOn when a registered VRF key is not at hand, or an identifier is not one of this source's.
    """
    versions, charter = registration.versions, registration.charter
    known = schemes_to_ask_for(versions)
    for subject in subjects:
        try:
            scheme, value = parse_subject(subject)
            if scheme not in known:
                raise CannotGoOn("subject", f"this source has no such scheme; it has {', '.join(known)}")
            charter.check_subject(scheme, value)
        except CannotGoOn:
            raise
        except GlassbookError as error:
            raise CannotGoOn("subject", error.what) from None
    secrets = []
    gone = {notice.epoch for notice in notices.destroyed}
    month = month_of(day_of(now))
    for epoch, public in sorted(registration.newest.vrf.items()):
        if epoch in gone or (epochs is not None and epoch not in epochs):
            continue
        if epoch not in seeds or seeds[epoch].public != public:
            raise CannotGoOn(
                f"VRF key of {epoch}",
                "is registered and not at hand; without it her list is not complete. Name its file in department.toml",
            )
        later = [
            seal for seal in seals_to_ask_for(versions, epoch, LAST_SEAL) if seal > month and seal in unseal
        ]
        for seal in [*seals_to_ask_for(versions, epoch, month), *later]:
            for subject in dict.fromkeys(subjects):
                pi = prove(
                    seeds[epoch].seed, alpha(charter.origin, registration.source, epoch, seal, subject)
                )
                secrets.append(StreamSecret(registration.source, epoch, seal, subject, beta_of(pi), pi))
    given = {secret.seal for secret in secrets}
    # What is sealed still is not there for anybody, erased or not.
    erased = tuple(one for one in notices.erased if one.seal in given)
    return KeysFile(charter.origin, tuple(secrets), replace(notices, erased=erased))


def notices_for(home: Path, outbox: Outbox, source: int, subjects: list[str]) -> Notices:
    """What the department says to this person beside her keys: details erased, keys destroyed, releases not logged."""
    epochs = read_epochs(home)
    return Notices(
        erased=tuple(Erased(source, *found) for found in erased_of(outbox, subjects)),
        destroyed=tuple(
            EpochNotice(source, epoch, day_of(state.confirmed))
            for epoch, state in sorted(epochs.items())
            if state.confirmed
        ),
        announced=tuple(
            EpochNotice(source, epoch, state.not_before)
            for epoch, state in sorted(epochs.items())
            if state.announced and not state.confirmed
        ),
        released=kept_releases(home, subjects),
    )
