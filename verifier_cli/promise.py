"""Was a promise to publish in time kept? (docs/formats.md §6)

kept              the leaf is in the log, and the oldest witness saw it there in time        holds, exit 0
broken            it is not, and a witness signed after the time was up                    refuted, exit 1
published late    it is, but this checkpoint is from after that time: it may have           undecided, exit 3
                  been in time all the same, which an earlier checkpoint would show
open              it is not, and there is still time; or no witness dates the checkpoint     undecided, exit 3
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.client.publiclog import PublicLog
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.entries import decode_entry
from ledger.core.errors import Malformed, Refuted
from ledger.core.merkle import leaf_hash
from ledger.core.policy import Policy
from ledger.core.promise import verdict as judge
from ledger.core.receipt import Step
from ledger.core.tlogproof import TlogProof
from verifier_cli.leafsearch import find_leaf
from verifier_cli.logfacts import checkpoint_facts
from verifier_cli.outcome import Line, Outcome, Verdict, numbered
from verifier_cli.promisefile import (
    Absence,
    BrokenPromise,
    LoggedEntry,
    Stated,
    check_absence,
    check_broken,
    parse_broken,
    read_charter,
    read_promise,
    write_broken,
)
from verifier_cli.report import Progress
from verifier_cli.words import time_in_words

LIMITS = (
    "It does not prove what the entry says, nor why it was not published; and it is a verdict of one checkpoint: an"
    " earlier one can show more."
)


def promise_command(
    log: PublicLog,
    policy: Policy,
    now: int,
    name: str,
    data: bytes,
    entry: bytes | None,
    note: bytes | None,
    progress: Progress | None = None,
) -> Outcome:
    """Judge the promise in the file of that name under the log's newest checkpoint, or under `note`.

    With the `entry` that was promised the index answers; without it all leaf hashes are looked through, and so they are
    under an older checkpoint, whose index nobody serves. Raises what reading the log and the files raises.
    """
    view = View.open(log, policy, now) if note is None else View(log, policy, note, now)
    located = None
    if entry is not None and note is None:
        label = decode_entry(entry).index_label
        if label is None:
            raise Malformed("entry", "is an index root, which no ledger promises")
        located = view.proofs([label])[0]  # before all else: the view may move on to a newer checkpoint here
    raw = view.entries([0])[0]
    charter = read_charter(raw, view.opened, now)
    stated = Stated(read_promise(data, charter, name), charter, view.opened)
    if entry is not None and leaf_hash(entry) != stated.promise.leaf:
        raise Malformed("entry", "is not the one that was promised: it has another leaf hash")
    absence = None
    if located is not None and entry is not None:
        other = None
        index = located.index
        if index is not None:
            found = view.entries([index])[index]
            if found != entry:
                other = _logged(view, index, found)
        if index is None or other is not None:
            absence = Absence(entry, view.index_root_proof(), located.proof, other)
            shown, index = check_absence(absence, stated), None
        else:
            shown = f"The index leads from its label to entry {index}, which is the one promised."
    else:
        index = find_leaf(view, stated.promise.leaf, progress)
        shown = _looked_through(index, view.size)
    outcome = _outcome(stated, index, shown, policy)
    if outcome.verdict is Verdict.REFUTED:
        outcome.evidence_file = write_broken(BrokenPromise(data, _logged(view, 0, raw), absence))
    return outcome


def broken_promise_command(
    log: PublicLog | None, policy: Policy, now: int, name: str, data: bytes, progress: Progress | None = None
) -> Outcome:
    """Check a file that `promise_command` wrote: offline, unless it was written without the promised entry.

    A file that shows nothing refutes nobody. Raises `Malformed` for that, and what reading the log raises.
    """
    file = parse_broken(data, name)
    try:
        stated = check_broken(file, policy, now)
        shown = "" if file.absence is None else check_absence(file.absence, stated)
    except Refuted as error:
        raise Malformed(name, f"shows nothing: {error}") from None
    index = None
    if file.absence is None:
        if log is None:
            message = (
                "the file holds no entry, so every leaf hash has to be looked at: give --log URL|DIR as well"
            )
            return Outcome("promise", Verdict.UNDECIDED, message)
        view = View(log, policy, file.charter.proof.checkpoint, now)
        index = find_leaf(view, stated.promise.leaf, progress)
        shown = _looked_through(index, view.size)
    outcome = _outcome(stated, index, shown, policy)
    outcome.evidence_file = name if outcome.verdict is Verdict.REFUTED else None
    return outcome


def _looked_through(index: int | None, size: int) -> str:
    if index is not None:
        return f"Leaf {index} has the promised hash."
    return f"None of the log's {size} leaf hashes is the promised one; all were looked at."


def _logged(view: View, index: int, raw: bytes) -> LoggedEntry:
    return LoggedEntry(raw, TlogProof(index, tuple(view.inclusion(index)), view.note))


def _outcome(stated: Stated, index: int | None, shown: str, policy: Policy) -> Outcome:
    opened, promise = stated.opened, stated.promise
    judgement = judge(
        promise.accepted, stated.charter.merge_delay_s, index is not None, opened.oldest, opened.newest
    )
    due = time_in_words(stated.due)
    if opened.oldest is None or opened.newest is None:
        message = (
            "open: no witness but the log dates this checkpoint, and the log cannot vouch for its own time"
        )
    else:
        message = {
            "kept": f"the promise was kept: entry {index} was seen in the log at {time_in_words(opened.oldest)}; it "
            f"was due by {due}",
            "published late": f"published, whether in time is not shown: entry {index} is in the log, but this "
            f"checkpoint is of {time_in_words(opened.oldest)}, after {due}, when it was due; one saved before that "
            "could show more: --checkpoint FILE",
            "open": f"open: the entry is not in the log of {time_in_words(opened.newest)}, and it has time until {due}",
            "broken": f"the promise was broken: the entry was due by {due}, and it is not in the log of "
            f"{time_in_words(opened.newest)}",
        }[judgement]
    verdict = {"kept": Verdict.HOLDS, "broken": Verdict.REFUTED}.get(judgement, Verdict.UNDECIDED)
    steps = _steps(stated, shown)
    lines = [
        Line(f"A promise of {stated.charter.origin}", "heading"),
        Line(),
        *numbered(steps),
        Line(),
        Line("What this does not prove", "heading"),
        Line(LIMITS, indent=3),
        Line(),
    ]
    return Outcome("promise", verdict, message, _result(stated, index, judgement, steps, policy), lines)


def _steps(stated: Stated, shown: str) -> tuple[Step, ...]:
    checkpoint, promise = stated.opened.checkpoint, stated.promise
    dated = (
        "no witness dates it"
        if stated.opened.oldest is None or stated.opened.newest is None
        else f"witnesses signed it from {time_in_words(stated.opened.oldest)} to {time_in_words(stated.opened.newest)}"
    )
    return (
        Step("The checkpoint is signed as your policy asks", f"{checkpoint.size} entries; {dated}."),
        Step(
            "The charter is the log's first entry",
            f"It names the ledger's key, and {stated.charter.merge_delay_s} seconds from acceptance to publication.",
        ),
        Step(
            "The ledger signed the promise",
            f"Leaf {b64encode(promise.leaf)}, accepted {time_in_words(promise.accepted)}, due by"
            f" {time_in_words(stated.due)}.",
        ),
        Step("Whether the entry is in the log", shown),
    )


def _result(
    stated: Stated, index: int | None, judgement: str, steps: Sequence[Step], policy: Policy
) -> dict[str, Any]:
    return {
        "log": checkpoint_facts(stated.opened, policy) | {"oldest_witness_timestamp": stated.opened.oldest},
        "leaf_hash": b64encode(stated.promise.leaf),
        "accepted": stated.promise.accepted,
        "due": stated.due,
        "judgement": judgement,
        "index": index,
        "steps": [{"title": step.title, "detail": step.detail} for step in steps],
        "does_not_prove": LIMITS,
    }
