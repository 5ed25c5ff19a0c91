"""What a person is given: the keys of all her streams at this source, used or not (docs/formats.md §5, §6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ledger.core.completeness import schemes_to_ask_for, seals_to_ask_for
from ledger.core.encoding import day_of, month_of
from ledger.core.errors import GlassbookError
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.keysfile import KeysFile, StreamSecret
from ledger.core.streams import alpha, parse_subject
from ledger.core.vrf import beta_of, prove
from ledger.department.registration import Registration
from ledger.department.settings import CannotGoOn


def release(
    registration: Registration,
    seeds: Mapping[int, Ed25519PrivateKey],
    subjects: list[str],
    now: int,
    epochs: Collection[int] | None = None,
) -> KeysFile:
    """Every stream a person with these identifiers can have here: each registered epoch, and each seal open by now.

    `epochs` narrows it to these.

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
    for epoch, public in sorted(registration.newest.vrf.items()):
        if epochs is not None and epoch not in epochs:
            continue
        if epoch not in seeds or seeds[epoch].public != public:
            raise CannotGoOn(
                f"VRF key of {epoch}",
                "is registered and not at hand; without it her list is not complete. Name its file in department.toml",
            )
        for seal in seals_to_ask_for(versions, epoch, month_of(day_of(now))):
            for subject in dict.fromkeys(subjects):
                pi = prove(
                    seeds[epoch].seed, alpha(charter.origin, registration.source, epoch, seal, subject)
                )
                secrets.append(StreamSecret(registration.source, epoch, seal, subject, beta_of(pi), pi))
    return KeysFile(charter.origin, tuple(secrets))
