"""`glassbook-verify mine`: a person's whole list, and evidence of chosen accesses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.client.publiclog import Moved, PublicLog
from ledger.client.register import read_register
from ledger.client.shown import make_evidence
from ledger.client.view import View
from ledger.core.encoding import day_of, month_of
from ledger.core.errors import Malformed, Refuted
from ledger.core.evidence import format_evidence
from ledger.core.keysfile import StreamSecret, parse_keys_file
from ledger.core.policy import Policy
from ledger.core.sdjwt import present
from ledger.files import write_atomic
from verifier_cli.consistency import remember
from verifier_cli.lookup import (
    Access,
    Lookup,
    Place,
    claims_of,
    fetch_details,
    locate,
    missing_streams,
    open_streams,
    read_details,
    read_records,
)
from verifier_cli.minewords import mine_lines, mine_result
from verifier_cli.outcome import Outcome, Verdict, write_refutation
from verifier_cli.report import Progress
from verifier_cli.saidwords import key_destroyed_on, mark_erased, merge_notices
from verifier_cli.words import moment_of, month_in_words

ATTEMPTS = 8
"""How often to begin again when the log grows between two answers: each attempt asks in fewer rounds."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Evidence to write: where, of which entries (none: of all), and which claims to open."""

    folder: Path
    entries: tuple[int, ...]
    opened: tuple[str, ...]


def mine_command(
    log: PublicLog,
    policy: Policy,
    files: Sequence[tuple[str, bytes]],
    now: int,
    lang: str,
    wish: Wish | None,
    state: Path | None,
    progress: Progress,
) -> Outcome:
    """Look a person up by her keys files (name, content), `now` in Unix seconds.

    Raises `Malformed` for a file that is none or of another log, `Unreachable`, `Moved`, and what opening the log
    and reading its register refute. What is refuted about single records is in the outcome, beside the list.
    """
    keys = merge_keys(files, policy.origin)
    found = look_up(log, policy, keys, now, progress)
    found.notices = merge_notices(files)
    mark_erased(found.accesses, found.notices)
    if state is not None:
        remember(found.view, state)
    if wish is not None:
        _write_evidence(found, wish)
    return _outcome(found, lang)


def merge_keys(files: Sequence[tuple[str, bytes]], origin: str) -> list[StreamSecret]:
    """The keys of all files. Raises `Malformed` naming the file that is none, or of another log, or when there is none.

    Without a key nothing would be asked, and "none is missing" would be true of nobody.
    """
    keys: list[StreamSecret] = []
    destroyed: list[int] = []
    for name, data in files:
        parsed = parse_keys_file(data, name)
        if parsed.origin != origin:
            raise Malformed(name, f"holds keys for the log {parsed.origin}, the policy is of {origin}")
        keys += parsed.keys
        destroyed += [notice.epoch for notice in parsed.notices.destroyed]
    if not keys:
        years = ", ".join(map(str, sorted(set(destroyed))))
        what = (
            f"; the source says that it destroyed its keys of {years}"
            if years
            else "; ask the source for yours"
        )
        raise Malformed(", ".join(name for name, _ in files), f"no stream key is in there{what}")
    return keys


def look_up(
    log: PublicLog, policy: Policy, keys: Sequence[StreamSecret], now: int, progress: Progress
) -> Lookup:
    """The whole lookup under one checkpoint, begun again while the log grows. Raises `Moved` in the end."""
    counts: dict[Place, int] = {}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(View.open(log, policy, now), keys, counts, progress)
        except Moved:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("at least one attempt")


