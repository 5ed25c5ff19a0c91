"""Evidence that a log broke a rule of docs/formats.md: one file per violation, checkable with a policy alone.

A `violation-INDEX-KIND-HASH.json` file, format `glassbook-violation/1`:

    {"format": "glassbook-violation/1",
     "violation": {"index": 17, "kind": "label-taken", "rule": "formats.md §5", "detail": "…"},
     "checkpoint": "log.example.gov/…\\n…",           the signed note that all of it stands under
     "entry": {"index": 17, "entry": "<base64>", "proof": ["<base64>", …]},
     "charter": {…}, "other": {…},                   further entries, each with its inclusion proof
     "index_root": {"entry": "<base64>", "proof": […]}, "index_proof": "<base64>",
     "prefix": {"root": "<base64>", "proof": […]},
     "leaf_hash": "<base64>"}

What is there beside the entry depends on the kind: `KINDS` says it. `other` is the version of the source in force,
the version before, the first entry under a taken label, or the statement that has a key already. `index_proof` shows,
under the log's own index root, that the next version of the source comes later or never, or that a statement is
absent: should that index be false, the log broke a rule all the more. `prefix` is the root of the entries before an
index root, with the consistency proof from there. `leaf_hash` is the leaf that was signed where a copy holds another
entry: then `entry` is that other one.

The file is not signed and nothing in it is believed before it is checked: neither the kind nor the words for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ledger.core.encoding import b64decode, b64encode
from ledger.core.errors import Malformed
from ledger.core.jose import integer, parse_json
from ledger.core.merkle import HASH_BYTES
from ledger.core.receipt import IndexRootProof, index_root_object, read_index_root
from ledger.core.replay import Violation
from ledger.core.tlogproof import MAX_HASHES
from ledger.core.unsigned import base64_member, format_file, member, text_member

FORMAT = "glassbook-violation/1"


class Shown(Enum):
    """What, beside the entry in the signed tree, shows a kind of violation."""

    ENTRY = "the entry alone"
    CHARTER = "the charter, which says whose signature and what members the entry needs"
    PREFIX = "the root of the entries before it, proven to be that by the signed tree"
    FIRST = "the first entry under the same label"
    IN_FORCE = "the version of the source in force for it, and that the next one comes later or never"
    BEFORE = "the version of the source before it"
    HOLDER = "the statement that gives the same key another role"
    ABSENT = "that the log's own index has no statement before it that would have to be there"
    REPLAY = "all entries before it: a replay of the log"
    COPY = "nothing, since no rule was broken by the log: the copy read is not the log that was signed"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of violation: the section of docs/formats.md that it breaks, and what shows it."""

    section: str
    shown: Shown
    words: str


KINDS: Mapping[str, Kind] = {
    "malformed": Kind("§2", Shown.ENTRY, "it is no entry of any version and kind"),
    "last-leaf": Kind("§2", Shown.ENTRY, "the last entry of a checkpoint is an index root"),
    "charter": Kind("§2", Shown.ENTRY, "the charter is leaf 0, and nothing else is"),
    "index-covers": Kind("§2", Shown.ENTRY, "an index root covers exactly the entries before it"),
    "day-in-future": Kind("§2", Shown.ENTRY, "no entry is about a day to come"),
    "log-root": Kind("§2", Shown.PREFIX, "an index root states the root of the entries before it"),
    "index-root": Kind("§2", Shown.REPLAY, "an index root states the root of the index before it"),
    "index-labels": Kind("§2", Shown.REPLAY, "an index root counts the labels before it"),
    "coverage-count": Kind("§2", Shown.REPLAY, "a coverage counts the records of its day before it"),
    "label-taken": Kind("§5", Shown.FIRST, "under one label stands one entry"),
    "registry": Kind("§2", Shown.CHARTER, "a registry entry is signed by the registrar and has the members due"),
    "origin": Kind("§2", Shown.CHARTER, "a statement is signed for its log"),
    "payload": Kind("§2", Shown.CHARTER, "source and version stand the same outside and inside the signature"),
    "predecessor": Kind("§2", Shown.CHARTER, "a log does not come after itself"),
    "name": Kind("§2", Shown.CHARTER, "a statement names only what the charter knows"),
    "key-role": Kind("§1", Shown.HOLDER, "a key has one role"),
    "prev": Kind("§2", Shown.BEFORE, "a version names the hash of the one before"),
    "status": Kind("§2", Shown.BEFORE, "a status moves from active to retired to revoked alone"),
    "since": Kind("§2", Shown.BEFORE, "the day from which coverage is owed only moves earlier"),
    "vrf-key": Kind("§2", Shown.IN_FORCE, "a VRF key is stated before it is used, and never changed"),
    "source-order": Kind("§2", Shown.ABSENT, "source numbers have no gap"),
    "version-order": Kind("§2", Shown.ABSENT, "versions of a source have no gap"),
    "source-unknown": Kind("§2", Shown.ABSENT, "a source is registered before it signs"),
    "source-retired": Kind("§2", Shown.IN_FORCE, "a retired source adds no records"),
    "source-revoked": Kind("§2", Shown.IN_FORCE, "a revoked source adds no records"),
    "epoch": Kind("§2", Shown.IN_FORCE, "the epoch is the year of the day"),
    "day": Kind("§2", Shown.IN_FORCE, "no day is after the year 9999"),
    "activity": Kind("§2", Shown.IN_FORCE, "an open record names a registered activity, a sealed one none"),
    "seal": Kind("§2", Shown.IN_FORCE, "a record is sealed no longer than the source may"),
    "signature": Kind("§2", Shown.IN_FORCE, "a record or coverage is signed by its source"),
    "bundle": Kind("§6", Shown.COPY, "an entry bundle holds the entries of the signed tree"),
    "tile": Kind("§6", Shown.COPY, "a hash tile holds the hashes of the signed tree"),
    "root": Kind("§6", Shown.COPY, "the entries lead to the root that was signed"),
}  # fmt: skip
"""Every kind that a replay or an audit reports."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An entry with its inclusion proof."""

    index: int
    entry: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """The root of the first entries of a tree, with the consistency proof from there to the whole."""

    root: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class IndexProof:
    """What the index says of one label, with the index root leaf it says it under."""

    index_root: IndexRootProof
    proof: bytes


