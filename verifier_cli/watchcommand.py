"""The command `glassbook-verify watch`: its options, its signals, and the time between two rounds."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from verifier_cli.commandline import log_at, now, read_policy, run
from verifier_cli.options import (
    JOBS,
    AuditOption,
    JobsOption,
    JsonOption,
    LangOption,
    LogOption,
    PolicyOption,
    StateOption,
)
from verifier_cli.outcome import Line, Outcome, Verdict

if TYPE_CHECKING:
    from verifier_cli.watch import Watch

PROMPTLY = 5.0
"""Seconds after a signal within which the program has ended, whatever the network does."""
FLUSH_SECONDS = 15.0
"""How long `--once` waits for webhooks; what they have not taken then is told the next time."""


def watch(
    policy: PolicyOption,
    log: LogOption,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    until_violation: Annotated[
        bool, typer.Option("--until-violation", help="End as soon as something is refuted.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", min=0.1, help="Between two looks.")
    ] = 60.0,
    stale: Annotated[
        int | None,
        typer.Option(
            "--stale",
            metavar="SECONDS",
            min=1,
            show_default=False,
            help="How old the newest cosignature may be; else as the charter promises.",
        ),
    ] = None,
    silent: Annotated[
        int, typer.Option("--silent", metavar="DAYS", min=1, help="Days without coverage before a word.")
    ] = 1,
    patience: Annotated[
        int, typer.Option("--gone", metavar="SECONDS", min=0, help="How long a witness may be missing.")
    ] = 0,
    unreachable: Annotated[
        int, typer.Option("--unreachable", metavar="SECONDS", min=0, help="How long the log may not answer.")
    ] = 600,
    webhook: Annotated[
        list[str] | None,
        typer.Option(
            "--webhook", metavar="URL", help="Told of each event; may be repeated.", show_default=False
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="HOST:PORT",
            show_default=False,
            help="Figures for Prometheus (needs the extra `watch`).",
        ),
    ] = None,
    audit: AuditOption = None,
    jobs: JobsOption = JOBS,
    as_json: JsonOption = False,
    lang: LangOption = "en",
    state: StateOption = None,
) -> None:
    """Audit what is new, for ever; say what begins and ends to be wrong."""
    if once and until_violation:
        raise typer.BadParameter("--once and --until-violation: give one of them")
    address = None if metrics is None else _address(metrics)
    _check_webhooks(webhook or ())
    about: dict[str, Any] = {"log": log}

    def work() -> Outcome:
        from ledger.client.seen import data_path, default_path
        from verifier_cli.auditprogress import AuditProgress
        from verifier_cli.stats import told_by_name
        from verifier_cli.watch import Places, Watch, Wishes
        from verifier_cli.watchrules import witnesses_of

        about["policy"] = policy.read_bytes()
        trusted = read_policy(policy)
        places = Places(state or default_path(trusted), audit or data_path(trusted, "audit", ".sqlite"))
        wishes = Wishes(stale, silent, patience, unreachable, jobs, lang)
        stop = threading.Event()
        with told_by_name(places.audit):
            source = log_at(log)
            watched = Watch(
                source, trusted, places, wishes,
                clock=now, tell=_teller(as_json, quiet=as_json and once), say=_say, urls=webhook or (),
                about=about, bar=lambda: AuditProgress(as_json), stop=stop,
            )  # fmt: skip
            try:
                with _ended_by_signals(watched), _metrics(watched, address):
                    if not once:
                        _say(f"watching {trusted.origin} every {interval:g} s; remembered in {places.seen}")
                        if not witnesses_of(trusted):
                            _say(
                                "no witness in this policy states a time: whether the log is stale cannot be told"
                            )
                    _rounds(watched, interval, once, until_violation)
                    watched.flush(FLUSH_SECONDS if (once or until_violation) and not stop.is_set() else 0)
            finally:
                watched.close()
                with suppress(OSError):
                    watched.keep()
                source.close()
            return _outcome(watched, stopped=stop.is_set(), compact=as_json and not once)

    run("watch", as_json, work, about)


def _rounds(watched: Watch, interval: float, once: bool, until_violation: bool) -> None:
    from ledger.files import FileRefused
    from verifier_cli.auditing import Stopped

    first = True
    while not watched.stop.is_set():
        try:
            watched.round()
            first = False
        except Stopped:
            return
        except (OSError, FileRefused, sqlite3.Error) as error:
            if once or first:
                raise
            # Of this computer, such as a full disk: no reason to look away from the log.
            _say(f"this round could not be finished: {error}")
            watched.figures.rounds = watched.figures.rounds | {
                "fault": watched.figures.rounds.get("fault", 0) + 1
            }
        if once or (until_violation and watched.verdict() is Verdict.REFUTED):
            return
        watched.stop.wait(interval)


def _outcome(watched: Watch, stopped: bool, compact: bool) -> Outcome:
    firing = list(watched.alerts)
    verdict = watched.verdict()
    if stopped and verdict is Verdict.NOT_COMPLETE:
        # Ended as it was told to: what it had to say it has said.
        verdict = Verdict.HOLDS
    figures = watched.figures
    result = {
        "size": figures.size,
        "audited": figures.audited,
        "newest_witness_timestamp": figures.newest,
        "violations": figures.violations,
        "alerts": [
            {
                "kind": alert.kind, "key": alert.key, "message": alert.message, "since": alert.since,
                "raised": alert.raised, "details": alert.details, "evidence_file": alert.evidence_file,
            }
            for alert in firing
        ],
    }  # fmt: skip
    lines = [Line(f"{alert.kind}: {alert.message}", "bad") for alert in firing]
    evidence = next((alert.evidence_file for alert in watched.alerts.counting_as("refuted")), None)
    end = "stopped; " if stopped else ""
    if firing:
        message = f"{end}{len(firing)} alert{'s' * (len(firing) != 1)} at size {figures.size}"
    elif verdict is Verdict.HOLDS:
        message = f"{end}all is well up to size {figures.size}, {figures.audited} entries audited"
    elif stopped:
        message = "stopped before the first look was done; what was audited until then is kept"
    else:
        message = "the log has given nothing that can be checked"
    return Outcome("watch", verdict, message, result, lines, evidence, compact=compact)


def _teller(as_json: bool, quiet: bool) -> Callable[[dict[str, Any]], None]:
    """Says each event on stdout: a line of text, or of JSON."""

    def tell(event: dict[str, Any]) -> None:
        if quiet:
            return
        if as_json:
            line = json.dumps(event, ensure_ascii=False)
        else:
            at = datetime.fromtimestamp(event["ended"] or event["raised"], UTC)
            what = f"{event['message']}"
            if event["event"] == "began" and event["evidence_file"]:
                what += f"; evidence: {event['evidence_file']}"
            line = f"{at:%Y-%m-%dT%H:%M:%SZ} {event['event'].upper()} {event['kind']}: {what}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    return tell


def _say(text: str) -> None:
    with suppress(OSError):
        print(f"watch: {text}", file=sys.stderr, flush=True)


@contextmanager
def _ended_by_signals(watched: Watch) -> Iterator[None]:
    """SIGINT and SIGTERM end the watch after what it is doing, and after a moment in any case.

    Everything it keeps is replaced in one step, so it may be cut off anywhere.
    """

    def cut_off() -> None:
        # The main thread may be anywhere, and is not waited for.
        code = 1 if watched.alerts.counting_as("refuted") else 0
        _say("stopped in the middle of a request; what was found before is kept")
        for child in multiprocessing.active_children():
            child.terminate()
        os._exit(code)

    def end(_signal: int, _frame: FrameType | None) -> None:
        if not watched.stop.is_set():
            watched.stop.set()
            timer.start()

    timer = threading.Timer(PROMPTLY, cut_off)
    timer.daemon = True
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        timer.cancel()


@contextmanager
def _metrics(watched: Watch, address: tuple[str, int] | None) -> Iterator[None]:
    if address is None:
        yield
        return
    from verifier_cli.watchmetrics import MetricsServer

    server = MetricsServer(address, watched.figures)
    _say(f"figures at http://{address[0]}:{server.port}/metrics")
    try:
        yield
    finally:
        server.close()


def _address(text: str) -> tuple[str, int]:
    try:
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError:
        _say("--metrics needs prometheus-client; run: pip install 'glassbook[watch]'")
        raise typer.Exit(2) from None
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise typer.BadParameter(f"--metrics {text}: give HOST:PORT, such as 127.0.0.1:9464")
    return host, int(port)


def _check_webhooks(urls: Sequence[str]) -> None:
    from ledger.core.errors import Malformed
    from verifier_cli.watchhooks import host_of

    for url in urls:
        try:
            host_of(url)
        except Malformed as error:
            raise typer.BadParameter(str(error)) from None