def _attempt(
    view: View, keys: Sequence[StreamSecret], counts: dict[Place, int], progress: Progress
) -> Lookup:
    steps = 5
    progress.step("reading the register", 0, steps)
    whole = read_register(view)
    register = whole.register
    progress.step("checking your keys", 1, steps)
    streams, faults = open_streams(keys, register)
    progress.step("finding your records", 2, steps)
    skipped: list[Refuted] = []
    found = locate(view, streams, counts, skipped)
    progress.step("checking each record", 3, steps)
    accesses, record_faults = read_records(view, register, streams, found)
    progress.step("opening the details", 4, steps)
    envelopes = fetch_details(view.log, accesses)
    detail_faults = [] if envelopes is None else read_details(register, accesses, envelopes)
    progress.step("done", 5, steps)
    month = month_of(day_of(view.now))
    subjects = sorted({key.subject for key in keys})
    # A key that failed is no gap: it is reported as what it is.
    claimed = {(key.source, key.epoch, key.seal, key.subject) for key in keys}
    held = {stream.place for stream in streams} | claimed
    return Lookup(
        view=view,
        whole=whole,
        month=month,
        streams=streams,
        accesses=sorted(accesses, key=_in_time),
        gaps=missing_streams(subjects, held, register, month),
        faults=[*whole.broken, *faults, *skipped, *record_faults, *detail_faults],
        details_fetched=envelopes is not None,
    )


def _in_time(access: Access) -> tuple[int, int, float, int]:
    """Source by source in the order of the accesses, as far as their details tell it."""
    event = claims_of(access).get("event")
    moment = moment_of(event.get("at")) if isinstance(event, dict) else None
    return access.stream.source, access.record.day, moment.timestamp() if moment else math.inf, access.index


def _write_evidence(found: Lookup, wish: Wish) -> None:
    """Write one file an access to the folder, named by its index. Raises `Malformed` for what cannot be shown."""
    chosen = [access for access in found.accesses if not wish.entries or access.index in wish.entries]
    strangers = set(wish.entries) - {access.index for access in chosen}
    if strangers:
        raise Malformed(
            "--entry", f"{min(strangers)} is not among your accesses; the list shows their numbers"
        )
    if chosen and not found.details_fetched:
        raise Malformed("--evidence", "needs the details, which a folder does not hold; give --log URL")
    wish.folder.mkdir(parents=True, exist_ok=True)
    found.opened = wish.opened
    for access in chosen:
        if access.details is None:
            if wish.entries:
                raise Malformed(f"entry {access.index}", f"no evidence: its details are {access.state}")
            continue
        names = access.details.claims.keys() if "all" in wish.opened else wish.opened
        shown = present(access.details, list(names))
        evidence = make_evidence(found.view, found.whole.register, access.index, shown)
        path = wish.folder / f"{access.index}.evidence.json"
        write_atomic(path, format_evidence(evidence), 0o600)
        found.evidence_files.append(str(path))


def _outcome(found: Lookup, lang: str) -> Outcome:
    refuted = [fault for fault in found.faults if isinstance(fault, Refuted)]
    unchecked = [fault for fault in found.faults if not isinstance(fault, Refuted)]
    count = len(found.accesses)
    number = "no access" if count == 0 else "1 access" if count == 1 else f"{count} accesses"
    evidence_file = None
    if refuted:
        verdict = Verdict.REFUTED
        more = f" (and {len(refuted) - 1} more)" if len(refuted) > 1 else ""
        message = f"{refuted[0]}{more}"
        about = {"log": found.view.log.where, "checkpoint": found.view.note}
        evidence_file = write_refutation("mine", refuted[0], about)
    elif unchecked:
        verdict, message = (
            Verdict.NOT_CHECKED,
            f"{unchecked[0]}; get new keys from that source, or a newer log",
        )
    elif found.gaps:
        verdict = Verdict.NOT_COMPLETE
        gap = found.gaps[0]
        sealed = f", sealed until {month_in_words(gap.seal)}" if gap.seal else ""
        more = f" and {len(found.gaps) - 1} more" if len(found.gaps) > 1 else ""
        for_good = all(key_destroyed_on(gap, found.notices) is not None for gap in found.gaps)
        todo = (
            "the source says that it destroyed the key of that year, so only keys given to you before can show it"
            if for_good
            else "ask that source for your keys and run this again with the files together"
        )
        message = f"the list is not complete: no key for source {gap.source}, year {gap.epoch}{sealed}{more}; {todo}"
    else:
        verdict, asked = Verdict.HOLDS, len(found.asked)
        message = (
            f"{number} in {asked} source{'s' * (asked != 1)}, and none is missing,"
            f" up to records sealed until {month_in_words(found.month)}"
        )
    return Outcome("mine", verdict, message, mine_result(found, lang), mine_lines(found, lang), evidence_file)
