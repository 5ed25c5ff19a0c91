"""Every kind of violation, in a real broken log: found by the replay, written to a file, judged by a third party."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from logfactory import DAY, NOW, LogFactory, TestSource, seed
from ran import Run

from ledger.client.folderlog import FolderLog
from ledger.core.encoding import b64url_encode
from ledger.core.entries import IndexRoot, Registry, decode_entry, sign_coverage, sign_record
from ledger.core.jose import jwk, sign_jws, split_jws
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.replay import _SECTIONS, Replay, Violation, bad_signatures
from ledger.core.statements import TYP
from verifier_cli.violation import write_violation_evidence
from verifier_cli.violationfile import KINDS, Shown

Break = Callable[[LogFactory], int]
"""Puts something into a log that breaks a rule, and says at which leaf."""


def _statement(log: LogFactory, of: TestSource, /, **changes: Any) -> bytes:
    """The next version of a source, signed by the registrar whatever it says; outer members may be changed too."""
    before = log.version(of)
    payload = {
        "origin": log.origin,
        "source": of.number,
        "version": before.version + 1,
        "prev": b64url_encode(before.entry_hash),
        **before.statement,
        **changes,
    }
    source, version = changes.pop("outer", (payload["source"], payload["version"]))
    payload.pop("outer", None)
    if payload["version"] == 0:
        payload.pop("prev")
    jws = sign_jws(payload, TYP, log.registrar).encode()
    return Registry(source, version, jws).encode()


def _root(log: LogFactory, **changes: Any) -> int:
    covers = len(log.entries)
    true = IndexRoot(covers, log._frontier.root(), log._index.root, log._index.labels)
    index = log.append(true._replace(**changes).encode())
    log.access(log.sources[0])
    return index


def _record(log: LogFactory, **changes: Any) -> int:
    fields: dict[str, Any] = {
        "source": 1,
        "day": DAY,
        "seal": 0,
        "activity": 1,
        "label": seed("x"),
        "commitment": bytes(32),
    }
    return log.append(sign_record(log.origin, log.sources[0].key, **(fields | changes)))


def _resigned(log: LogFactory, raw: bytes) -> int:
    """A record with a field that `sign_record` would not write, signed all the same."""
    from ledger.core.entries import signed_message

    return log.append(raw[:82] + log.sources[0].key.sign(signed_message(log.origin, raw)))


def _epoch(log: LogFactory) -> int:
    raw = log.entries[_record(log)]
    log.entries.pop()
    rebuilt = _without_last(log)
    assert rebuilt is log
    return _resigned(log, raw[:6] + (2025).to_bytes(2, "big") + raw[8:])


def _without_last(log: LogFactory) -> LogFactory:
    """The tree and index again over the entries that are left."""
    entries = list(log.entries)
    fresh = LogFactory()
    log._frontier, log._index, log.register = fresh._frontier, fresh._index, fresh.register
    log.entries = fresh.entries
    for raw in entries[1:]:
        log.append(raw)
    return log


def _broken_charter(log: LogFactory) -> int:
    payload = split_jws(log.entries[0][10:].decode(), "").payload | {"spec": "another"}
    log.entries[0] = Registry(0, 0, sign_jws(payload, TYP, log.registrar).encode()).encode()
    entries = list(log.entries)
    from ledger.core.index import MemoryRows, PrefixTree
    from ledger.core.merkle import Frontier

    log._frontier, log._index, log.entries = Frontier(), PrefixTree(MemoryRows(12), 12), []
    for raw in entries:
        log.append(raw)
    return 0


def _change(**changes: Any) -> Break:
    return lambda log: log.append(_statement(log, log.sources[0], **changes))


def _after(status: str, **date: str) -> Break:
    def make(log: LogFactory) -> int:
        log.change_source(log.sources[0], status=status, **date)
        return _record(log)

    return make


def _reactivated(log: LogFactory) -> int:
    log.change_source(log.sources[0], status="retired", retired="2026-06-30")
    statement = {k: v for k, v in log.version(log.sources[0]).statement.items() if k != "retired"}
    before = log.version(log.sources[0])
    payload = {
        "origin": log.origin, "source": 1, "version": 2, "prev": b64url_encode(before.entry_hash),
        **statement, "status": "active",
    }  # fmt: skip
    return log.append(Registry(1, 2, sign_jws(payload, TYP, log.registrar).encode()).encode())


def _tampered(log: LogFactory) -> int:
    raw = bytearray(_statement(log, log.sources[0]))
    raw[-3] = ord("A") if raw[-3] != ord("A") else ord("B")
    return log.append(bytes(raw))


def _last_leaf(log: LogFactory) -> int:
    log.seal_batch()
    index = log.access(log.sources[0])
    log.seal_batch = lambda: 0  # type: ignore[method-assign]
    log.note = lambda timestamp=NOW: log.sign(log.size, log._frontier.root(), timestamp)  # type: ignore[method-assign]
    return index


def _vrf_of(number: int) -> dict[str, str]:
    from ledger.core import vrf

    return {
        "2025": b64url_encode(vrf.public_key(seed(f"vrf {number} 2025"))),
        "2026": b64url_encode(vrf.public_key(seed("another"))),
    }


BROKEN: Sequence[tuple[str, str, Break]] = [
    ("malformed", "an unknown kind", lambda log: log.append(b"\x01\x09 no such kind")),
    ("malformed", "an empty entry", lambda log: log.append(b"")),
    ("last-leaf", "a record last", _last_leaf),
    ("charter", "source 0 again", lambda log: log.append(Registry(0, 1, log.entries[0][10:]).encode())),
    ("registry", "a false charter", _broken_charter),
    ("index-covers", "covers one less", lambda log: _root(log, covers=len(log.entries) - 1)),
    ("log-root", "another root", lambda log: _root(log, log_root=bytes(32))),
    ("index-root", "another index root", lambda log: _root(log, index_root=bytes(32))),
    ("index-labels", "one label less", lambda log: _root(log, labels=3)),
    ("day-in-future", "a record", lambda log: _record(log, day=NOW // 86_400 + 2)),
    ("day-in-future", "a coverage", lambda log: log.coverage(log.sources[0], NOW // 86_400, 0)),
    ("coverage-count", "one more", lambda log: log.coverage(log.sources[0], DAY, 9)),
    ("label-taken", "a record again", lambda log: log.append(log.entries[4])),
    (
        "label-taken", "a second coverage",
        lambda log: (log.coverage(log.sources[0], DAY, 3), log.coverage(log.sources[0], DAY, 3))[1],
    ),
    ("label-taken", "an old version again", lambda log: log.append(log.entries[1])),
    ("registry", "a signature that is not the registrar's", _tampered),
    ("registry", "a member too many", _change(extra=1)),
    ("origin", "signed for another log", _change(origin="log.example.org/other")),
    ("payload", "another version inside", _change(outer=(1, 1), version=2)),
    ("name", "a scheme that the charter does not know", _change(schemes=["passport"])),
    ("key-role", "the key of the other source", lambda log: _change(key=jwk(log.sources[1].key.public))(log)),
    ("key-role", "the registrar's key", lambda log: _change(key=jwk(log.registrar.public))(log)),
    ("prev", "another hash", _change(prev=b64url_encode(bytes(32)))),
    ("vrf-key", "another VRF key", _change(vrf=_vrf_of(1))),
    ("vrf-key", "a record of an epoch without key", lambda log: _record(log, day=DAY - 800)),
    ("status", "active again", _reactivated),
    ("since", "moved later", _change(since="2026-06-29")),
    ("source-order", "source 9 after 2", _change(source=9, version=0, prev=None)),
    ("version-order", "version 5 after 0", _change(version=5)),
    ("source-unknown", "a record of source 7", lambda log: _record(log, source=7)),
    ("source-unknown", "a coverage of source 0", lambda log: log.append(
        sign_coverage(log.origin, log.sources[0].key, source=0, day=DAY, records=0))),
    ("source-retired", "a record after it", _after("retired", retired="2026-06-30")),
    ("source-revoked", "a record after it", _after("revoked", revoked="2026-06-30")),
    ("epoch", "last year's", _epoch),
    ("activity", "not registered", lambda log: _record(log, activity=7)),
    ("activity", "none, though open", lambda log: _record(log, activity=0)),
    ("seal", "where none is allowed", lambda log: _record(log, seal=700, activity=0)),
    ("signature", "a record by another key", lambda log: log.access(log.sources[0], key=Ed25519PrivateKey.generate())),
    ("signature", "a coverage by another key", lambda log: log.append(
        sign_coverage(log.origin, log.sources[1].key, source=1, day=DAY, records=3))),
]  # fmt: skip
NAMES = [f"{kind}: {what}" for kind, what, _ in BROKEN]


@pytest.fixture
def log() -> LogFactory:
    """Two sources, three records of the first, an index root, and something more behind whatever breaks a rule."""
    log = LogFactory()
    health, _ = log.add_source(), log.add_source("Tax office")
    for _ in range(3):
        log.access(health)
    log.seal_batch()
    return log


def _found(log: LogFactory) -> tuple[Replay, list[Violation]]:
    replay = Replay(log.origin, NOW)
    replay.report(bad_signatures(log.origin, replay.feed_many(log.entries)))
    replay.finish()
    return replay, replay.violations


def _evidence(log: LogFactory, make: Break, folder: Path) -> tuple[int, Violation, Path]:
    """Break the log, publish it, and write the evidence of the violation there."""
    index = make(log)
    if not isinstance(decode_entry(log.entries[-1]) if index != log.size - 1 else None, IndexRoot):
        log.note()
    published = log.publish(folder / "public")
    (folder / "policy.txt").write_text(log.policy_text())
    replay, violations = _found(log)
    found = next(violation for violation in violations if violation.index == index)
    path = write_violation_evidence(
        FolderLog(published), (published / "checkpoint").read_bytes(), found, replay, folder / "evidence"
    )
    assert path is not None
    return index, found, Path(path)


@pytest.mark.parametrize(("kind", "make"), [(kind, make) for kind, _, make in BROKEN], ids=NAMES)
def test_each_kind_of_violation_is_proven_by_its_file_or_says_what_it_takes(
    run: Run, log: LogFactory, tmp_path: Path, kind: str, make: Break
) -> None:
    index, found, path = _evidence(log, make, tmp_path)
    assert found.kind == kind
    ran = run("violation", path, "--policy", "policy.txt", "--json")
    result = ran.json["result"]
    assert (result["kind"], result["index"], result["rule"]) == (kind, index, f"formats.md {found.rule}")
    if KINDS[kind].shown is Shown.REPLAY:
        assert (ran.exit, result["proven"]) == (3, False)
        assert f"--to {index + 1}" in ran.json["message"]
    else:
        assert ran.exit == 1, ran.json["message"]
        assert result["proven"] and ran.json["evidence_file"] == str(path)
        assert f"entry {index} of {log.origin} breaks docs/formats.md {found.rule}" in ran.json["message"]


def test_every_kind_a_replay_knows_is_in_the_table_with_its_section_and_broken_above() -> None:
    assert {kind: KINDS[kind].section for kind in _SECTIONS if kind in KINDS} == {
        kind: section for kind, section in _SECTIONS.items() if kind in KINDS
    }
    copies = {kind for kind in KINDS if KINDS[kind].shown is Shown.COPY}
    # Two cannot come up: no charter names its own log as predecessor's, and no day after 9999 is in the past.
    assert {kind for kind, _, _ in BROKEN} | copies | {"predecessor", "day"} == set(KINDS)
