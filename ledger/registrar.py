"""`glassbook source`: the register of sources; each change is a registry entry, signed by the registrar.

STATEMENT.json is what a department says about its system (docs/formats.md §2, *Source*): the whole statement without
`origin`, `source`, `version` and `prev`, which are added here.  The entry takes the way of every entry: over HTTP
with `--ledger URL`, otherwise straight into the inbox of the operator's database, through the same checks.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from ledger.core.encoding import b64encode, format_date, parse_date
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.jose import parse_json
from ledger.core.registry import Register
from ledger.core.statements import SourceVersion, sign_source
from ledger.files import FileRefused, read_limited
from ledger.keyfiles import REGISTRAR, read_passphrase, read_signing_key
from ledger.service.acceptance import Acceptance, Accepted, Duplicate
from ledger.service.body import Submission
from ledger.service.problems import Refusal, RequestRefused
from ledger.settings import Settings, SettingsRefused, read_settings
from ledger.store import Store, StoreBusy, StoreUnusable, log

STATEMENT_LIMIT = 1 << 16

app = typer.Typer(no_args_is_help=True, help="The register of sources. Each change is an entry of the log.")

Home = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that glassbook init made.")]
Number = Annotated[int, typer.Argument(metavar="SOURCE", min=1, help="The source's number.")]
StatementFile = Annotated[
    Path, typer.Argument(metavar="STATEMENT.json", help="From glassbook department init.")
]
On = Annotated[str, typer.Option("--on", metavar="YYYY-MM-DD", help="The day, UTC.")]
Key = Annotated[Path | None, typer.Option("--key", help="The registrar's key, if not in DIR/keys.")]
PassphraseFile = Annotated[Path | None, typer.Option(help="Its passphrase, in a file of mode 0600.")]
Ledger = Annotated[str | None, typer.Option("--ledger", metavar="URL", help="Hand it in over HTTP.")]

Faults = (GlassbookError, FileRefused, SettingsRefused, StoreUnusable, StoreBusy, OSError)


class _HandInFailed(Exception):
    """The ledger did not take the entry; the message says why."""


@app.command()
def add(
    home: Home,
    statement: StatementFile,
    key: Key = None,
    passphrase_file: PassphraseFile = None,
    ledger: Ledger = None,
) -> None:
    """Register a new source under the next number."""

    def next_version(register: Register) -> tuple[int, dict[str, Any], SourceVersion | None]:
        return len(register.sources) + 1, _read_statement(statement), None

    _change(home, key, passphrase_file, ledger, next_version)


@app.command()
def rotate(
    home: Home,
    source: Number,
    statement: StatementFile,
    key: Key = None,
    passphrase_file: PassphraseFile = None,
    ledger: Ledger = None,
) -> None:
    """State a source anew: another signing key, the next year's VRF key, other activities.

    VRF keys of epochs that the new statement leaves out are kept, as they have to be.
    """

    def next_version(register: Register) -> tuple[int, dict[str, Any], SourceVersion | None]:
        before = _in_force(register, source)
        stated = _read_statement(statement)
        if isinstance(stated.get("vrf"), dict):
            stated["vrf"] = before.statement["vrf"] | stated["vrf"]
        return source, stated, before

    _change(home, key, passphrase_file, ledger, next_version)


@app.command()
def retire(
    home: Home,
    source: Number,
    on: On,
    key: Key = None,
    passphrase_file: PassphraseFile = None,
    ledger: Ledger = None,
) -> None:
    """End a source in good order: no further records; it owes coverage up to that day."""
    _end(home, source, "retired", on, key, passphrase_file, ledger)


@app.command()
def revoke(
    home: Home,
    source: Number,
    on: On,
    key: Key = None,
    passphrase_file: PassphraseFile = None,
    ledger: Ledger = None,
) -> None:
    """End a source whose key is in wrong hands: its records from that day on count as suspect."""
    _end(home, source, "revoked", on, key, passphrase_file, ledger)


@app.command()
def show(
    home: Home,
    source: Annotated[int | None, typer.Argument(metavar="[SOURCE]", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole statements, as JSON.")] = False,
) -> None:
    """Show the register: every source, or one with all its versions."""
    try:
        settings, store = _open(home)
        register, waiting = _register(store, settings.origin)
        store.close()
    except Faults as error:
        raise _stop(str(error)) from None
    if source is not None and source not in register.sources:
        raise _stop(f"source {source} is not registered; glassbook source show {home} lists those that are")
    shown = {number: versions for number, versions in register.sources.items() if source in (None, number)}
    if as_json:
        listed = [_as_object(version, waiting) for versions in shown.values() for version in versions]
        typer.echo(json.dumps({"origin": settings.origin, "sources": listed}, ensure_ascii=False, indent=2))
        return
    if not shown:
        typer.echo("No source is registered yet; run: glassbook source add DIR STATEMENT.json")
    for versions in shown.values():
        for version in versions if source is not None else versions[-1:]:
            typer.echo(_as_line(version, waiting))


def _end(
    home: Path,
    source: int,
    status: str,
    on: str,
    key: Path | None,
    passphrase_file: Path | None,
    ledger: str | None,
) -> None:
    def next_version(register: Register) -> tuple[int, dict[str, Any], SourceVersion | None]:
        before = _in_force(register, source)
        ended = ("status", "retired", "revoked")
        kept = {name: value for name, value in before.statement.items() if name not in ended}
        return source, kept | {"status": status, status: format_date(parse_date(on, "--on"))}, before

    _change(home, key, passphrase_file, ledger, next_version)


def _change(
    home: Path,
    key: Path | None,
    passphrase_file: Path | None,
    ledger: str | None,
    next_version: Callable[[Register], tuple[int, dict[str, Any], SourceVersion | None]],
) -> None:
    try:
        settings, store = _open(home)
        passphrase = read_passphrase(passphrase_file) if passphrase_file else None
        registrar = read_signing_key(key or settings.keys / REGISTRAR, passphrase)
        register, _ = _register(store, settings.origin)
        number, statement, before = next_version(register)
        entry = sign_source(registrar, register.charter, number, statement, before)
        register.check(sum(map(len, register.sources.values())) + 1, entry)
        outcome = asyncio.run(_put(store, settings, entry)) if ledger is None else _post(ledger, entry)
        store.close()
    except (*Faults, _HandInFailed) as error:
        raise _stop(str(error)) from None
    version = 0 if before is None else before.version + 1
    typer.echo(f"source {number} version {version}: {outcome}")


async def _put(store: Store, settings: Settings, entry: bytes) -> str:
    acceptance = Acceptance(store, settings.origin, settings.inbox_limit)
    try:
        acceptance.refresh()
        (outcome,) = await acceptance.accept([Submission(entry, None, None)], int(time.time()))
    except RequestRefused as error:
        raise _HandInFailed(error.refusal.detail) from None
    finally:
        acceptance.close()
    if isinstance(outcome, Refusal):
        raise _HandInFailed(f"refused ({outcome.code}): {outcome.detail}")
    if isinstance(outcome, Duplicate):
        return f"is in the log already, at index {outcome.at}"
    assert isinstance(outcome, Accepted)
    return "accepted; the sequencer gives it its place in the log"


def _post(url: str, entry: bytes) -> str:
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}/v1/entries", json={"entries": [{"entry": b64encode(entry)}]}, timeout=30
        )
        found = parse_json(answer.content, "the ledger's answer")
        if answer.status_code != 200:
            raise _HandInFailed(f"the ledger answers {answer.status_code}: {found.get('detail')}")
        (result,) = found["results"]
        if result["status"] == "refused":
            raise _HandInFailed(f"refused: {result['problem']['detail']}")
        return str(result["status"])
    except httpx.HTTPError as error:
        raise _HandInFailed(
            f"{url}: does not answer ({type(error).__name__}); is the ledger running?"
        ) from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise _HandInFailed(f"{url}: answers something else than a ledger would") from None


def _open(home: Path) -> tuple[Settings, Store]:
    settings = read_settings(home)
    return settings, Store.open(settings.database)


def _register(store: Store, origin: str) -> tuple[Register, set[bytes]]:
    """The register as log and inbox make it, and the hashes of the entries that are still in the inbox."""
    register, waiting = Register(origin), set()
    with store.read() as db:
        for number, index, entry in log.read_registrations(db):
            stated = register.add(number - 1, entry)
            if index is None:
                waiting.add(stated.entry_hash)
    return register, waiting


def _in_force(register: Register, source: int) -> SourceVersion:
    version = register.in_force(source)
    if version is None:
        raise FileRefused(f"source {source} is not registered; glassbook source show lists those that are")
    return version


def _read_statement(path: Path) -> dict[str, Any]:
    found = parse_json(read_limited(path, STATEMENT_LIMIT), str(path))
    if not isinstance(found, dict):
        raise Malformed(str(path), "not a JSON object")
    for name in ("origin", "source", "version", "prev"):
        if name in found:
            raise Malformed(str(path), f"member {name} is added by the registrar; leave it out")
    return found


def _as_object(version: SourceVersion, waiting: set[bytes]) -> dict[str, Any]:
    return {
        "source": version.source,
        "version": version.version,
        "state": "accepted" if version.entry_hash in waiting else "sequenced",
        **version.statement,
    }


def _as_line(version: SourceVersion, waiting: set[bytes]) -> str:
    name = version.system.get("en") or next(iter(version.system.values()))
    department = version.department.get("en") or next(iter(version.department.values()))
    ended = version.revoked if version.status == "revoked" else version.retired
    status = version.status if ended is None else f"{version.status} on {format_date(ended)}"
    epochs = ", ".join(str(epoch) for epoch in sorted(version.vrf))
    place = "; not sequenced yet" if version.entry_hash in waiting else ""
    return (
        f"source {version.source} version {version.version}: {department}, {name}; {status}; "
        f"since {format_date(version.since)}; epochs {epochs}; {len(version.activities)} activities{place}"
    )


def _stop(text: str) -> typer.Exit:
    typer.echo(f"glassbook source: {text}", err=True)
    return typer.Exit(3)