@dataclass(frozen=True, slots=True)
class ViolationFile:
    """A file taken apart; nothing about it has been checked."""

    violation: Violation
    checkpoint: bytes
    entry: Leaf
    charter: Leaf | None = None
    other: Leaf | None = None
    index: IndexProof | None = None
    prefix: Prefix | None = None
    leaf_hash: bytes | None = None


def format_violation(file: ViolationFile, about: Mapping[str, str]) -> bytes:
    """The file's bytes; `about` are further texts for whoever reads it, which nothing looks at."""
    violation = file.violation
    content: dict[str, Any] = {
        "format": FORMAT,
        **about,
        "violation": {
            "index": violation.index,
            "kind": violation.kind,
            "rule": f"formats.md {violation.rule}",
            "detail": violation.detail,
        },
        "checkpoint": file.checkpoint.decode("utf-8"),
        "entry": _leaf_object(file.entry),
    }
    if file.charter is not None:
        content["charter"] = _leaf_object(file.charter)
    if file.other is not None:
        content["other"] = _leaf_object(file.other)
    if file.index is not None:
        content["index_root"] = index_root_object(file.index.index_root)
        content["index_proof"] = b64encode(file.index.proof)
    if file.prefix is not None:
        content["prefix"] = {"root": b64encode(file.prefix.root), "proof": _hashes_object(file.prefix.proof)}
    if file.leaf_hash is not None:
        content["leaf_hash"] = b64encode(file.leaf_hash)
    return format_file(content)


def parse_violation(data: bytes, where: str = "violation") -> ViolationFile:
    """The file in these bytes; Malformed says which member is missing or wrong."""
    value = parse_json(data, where)
    if text_member(value, "format", where) != FORMAT:
        raise Malformed(f"{where} format", f"not {FORMAT}, which is all that this program reads")
    found = member(value, "violation", where)
    kind = text_member(found, "kind", f"{where} violation")
    if kind not in KINDS:
        raise Malformed(f"{where} kind", "is none that this program knows; get a newer one")
    index = integer(member(found, "index", f"{where} violation"), f"{where} index")
    file = ViolationFile(
        violation=Violation(index, kind, KINDS[kind].section, ""),
        checkpoint=text_member(value, "checkpoint", where).encode("utf-8"),
        entry=_read_leaf(member(value, "entry", where), f"{where} entry"),
        charter=_read_leaf(value["charter"], f"{where} charter") if "charter" in value else None,
        other=_read_leaf(value["other"], f"{where} other") if "other" in value else None,
        index=_read_index_proof(value, where) if "index_proof" in value else None,
        prefix=_read_prefix(value["prefix"], f"{where} prefix") if "prefix" in value else None,
        leaf_hash=_hash_member(value, "leaf_hash", where) if "leaf_hash" in value else None,
    )
    if file.entry.index != index:
        raise Malformed(where, f"is about entry {index} and shows entry {file.entry.index}")
    return file


def _leaf_object(leaf: Leaf) -> dict[str, Any]:
    return {"index": leaf.index, "entry": b64encode(leaf.entry), "proof": _hashes_object(leaf.proof)}


def _hashes_object(hashes: tuple[bytes, ...]) -> list[str]:
    return [b64encode(hash_) for hash_ in hashes]


def _read_leaf(value: Any, where: str) -> Leaf:
    return Leaf(
        integer(member(value, "index", where), f"{where} index"),
        base64_member(value, "entry", where),
        _read_hashes(value, where),
    )


def _read_prefix(value: Any, where: str) -> Prefix:
    return Prefix(_hash_member(value, "root", where), _read_hashes(value, where))


def _hash_member(value: Any, name: str, where: str) -> bytes:
    found = base64_member(value, name, where)
    if len(found) != HASH_BYTES:
        raise Malformed(f"{where} {name}", f"has {len(found)} bytes, not {HASH_BYTES}")
    return found


def _read_index_proof(value: Any, where: str) -> IndexProof:
    root = read_index_root(member(value, "index_root", where), f"{where} index_root")
    return IndexProof(root, base64_member(value, "index_proof", where))


def _read_hashes(value: Any, where: str) -> tuple[bytes, ...]:
    hashes = member(value, "proof", where)
    if not isinstance(hashes, list) or len(hashes) > MAX_HASHES:
        raise Malformed(f"{where} proof", f"is not a list of at most {MAX_HASHES} hashes")
    if not all(isinstance(text, str) for text in hashes):
        raise Malformed(f"{where} proof", "has a hash that is not a text in base64")
    found = tuple(b64decode(text, f"{where} proof") for text in hashes)
    if any(len(hash_) != HASH_BYTES for hash_ in found):
        raise Malformed(f"{where} proof", f"has a hash that is not {HASH_BYTES} bytes long")
    return found
