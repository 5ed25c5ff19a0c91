"""`glassbook department erase` and `erase-epoch`: what is chosen, shown, asked for and told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger.core.encoding import day_of, format_date
from ledger.department import epochkeys
from ledger.department.erasing import Sent, records, send_erasures, sent_words
from ledger.department.erasures import (
    DATE,
    RECORD,
    RULE,
    Details,
    ask_again,
    count_erasures,
    decide,
    find_before,
    find_due,
    find_records,
    is_decided,
    note_receipts,
)
from ledger.department.home import Home, Say
from ledger.department.registration import Registration
from ledger.department.settings import CannotGoOn

if TYPE_CHECKING:
    # An HTTP client takes longer to import than most of the commands take altogether.
    from ledger.department.handin import LedgerClient

_AT_ONCE: Final = 10_000
_SHOWN: Final = 20
"""Lines of a dry run; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to erase: records by their index, or those before a day (of one activity), or what the rules say.

    None of them: what was chosen before and is not answered yet.
    """

    records: tuple[int, ...] = ()
    before: int | None = None
    activity: int | None = None
    rule: bool = False
    again: bool = False

    @property
    def why(self) -> str:
        return RECORD if self.records else DATE if self.before is not None else RULE


def check_choice(choice: Choice) -> str:
    """Why these options do not go together; empty when they do."""
    ways = [bool(choice.records), choice.before is not None, choice.rule, choice.again]
    if sum(ways) > 1:
        return "choose by --record, by --before, by --rule, or --again"
    if len(choice.records) > _AT_ONCE:
        return f"--record stands there more than {_AT_ONCE} times; choose by --before, or in several runs"
    if choice.activity is not None and choice.before is None:
        return "--activity goes with --before"
    return ""


def erase_details(
    home: Home, choice: Choice, dry_run: bool, now: int, say: Say, open_ledger: Callable[[], LedgerClient]
) -> dict[str, Any]:
    """Choose, ask the operator, and say what became of it; a dry run chooses only.

    Raises CannotGoOn for a record that is not there, and when the operator cannot be asked: then it stays noted.
    """
    note_receipts(home.outbox)
    chosen, sealed = _choose(home, choice, now)
    result: dict[str, Any] = {
        "chosen": len(chosen),
        "chosen_before": len(set(choice.records)) - len(chosen) if choice.records else 0,
        "sealed_still": sealed,
        "without_receipt": home.outbox.counts().owed,
        "by_activity": {str(number): count for number, count in sorted(_by_activity(chosen).items())},
        "dry_run": dry_run,
    }
    if dry_run:
        result["records"] = [_record(one) for one in chosen]
        return result
    if choice.again:
        result["asked_again"] = ask_again(home.outbox)
    decide(home.outbox, chosen, choice.why, now)
    sent = Sent(0, 0)
    if count_erasures(home.outbox).waiting:
        registration = home.registration(now, say)
        sent = send_erasures(home.outbox, registration, home.key(registration), open_ledger(), now)
    return result | {"erased": sent.erased, "unknown": sent.unknown}


def _choose(home: Home, choice: Choice, now: int) -> tuple[list[Details], int]:
    today = day_of(now)
    if choice.records:
        found = find_records(home.outbox, choice.records)
        for position in choice.records:
            if position not in found and not is_decided(home.outbox, position):
                raise CannotGoOn(
                    f"entry {position}",
                    "is no record of this department with a receipt; its number is the one in the log, which "
                    "receipts and lists of accesses show",
                )
        return list(found.values()), 0
    if choice.before is not None:
        return find_before(home.outbox, choice.before, choice.activity, today)
    return (find_due(home.outbox, home.settings.retention, today) if choice.rule else []), 0


def _by_activity(chosen: Sequence[Details]) -> Counter[int]:
    return Counter(one.activity for one in chosen)


def _record(one: Details) -> dict[str, Any]:
    return {"index": one.position, "date": format_date(one.day), "activity": one.activity, "seal": one.seal}


def erasure_lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    lines = []
    if result["dry_run"]:
        for record in result["records"][:_SHOWN]:
            about = f"activity {record['activity']}" if record["activity"] else "sealed once"
            lines.append(f"  entry {record['index']}, {record['date']}, {about}")
        if result["chosen"] > _SHOWN:
            lines.append(f"  … and {result['chosen'] - _SHOWN} more")
        lines.append(f"The details of {records(result['chosen'])} would be erased. Nothing was.")
    else:
        lines.append(sent_words(Sent(result["erased"], result["unknown"])))
    if result["chosen_before"]:
        lines.append(f"Chosen before, and asked for once: {records(result['chosen_before'])}.")
    if result["sealed_still"]:
        lines.append(
            f"{result['sealed_still']} are sealed still, and were left alone: their subjects never saw them."
        )
    if result["without_receipt"]:
        lines.append(
            f"Without a receipt yet, so that they cannot be chosen: {records(result['without_receipt'])}; run this "
            "again later."
        )
    return lines


def erasure_words(home: Home) -> list[str]:
    """What `status` says about erasures, in lines."""
    counts = count_erasures(home.outbox)
    lines = []
    if counts.erased or counts.waiting:
        lines.append(
            f"The details of {records(counts.erased)} are erased, those of {counts.waiting} are to be; "
            f"{counts.kept} are kept."
        )
    return lines + epochkeys.epoch_words(home.settings.home)


def erasure_object(home: Home) -> dict[str, Any]:
    """The same as an object."""
    counts = count_erasures(home.outbox)
    return {
        "details": {"kept": counts.kept, "to_erase": counts.waiting, "erased": counts.erased},
        "epochs": {
            str(epoch): {
                "not_before": format_date(state.not_before),
                "destroyed": format_date(day_of(state.confirmed)) if state.confirmed else None,
            }
            for epoch, state in sorted(epochkeys.read_epochs(home.settings.home).items())
        },
    }


CONSEQUENCES: Final = """\
The VRF key of {epoch} will be destroyed, for good:
  - nobody can be given keys for {epoch} any more, and who has none will never find her accesses of that year;
  - this department cannot tell any more whose they were: its outbox forgets {streams} streams;
  - who fetched her keys before goes on finding them, and evidence and receipts go on holding;
  - every copy of {file} in a backup has to be destroyed by yourself, or all of this is untrue.
