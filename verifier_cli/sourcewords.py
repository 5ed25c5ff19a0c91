"""What a citizen has to know of a source beside its accesses: that it is no longer in use, or was called otherwise."""

from collections.abc import Sequence

from ledger.core.statements import SourceVersion
from verifier_cli.words import day_in_words, in_language

STATUS = {"active": "", "retired": "no longer in use", "revoked": "key revoked"}
"""The status of a source's newest version in a few words; nothing for one that is in use."""


def suspect_from(versions: Sequence[SourceVersion]) -> int | None:
    """The day (since 1970-01-01) from which records before the revocation are suspect, None without a revocation."""
    return min((version.revoked for version in versions if version.revoked is not None), default=None)


def retired_on(versions: Sequence[SourceVersion]) -> int | None:
    """The day of retirement that the newest version that states one states."""
    return next((version.retired for version in reversed(versions) if version.retired is not None), None)


def name_of(version: SourceVersion, lang: str) -> str:
    """Department and system, as this version calls them."""
    return f"{in_language(version.department, lang)} · {in_language(version.system, lang)}"


def source_in_words(versions: Sequence[SourceVersion], lang: str) -> list[str]:
    """Sentences about a source's registration; none for one that is in use and was always called the same."""
    said = []
    name = name_of(versions[-1], lang)
    former = list(dict.fromkeys(name_of(version, lang) for version in versions))
    former = [other for other in former if other != name]
    if former:
        said.append(f"Registered before as: {'; '.join(former)}.")
    status = versions[-1].status
    retired, suspect = retired_on(versions), suspect_from(versions)
    if status == "retired" and retired is not None:
        said.append(
            f"This system was retired on {day_in_words(retired)}. It can record nothing more; what it recorded stays in"
            " the log, and in this list."
        )
    if status == "revoked" and suspect is not None:
        said.append(
            "The key with which this system signs was revoked, because others may have it. It can record nothing more;"
            f" what is dated {day_in_words(suspect)} or later is marked as suspect, as others may have recorded it."
        )
    return said
