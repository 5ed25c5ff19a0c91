"""A list of violations is exact: one altered byte is one finding, one broken rule is one finding."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from logfactory import DAY, NOW, LogFactory, TestSource

from ledger.client.publiclog import Unreachable
from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.encoding import b64url_encode, format_date
from ledger.core.entries import IndexRoot, Registry, decode_entry, sign_coverage, sign_record, signed_message
from ledger.core.errors import GlassbookError
from ledger.core.jose import jwk, sign_jws
from ledger.core.keys import Ed25519PrivateKey, verify_ed25519
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.note import parse_note
from ledger.core.replay import Replay
from ledger.core.statements import TYP
from ledger.core.tiles import ENTRIES, Tile, encode_bundle, grow_tiles, parse_path
from verifier_cli.auditing import Advanced, advance

STRANGER = Ed25519PrivateKey.from_seed(bytes(32))
TODAY = NOW // 86_400


class Files:
    """A published log in memory."""

    where = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.policy = LogFactory().policy()

    def checkpoint(self) -> bytes:
        return self.files["checkpoint"]

    def tile(self, tile: Tile) -> bytes:
        if tile.path not in self.files:
            raise Unreachable(tile.path, "no such file")
        return self.files[tile.path]

    def signed(self) -> Checkpoint:
        return parse_checkpoint(parse_note(self.checkpoint()).text)


def audited(files: dict[str, bytes], checkpoint: Checkpoint) -> Advanced:
    replay = Replay(checkpoint.origin, NOW, checkpoint.size)
    return advance(Files(files), replay, checkpoint, jobs=1)  # type: ignore[arg-type]


def begun() -> tuple[LogFactory, TestSource, TestSource]:
    """The first hundred entries of a sound log with everything in it."""
    log = LogFactory()
    health = log.add_source(seal_months=12)
    tax = log.add_source("Tax office", since=format_date(DAY))
    for number in range(80):
        log.access(health if number % 3 else tax, day=DAY + number % 2)
        if number % 9 == 0:
            log.access(health, day=DAY, seal=680)
        if number % 30 == 29:
            log.seal_batch()
    log.coverage(tax, DAY, 14)
    return log, health, tax


def ended(log: LogFactory, health: TestSource, tax: TestSource) -> None:
    """As many again, with all that a wrong count, register or index before would make look wrong too."""
    for number in range(160):
        log.access(health, day=DAY + number % 2)
        if number % 50 == 49:
            log.seal_batch()
    log.change_source(health, contact="https://example.gov/elsewhere")
    log.access(health, day=DAY)
    for source in (health, tax):
        for day in (DAY, DAY + 1):
            if not any(_covers(raw, source, day) for raw in log.entries):
                log.coverage(source, day, _put(log, source, day))
    log.seal_batch()


def _put(log: LogFactory, source: TestSource, day: int) -> int:
    """Records of a day that the source has signed so far, by its newest key."""
    count = 0
    for raw in log.entries:
        ours = b"\1\1" + source.number.to_bytes(4, "big")
        if raw[:6] == ours and len(raw) == 146 and raw[8:12] == day.to_bytes(4, "big"):
            count += verify_ed25519(source.key.public, raw[82:], signed_message(log.origin, raw))
    return count


def _covers(raw: bytes, source: TestSource, day: int) -> bool:
    return (
        raw[:2] == b"\1\4"
        and raw[2:6] == source.number.to_bytes(4, "big")
        and raw[8:12] == day.to_bytes(4, "big")
    )


@cache
def published() -> dict[str, bytes]:
    log, health, tax = begun()
    ended(log, health, tax)
    return log.files()


def test_the_log_that_is_damaged_here_is_sound() -> None:
    files = published()
    found = audited(files, Files(files).signed())
    assert found.violations == []
    assert found.summary is not None and found.summary.silent_days > 0
    assert len(files) == 6  # two bundles, two tiles over them, one above, the checkpoint


def _place(path: str, honest: bytes, at: int) -> tuple[int, str]:
    """The entry to which a byte of a file belongs, and the kind of finding."""
    tile = parse_path(path)
    if tile.level != ENTRIES:
        return (tile.n * 256 + at // 32) << 8 * tile.level, "tile"
    slot = place = 0
    while True:
        place += 2 + int.from_bytes(honest[place : place + 2], "big")
        if at < place:
            return tile.n * 256 + slot, "bundle"
        slot += 1


@settings(max_examples=150)
@given(file=st.integers(0, 5), at=st.integers(0, 1 << 20), mask=st.integers(1, 255))
@example(file=1, at=0, mask=1)  # the charter's length
@example(file=1, at=100, mask=32)  # the charter
def test_one_altered_byte_of_any_file_is_one_finding_at_its_place(file: int, at: int, mask: int) -> None:
    files = dict(published())
    path = sorted(files)[file]
    honest = files[path]
    at %= len(honest)
    files[path] = honest[:at] + bytes((honest[at] ^ mask,)) + honest[at + 1 :]
    if path == "checkpoint":
        with pytest.raises(GlassbookError):
            Files(files).policy.open(files[path], NOW)
        return
    found = audited(files, Files(files).signed())
    assert found.of_log == []
    assert [(one.index, one.kind) for one in found.of_copy] == [_place(path, honest, at)]
    # Only an altered entry itself is lost; lengths and tiles are told from the hashes.
    assert (found.summary is None) == (path.startswith("tile/entries") and not _is_length(honest, at))


def _is_length(bundle: bytes, at: int) -> bool:
    place = 0
    while at >= place + 2:
        place += 2 + int.from_bytes(bundle[place : place + 2], "big")
        if at < place:
            return False
    return True


def test_a_broken_rule_before_and_after_an_altered_entry_is_found_if_it_is_one_for_certain() -> None:
    log, health, tax = begun()
    forged = log.access(health, key=STRANGER)
    altered = log.access(health)
    again = log.append(log.entries[8])
    ended(log, health, tax)
    files = log.files()
    path = "tile/entries/000"
    files[path] = files[path].replace(log.entries[altered], bytes(146))
    found = audited(files, Files(files).signed())
    assert [(one.index, one.kind) for one in found.violations] == [
        (forged, "signature"), (altered, "bundle"), (again, "label-taken"),
    ]  # fmt: skip


# -- one broken rule -----------------------------------------------------------------------------------

Break = Callable[[LogFactory, TestSource, TestSource], object]


def _record(log: LogFactory, by: TestSource, **changes: Any) -> int:
    fields: dict[str, Any] = {
        "source": by.number,
        "day": DAY,
        "seal": 0,
        "activity": 1,
        "label": bytes(32),
    } | changes
    return log.append(sign_record(log.origin, by.key, **fields, commitment=bytes(32)))


def _wrong_epoch(log: LogFactory, source: TestSource) -> None:
    record = sign_record(
        log.origin,
        source.key,
        source=source.number,
        day=DAY,
        seal=0,
        activity=1,
        label=bytes(32),
        commitment=bytes(32),
    )
    unsigned = record[:6] + (2025).to_bytes(2, "big") + record[8:82]
    message = b"glassbook/v1/record\n" + bytes((len(log.origin),)) + log.origin.encode() + unsigned
    log.append(unsigned + source.key.sign(message))


def _statement(log: LogFactory, of: TestSource, **changes: Any) -> int:
    """The next version of a source with these members changed or (None) left out, whatever comes of it."""
    before = log.version(of)
    payload: dict[str, Any] = before.statement | {
        "origin": log.origin, "source": of.number, "version": 1, "prev": b64url_encode(before.entry_hash),
    }  # fmt: skip
    signing = changes.pop("signing", log.registrar)
    payload = {name: value for name, value in (payload | changes).items() if value is not None}
    jws = sign_jws(payload, TYP, signing).encode()
    return log.append(Registry(payload["source"], payload["version"], jws).encode())


def _retired(log: LogFactory, source: TestSource, status: str) -> None:
    """Of a third source, which the rest of the log does without."""
    third = log.add_source("Archive", since=format_date(TODAY))
    log.change_source(third, **{"status": status, status: format_date(TODAY)})
    _record(log, third)


def _false_root(log: LogFactory, **changes: Any) -> None:
    at = log.seal_batch()
    root = decode_entry(log.entries.pop())
    assert isinstance(root, IndexRoot)
    log._frontier = _frontier_of(log)
    log.append(root._replace(**changes).encode())
    assert log.size == at + 1


def _frontier_of(log: LogFactory) -> Frontier:
    frontier = Frontier()
    frontier.extend(leaf_hash(raw) for raw in log.entries)
    return frontier


BREAKS: dict[str, tuple[str, Break]] = {
    "a forged record": ("signature", lambda log, health, tax: log.access(health, key=STRANGER)),
    "a forged sealed record": ("signature", lambda log, health, tax: log.access(health, seal=680, key=STRANGER)),
    "a forged late record": ("signature", lambda log, health, tax: log.access(tax, day=DAY, key=STRANGER)),
    "an activity that is not registered": ("activity", lambda log, health, tax: log.access(health, activity=7)),
    "an open record without activity": ("activity", lambda log, health, tax: _record(log, health, activity=0)),
    "a sealed record with an activity": ("activity", lambda log, health, tax: _record(log, health, seal=680)),
    "a seal that is too long": ("seal", lambda log, health, tax: _record(log, health, seal=700, activity=0)),
    "a seal that is over": ("seal", lambda log, health, tax: _record(log, health, seal=600, activity=0)),
    "an epoch that is not the year": ("epoch", lambda log, health, tax: _wrong_epoch(log, health)),
    "an epoch without a VRF key": ("vrf-key", lambda log, health, tax: _record(log, health, day=DAY - 900)),
    "a record of tomorrow": ("day-in-future", lambda log, health, tax: _record(log, health, day=TODAY + 1)),
    "a record of no source": ("source-unknown", lambda log, health, tax: _record(log, health, source=9)),
    "a record of the log itself": ("source-unknown", lambda log, health, tax: _record(log, health, source=0)),
    "a record of a retired source": ("source-retired", lambda log, health, tax: _retired(log, health, "retired")),
    "a record of a revoked source": ("source-revoked", lambda log, health, tax: _retired(log, health, "revoked")),
    "a record twice": ("label-taken", lambda log, health, tax: log.append(log.entries[8])),
    "a coverage twice": ("label-taken", lambda log, health, tax: log.coverage(tax, DAY, 14)),
    "a forged coverage": (
        "signature",
        lambda log, health, tax: log.append(sign_coverage(log.origin, STRANGER, source=1, day=DAY - 5, records=0)),
    ),
    "a coverage that counts one too many": (
        "coverage-count",
        lambda log, health, tax: log.coverage(tax, DAY + 1, _put(log, tax, DAY + 1) + 1),
    ),
    "a coverage of today": ("day-in-future", lambda log, health, tax: log.coverage(health, TODAY, 0)),
    "a registry entry twice": ("label-taken", lambda log, health, tax: log.append(log.entries[1])),
    "a statement by a stranger": ("registry", lambda log, health, tax: _statement(log, tax, signing=STRANGER)),
    "a statement that lacks a member": ("registry", lambda log, health, tax: _statement(log, tax, contact=None)),
    "a statement for another log": ("origin", lambda log, health, tax: _statement(log, tax, origin="log.example/x")),
    "a version left out": ("version-order", lambda log, health, tax: _statement(log, tax, version=2)),
    "a source left out": (
        "source-order",
        lambda log, health, tax: _statement(log, tax, version=0, source=5, prev=None),
    ),
    "a wrong prev": ("prev", lambda log, health, tax: _statement(log, tax, prev=b64url_encode(bytes(32)))),
    "a VRF key changed": (
        "vrf-key",
        lambda log, health, tax: _statement(log, tax, vrf=log.version(health).statement["vrf"]),
    ),
    "since moved later": ("since", lambda log, health, tax: _statement(log, tax, since=format_date(DAY + 9))),
    "the key of another source": (
        "key-role",
        lambda log, health, tax: _statement(log, tax, key=jwk(health.key.public)),
    ),
    "a second charter": ("charter", lambda log, health, tax: log.append(b"\1\2\0\0\0\0\0\0\0\1" + log.entries[0][10:])),
    "garbage": ("malformed", lambda log, health, tax: log.append(b"\1\1 no record")),
    "nothing": ("malformed", lambda log, health, tax: log.append(b"")),
    "an unknown kind": ("malformed", lambda log, health, tax: log.append(b"\1\7" + bytes(50))),
    "covers that is not its place": ("index-covers", lambda log, health, tax: _false_root(log, covers=7)),
    "a false log root": ("log-root", lambda log, health, tax: _false_root(log, log_root=bytes(32))),
    "a false index root": ("index-root", lambda log, health, tax: _false_root(log, index_root=bytes(32))),
    "a false number of labels": ("index-labels", lambda log, health, tax: _false_root(log, labels=3)),
    "a false index": ("index-root", lambda log, health, tax: _false_root(log, labels=3, index_root=bytes(32))),
    "an index root once more": ("index-covers", lambda log, health, tax: log.append(log.entries[log.seal_batch()])),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_one_broken_rule_is_one_finding(name: str) -> None:
    kind, break_it = BREAKS[name]
    log, health, tax = begun()
    break_it(log, health, tax)
    broken = log.size - 1
    ended(log, health, tax)
    files = log.files()
    found = audited(files, Files(files).signed())
    assert [(one.index, one.kind) for one in found.of_log] == [(broken, kind)], found.of_log
    assert found.of_copy == []
    assert found.summary is not None


def test_a_log_that_ends_in_a_record_is_one_finding() -> None:
    log, health, tax = begun()
    ended(log, health, tax)
    last = log.access(health, day=DAY + 2)
    leaves = [leaf_hash(raw) for raw in log.entries]
    files = {tile.path: data for tile, data in grow_tiles(0, {}, leaves)}
    for start in range(0, log.size, 256):
        part = log.entries[start : start + 256]
        files[Tile(ENTRIES, start // 256, len(part)).path] = encode_bundle(part)
    found = audited(files, Checkpoint(log.origin, log.size, _frontier_of(log).root()))
    assert [(one.index, one.kind) for one in found.violations] == [(last, "last-leaf")]