People had until {not_before}, as announced on {announced}."""


def ask_to_destroy(home: Home, registration: Registration, epoch: int, now: int) -> list[str]:
    """The first step: the consequences, and the code for the second.  Raises CannotGoOn when it is too early."""
    file = _key_file(home, registration, epoch)
    state, code = epochkeys.ask(home.settings.home, epoch, registration.versions, home.outbox, now)
    streams = sum(stream.epoch == epoch for stream in home.outbox.streams())
    return [
        CONSEQUENCES.format(
            epoch=epoch,
            streams=streams,
            file=file,
            not_before=format_date(state.not_before),
            announced=format_date(day_of(state.announced)),
        ),
        f"To do it, within a day: glassbook department erase-epoch {epoch} --confirm {code}",
    ]


def destroy_epoch(home: Home, registration: Registration, epoch: int, code: str, now: int) -> list[str]:
    """The second step.  Raises CannotGoOn when something is in the way; then nothing was destroyed."""
    _key_file(home, registration, epoch)
    home.hold_keys(alone=True)
    epochkeys.confirm(home.settings.home, epoch, registration.versions, home.outbox, code, now)
    return finish_epoch(home, epoch, now)


def finish_epoch(home: Home, epoch: int, now: int) -> list[str]:
    """What is left of a destruction that was confirmed."""
    forgotten = epochkeys.finish(home.settings.home, epoch, home.settings.vrf.get(epoch), home.outbox, now)
    return [
        f"The VRF key of {epoch} is destroyed; the outbox forgot {forgotten} streams, and keeps the receipts.",
        f"Destroy its copies in backups, too. The line of {epoch} may go from department.toml.",
    ]


def _key_file(home: Home, registration: Registration, epoch: int) -> str:
    """The name of the key's file.  CannotGoOn unless it holds the registered key: another one would be destroyed."""
    if epoch in registration.newest.vrf and epoch not in epochkeys.destroyed_epochs(home.settings.home):
        found = home.seeds().get(epoch)
        if found is None or found.public != registration.newest.vrf[epoch]:
            raise CannotGoOn(
                f"VRF key of {epoch}", "the file that department.toml names does not hold the registered key"
            )
    return str(home.settings.vrf.get(epoch, ""))
