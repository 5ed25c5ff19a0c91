"""What a witness tells its operator in words: after `--init`, with `--status`, and at `/healthz`."""

from __future__ import annotations

from contextlib import closing

from ledger.core.note import COSIGNATURE, VerifierKey
from verifier_cli.auditfile import AuditFile
from verifier_cli.cosigning import Request
from verifier_cli.witnessfile import Alarm, WitnessFile
from verifier_cli.words import time_in_words


def init_words(file: WitnessFile, url: str | None) -> list[str]:
    """What to do next with a new witness, line by line. `url` is where it will be reached, if that is known."""
    what = (
        "an auditor: it cosigns what it has audited"
        if file.auditor
        else "a plain witness: it reads no entries"
    )
    mark = " --auditor" if file.auditor else ""
    lines = [f"{file.path} is {what}. It is never copied, and never restored from an old copy.", ""]
    if not file.origins():
        reads = " --log URL|DIR" if file.auditor else ""
        lines += [
            "Tell it of a log, with each of the keys that log's policy.txt names:",
            f"    glassbook-verify witness {file.path} --log-vkey VKEY --log-vkey VKEY{reads}",
        ]
    lines += ["Then serve it:", f"    glassbook-verify witness {file.path} --listen HOST:PORT"]
    lines += ["The log's operator takes it up with:"]
    lines += [f"    glassbook witness add '{vkey.text}' {url or 'URL'}{mark}" for vkey in file.vkeys]
    return lines


def key_words(vkey: VerifierKey) -> str:
    """A verifier key in short: an ML-DSA-44 key is 1,760 letters long."""
    return vkey.text if vkey.kind == COSIGNATURE else f"{vkey.name}+{vkey.key_id.hex()}+… (ML-DSA-44)"


def clock_words(until: int) -> str:
    """What the operator hears when nothing can be cosigned before `until` (Unix seconds)."""
    return (
        f"this clock is before {time_in_words(until)}, the time of what was audited or cosigned last. Set it. If it is"
        " right, it was ahead then, and nothing is cosigned before that time: see docs/witness.md, Clock"
    )


def status_words(file: WitnessFile) -> list[str]:
    """What this witness is and how it stands with each log, line by line."""
    kind = "an auditor" if file.auditor else "a plain witness"
    lines = [f"{file.name}, {kind}"]
    lines += [f"  key {key_words(vkey)}" for vkey in file.vkeys]
    for origin in file.origins():
        lines += ["", f"log {origin}", *_log_words(file, origin)]
    if not file.origins():
        lines += ["", "no log yet: tell it of one with --log-vkey"]
    return lines


def health_words(file: WitnessFile) -> str:
    """A few lines for `/healthz`: each log, its size cosigned, and which alarms stand."""
    lines = ["ok"]
    for origin in file.origins():
        alarms = [alarm.kind for alarm in file.alarms(origin) if alarm.ended is None]
        told = f"; alarms: {', '.join(alarms)}" if alarms else ""
        lines.append(f"{origin} cosigned at size {file.seen(origin).size}{told}")
    return "\n".join(lines) + "\n"


def _log_words(file: WitnessFile, origin: str) -> list[str]:
    seen = file.seen(origin)
    lines = [
        f"  cosigned last: size {seen.size}, on {time_in_words(seen.cosigned)}"
        if seen.cosigned
        else "  nothing was cosigned yet"
    ]
    if file.auditor:
        lines += _audit_words(file, origin, seen.size)
    alarms = file.alarms(origin)
    lines += [f"  {_alarm_words(alarm)}" for alarm in alarms] or ["  no alarm"]
    return lines


def _audit_words(file: WitnessFile, origin: str, cosigned: int) -> list[str]:
    with closing(AuditFile(file.open_again(), str(file.path))) as saved:
        size = saved.size(origin)
    places = file.places(origin)
    lines = [f"  read at: {', '.join(places)}" if places else "  read nowhere: tell it where with --log"]
    asked = file.asked(origin)
    wanted = file.wanted(origin)
    aim = max(asked.size if asked else 0, Request.kept(wanted).checkpoint.size if wanted else 0, cosigned)
    behind = f"behind by {aim - size} entries of the {aim} asked for" if aim > size else "not behind"
    return [*lines, f"  audited to: entry {size}; {behind}"]


def _alarm_words(alarm: Alarm) -> str:
    when = f"since {time_in_words(alarm.first)}"
    if alarm.ended is not None:
        when = f"over on {time_in_words(alarm.ended)}"
    elif alarm.last > alarm.first:
        when += f", last on {time_in_words(alarm.last)}"
    kept = f" (evidence: {alarm.evidence})" if alarm.evidence else ""
    return (
        f"ALARM {alarm.kind}, {when}: {alarm.text}{kept}"
        if alarm.ended is None
        else f"{alarm.kind}, {when}: {alarm.text}"
    )
