"""Evidence of violations, written by whoever finds them: an audit, a witness, a watcher.

    shown = Collector(log, note, replay)
    shown.write(violation, folder)          → violation-17-label-taken-9c1f….json

A file holds entries, proofs and the signed checkpoint, all public (violationfile.py); anybody checks it offline, with
a policy alone: `glassbook-verify violation FILE`.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from ledger.client.authentic import AuthenticEntries, AuthenticTiles
from ledger.client.publiclog import PublicLog
from ledger.core.checkpoint import parse_checkpoint
from ledger.core.entries import Coverage, Entry, Record, Registry, decode_entry, registry_index_label
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.indexproof import check_index_proof
from ledger.core.merkle import leaf_hash, prove_consistency, prove_inclusion, tree_root
from ledger.core.note import parse_note
from ledger.core.receipt import IndexRootProof
from ledger.core.replay import Replay, Violation
from ledger.core.statements import parse_source
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle
from ledger.files import write_atomic
from verifier_cli.violationfile import (
    KINDS,
    IndexProof,
    Leaf,
    Prefix,
    Shown,
    ViolationFile,
    format_violation,
)

STATEMENT = (
    "This shows an entry of a log and, as far as one file can, the rule of docs/formats.md that it breaks. Check it:"
    " glassbook-verify violation FILE --policy FILE"
)


def write_violation_evidence(
    log: PublicLog, note: bytes, violation: Violation, replay: Replay, folder: Path | None = None
) -> str | None:
    """Write the evidence of one violation; the file's path, or None when it cannot be shown or no disk takes it.

    `note` is the log's signed checkpoint (a quorum it need not have) and `replay` the audit up to its size that found
    the violation. Without `folder` the file lies in the working directory, or else with the temporary files; its name
    comes from its content, so the same finding twice is one file.
    """
    return Collector(log, note, replay).write(violation, folder)


class Collector:
    """Gathers what shows violations under one checkpoint. Hash tiles are fetched once, bundles for each violation."""

    def __init__(self, log: PublicLog, note: bytes, replay: Replay) -> None:
        self._log = log
        self._note = note
        self._replay = replay
        self._checkpoint = parse_checkpoint(parse_note(note, "checkpoint").text)
        self._tiles = AuthenticTiles(log.tile, self._checkpoint.size, self._checkpoint.root, log.where)

    def write(self, violation: Violation, folder: Path | None = None) -> str | None:
        """As `write_violation_evidence`."""
        try:
            file = self.collect(violation)
        except GlassbookError:
            return None
        data = format_violation(
            file,
            {
                "what": STATEMENT,
                "takes": KINDS[violation.kind].shown.value,
                "replay": replay_command(self._log.where, violation.index),
            },
        )
        digest = hashlib.sha256(data).hexdigest()[:12]
        name = f"violation-{violation.index}-{violation.kind}-{digest}.json"
        for place in (Path(), Path(tempfile.gettempdir())) if folder is None else (folder,):
            try:
                place.mkdir(parents=True, exist_ok=True)
                write_atomic(place / name, data)
            except OSError:
                continue
            return str(place / name)
        return None

    def collect(self, violation: Violation) -> ViolationFile:
        """All that shows this violation. Raises `GlassbookError` when the entry itself cannot be shown."""
        # Of this violation alone: bundles may be large.
        self._entries = AuthenticEntries(self._log.tile, self._tiles, self._log.where)
        kind, index = KINDS[violation.kind], violation.index
        if kind.shown is Shown.COPY:
            return self._copy(violation)
        found = ViolationFile(violation, self._note, self._leaf(index))
        try:
            entry = decode_entry(found.entry.entry)
        except Malformed:
            return found
        charter = other = proof = prefix = None
        try:
            if isinstance(entry, Registry) and index:
                charter = self._leaf(0)
            if kind.shown is Shown.PREFIX and index:
                prefix = self._prefix(index)
            elif kind.shown is Shown.FIRST:
                other = self._first(entry)
            elif isinstance(entry, Registry):
                other, proof = self._earlier(violation, entry)
            elif isinstance(entry, Record | Coverage):
                charter = self._leaf(0)
                other, proof = self._signer(entry, index)
        except GlassbookError:
            pass  # what is there may still show something
        return ViolationFile(violation, self._note, found.entry, charter, other, proof, prefix)

    def _leaf(self, index: int) -> Leaf:
        raw = self._entries.read([index])[index]
        return Leaf(index, raw, tuple(prove_inclusion(index, self._checkpoint.size, self._tiles)))

    def _prefix(self, index: int) -> Prefix:
        proof = prove_consistency(index, self._checkpoint.size, self._tiles)
        return Prefix(tree_root(index, self._tiles), tuple(proof))

    def _located(self, label: bytes) -> tuple[int | None, bytes]:
        """The entry under this index label in the index recomputed, and the proof of it."""
        tree = self._replay.tree
        proof = tree.prove(label)
        return check_index_proof(tree.root, self._checkpoint.size, label, proof), proof

    def _first(self, entry: Entry) -> Leaf | None:
        label = entry.index_label
        index = None if label is None else self._located(label)[0]
        return None if index is None else self._leaf(index)

    def _statement(self, source: int, version: int) -> IndexProof:
        """Where the index has this version of this source, under the index root of the checkpoint."""
        last = self._leaf(self._checkpoint.size - 1)
        proof = self._located(registry_index_label(source, version))[1]
        return IndexProof(IndexRootProof(last.entry, last.proof), proof)

    def _signer(self, entry: Record | Coverage, index: int) -> tuple[Leaf | None, IndexProof | None]:
        version = self._replay.register.version_at(entry.source, index)
        if version is None:
            return None, self._statement(entry.source, 0) if entry.source else None
        return self._leaf(version.index), self._statement(entry.source, version.version + 1)

    def _earlier(self, violation: Violation, entry: Registry) -> tuple[Leaf | None, IndexProof | None]:
        register = self._replay.register
        match violation.kind:
            case "source-order" if entry.source > 1:
                return None, self._statement(entry.source - 1, 0)
            case "version-order" if entry.version:
                return None, self._statement(entry.source, entry.version - 1)
            case "key-role":
                roles = parse_source(
                    self._entries.read([violation.index])[violation.index], 0, register.charter
                ).roles
                for versions in register.sources.values():
                    for version in versions:
                        held = version.roles
                        if version.index < violation.index and any(
                            held.get(key, role) != role for key, role in roles.items()
                        ):
                            return self._leaf(version.index), None
            case _ if KINDS[violation.kind].shown in (Shown.BEFORE, Shown.IN_FORCE):
                before = self._located(registry_index_label(entry.source, entry.version - 1))[0]
                return (None if before is None else self._leaf(before)), None
        return None, None

    def _copy(self, violation: Violation) -> ViolationFile:
        """What this copy holds, and that the signed tree has another leaf there; the true entry it cannot give."""
        index = violation.index
        n, slot = divmod(index, FULL_WIDTH)
        bundle = Tile(ENTRIES, n, min(FULL_WIDTH, self._checkpoint.size - n * FULL_WIDTH))
        given = decode_bundle(self._log.tile(bundle), bundle.width, bundle.path)[slot]
        signed = self._tiles.leaf_hash(index)
        if leaf_hash(given) == signed:
            raise Malformed(f"entry {index}", "is the one in the log")
        proof = prove_inclusion(index, self._checkpoint.size, self._tiles)
        return ViolationFile(violation, self._note, Leaf(index, given, tuple(proof)), leaf_hash=signed)


def replay_command(where: str, index: int) -> str:
    """The audit that shows what a file alone does not."""
    return f"glassbook-verify audit --policy FILE --log {where} --to {index + 1} --fresh"
