"""When a log that breaks no rule still is not well: stale, a witness gone, a source silent.

All three are judged by the time that witnesses state, never by the log's own word.
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.core.encoding import day_of, format_date
from ledger.core.policy import Opened, Policy, Witness
from ledger.core.replay import Replay
from verifier_cli.watchalerts import Condition
from verifier_cli.words import day_in_words, in_language, plain, time_in_words

CLOCK = "If this computer's clock is ahead, that alone looks the same: compare it with another."


def witnesses_of(policy: Policy) -> list[Witness]:
    """The witnesses of a policy but for the log's own key, which stands among them."""
    return [witness for witness in policy.witnesses if witness.vkey.name != policy.origin]


def stale(newest: int | None, now: int, limit: int) -> list[Condition]:
    """No witness dates a checkpoint within the last `limit` seconds; `newest` is the newest timestamp seen."""
    if newest is None or now - newest <= limit:
        return []
    message = (
        f"the newest time that a witness states is {time_in_words(newest)}, {in_words(now - newest)} before this"
        f" computer's clock; at most {in_words(limit)} was promised. {CLOCK}"
    )
    return [Condition("stale", "", message, newest + limit, {"newest": newest, "limit_s": limit})]


def latest_by_witness(opened: Opened, policy: Policy) -> dict[str, int]:
    """The newest counted timestamp of each witness on a checkpoint, by vkey."""
    found: dict[str, int] = {}
    for witness in witnesses_of(policy):
        times = [
            good.timestamp
            for good in opened.good
            if good.vkey == witness.vkey and good.vkey in opened.counted and good.timestamp is not None
        ]
        if times:
            found[witness.vkey.text] = max(times)
    return found


def witnesses_gone(
    opened: Opened, policy: Policy, cosigned: Mapping[str, int], now: int, limit: int, patience: int
) -> list[Condition]:
    """Witnesses whose cosignature is missing on the newest checkpoint, or older than its newest one by `limit` seconds.

    `cosigned` is the newest time seen of each, by vkey; one is left alone while that is at most `patience` seconds
    before the newest of all.
    """
    found = []
    present = latest_by_witness(opened, policy)
    newest = now if opened.newest is None else opened.newest
    for witness in witnesses_of(policy):
        here, last = present.get(witness.vkey.text), cosigned.get(witness.vkey.text)
        if here is not None and newest - here <= limit:
            continue
        if last is not None and newest - last <= patience:
            continue
        name = plain(witness.name)
        size = opened.checkpoint.size
        if here is not None:
            others = time_in_words(newest)
            message = f"witness {name} last cosigned size {size} on {time_in_words(here)}, others on {others}"
        elif any(good.vkey == witness.vkey for good in opened.good):
            message = (
                f"witness {name} states a time that this computer's clock has not reached, or none. {CLOCK}"
            )
        else:
            seen = "never seen here" if last is None else f"last seen on {time_in_words(last)}"
            message = f"witness {name} has not cosigned the newest checkpoint, size {size}; {seen}"
        since = here or last or now
        found.append(
            Condition(
                "witness", witness.vkey.text, message, since, {"witness": name, "auditor": witness.auditor}
            )
        )
    return found


def silent_sources(replay: Replay, days: int, lang: str) -> list[Condition]:
    """Sources that owe coverage up to now and have given none for at least the last `days` days that they owe."""
    found = []
    last = day_of(replay.newest) - 2
    for source, versions in replay.register.sources.items():
        _, end = replay.register.owes_coverage(source)
        if end is not None and end < last:
            continue
        run = replay.counts.silent_run(source, replay.register, replay.newest)
        if len(run) < days:
            continue
        department = in_language(versions[-1].department, lang)
        system = in_language(versions[-1].system, lang)
        message = (
            f"{department} · {system} (source {source}) has stated no coverage since {day_in_words(run.start)}, that"
            f" day included: for {len(run)} day{'s' * (len(run) != 1)} up to {day_in_words(run[-1])}"
        )
        details = {
            "source": source,
            "department": department,
            "since_day": format_date(run.start),
            "days": len(run),
        }
        found.append(Condition("silent", str(source), message, run.start * 86_400, details))
    return found


def in_words(seconds: int) -> str:
    """A length of time in its two largest units."""
    parts = []
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}{'s' * (count != 1)}")
    return " ".join(parts[:2]) or "0 seconds"
