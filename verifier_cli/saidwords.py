"""What sources say beside their keys, told as their word: details erased, years' keys destroyed, releases not logged.

Nothing proves it and no verdict depends on it (ledger/core/notices.py): a missing envelope shows only that it is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ledger.core.keysfile import parse_keys_file
from ledger.core.notices import Notices
from verifier_cli.lookup import Access, Gap, Stream
from verifier_cli.words import day_in_words, month_in_words, plain, time_in_words

_SHOWN = 20
"""Releases told of one source, the newest."""

PROVEN = "That the access happened is proven all the same."
MISSING = (
    "The details are missing. The log cannot tell why: a source may have had them erased, and then says so in the keys"
    f" files it gives from then on; or they were withheld or lost. Ask the department. {PROVEN}"
)


def merge_notices(files: Sequence[tuple[str, bytes]]) -> Notices:
    """The notices of all keys files.  Raises `Malformed` for a file that is none."""
    found = [parse_keys_file(data, name).notices for name, data in files]
    return Notices(
        erased=tuple(one for notices in found for one in notices.erased),
        destroyed=tuple(one for notices in found for one in notices.destroyed),
        announced=tuple(one for notices in found for one in notices.announced),
        # Each file given later names the earlier ones again.
        released=tuple(dict.fromkeys(one for notices in found for one in notices.released)),
    )


def mark_erased(accesses: Sequence[Access], notices: Notices) -> None:
    """Put into each access without details the day on which its source says that it erased them."""
    days = {(one.source, one.epoch, one.seal, one.subject, one.number): one.day for one in notices.erased}
    for access in accesses:
        if access.state == "missing":
            access.erased_on = days.get((*access.stream.place, access.n))


def missing_in_words(access: Access) -> str:
    """Why an access has no details, as far as anybody says."""
    if access.erased_on is None:
        return MISSING
    day = day_in_words(access.erased_on)
    return f"The details are gone: the department says that it had them erased on {day}. {PROVEN}"


def key_destroyed_on(gap: Gap, notices: Notices) -> int | None:
    """The day on which its source says that it destroyed the key of this stream's year."""
    return next(
        (one.day for one in notices.destroyed if (one.source, one.epoch) == (gap.source, gap.epoch)), None
    )


def gap_in_words(gap: Gap, notices: Notices) -> str:
    """`source 2, year 2025, records sealed until March 2026, identifier of kind nhs`, and whether it is for good."""
    sealed = f", records sealed until {month_in_words(gap.seal)}" if gap.seal else ""
    words = f"source {gap.source}, year {gap.epoch}{sealed}, identifier of kind {gap.scheme}"
    destroyed = key_destroyed_on(gap, notices)
    if destroyed is not None:
        words += (
            f": the source says that it destroyed its key of {gap.epoch} on {day_in_words(destroyed)}; nobody can make"
            " yours any more, and only keys that you were given before can show that year"
        )
    return words


def notes_on_keys(streams: Sequence[Stream], month: int, notices: Notices) -> list[str]:
    """Streams opened before their month, keys that are to be destroyed, and releases that the log has no record of."""
    notes = []
    early = sorted({(stream.seal, stream.source) for stream in streams if stream.seal > month})
    for seal, source in early:
        notes.append(
            f"Source {source} opened early for you what is sealed until {month_in_words(seal)}, and of that none is"
            " missing either."
        )
    gone = {(one.source, one.epoch) for one in notices.destroyed}
    announced = {(one.source, one.epoch): one.day for one in notices.announced}
    for (source, epoch), day in sorted(announced.items()):
        if (source, epoch) not in gone:
            notes.append(
                f"Source {source} has announced that it destroys its key of {epoch} on {day_in_words(day)} or later:"
                " keep your keys file, with which you find that year afterwards as well."
            )
    return notes + _releases(notices)


def _releases(notices: Notices) -> list[str]:
    notes = []
    # One release of several identifiers is one.
    given = sorted({(one.source, one.at, one.by) for one in notices.released})
    for source, several in groupby(given, key=lambda one: one[0]):
        times = [
            f"on {time_in_words(at)} to "
            + (f"{', sent by '.join(map(plain, by))}, acting for you" if by else "you")
            for _, at, by in several
        ]
        more = f"; and {len(times) - _SHOWN} times before" if len(times) > _SHOWN else ""
        notes.append(
            f"Source {source} can record nothing more in the log, so giving you keys is not in your list. It says"
            f" itself that it gave them {'; '.join(times[-_SHOWN:])}{more}."
        )
    return notes
