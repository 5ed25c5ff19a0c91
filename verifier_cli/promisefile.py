"""A broken promise, shown so that a third party can check it offline.

    {"what": "…",
     "promise": "<compact JWS>",
     "charter": {"entry": "<base64>", "proof": "<tlog-proof>"},     leaf 0, and the checkpoint all of it stands under
     "absence": null, or
                {"entry": "<base64>",                                the entry that was promised
                 "index_root": {"entry": "<base64>", "proof": [ … ]},   the checkpoint's last leaf
                 "index_proof": "<base64>",                          its label is absent, or leads to another entry:
                 "other": null or {"entry": "<base64>", "proof": "<tlog-proof>"}}}

A promise names a leaf hash, and the index knows labels.  So a file without the entry cannot show by itself that the
leaf is missing: whoever checks it looks through all leaf hashes of the log.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.core.encoding import b64encode
from ledger.core.entries import decode_entry
from ledger.core.errors import Malformed, ProofRefuted, Refuted, RuleBroken
from ledger.core.evidence import check_log_keys
from ledger.core.indexproof import check_index_proof
from ledger.core.jose import parse_json
from ledger.core.merkle import leaf_hash
from ledger.core.policy import Opened, Policy
from ledger.core.promise import Promise, parse_promise
from ledger.core.receipt import IndexRootProof, check_index_root, index_root_object, logged, read_index_root
from ledger.core.statements import Charter, parse_charter
from ledger.core.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof
from ledger.core.unsigned import base64_member, member, text_member
from ledger.files import write_atomic

WHAT = (
    "A promise of a ledger to publish an entry in time, and a checkpoint from after that time without the entry. Check"
    " it: glassbook-verify promise FILE --policy FILE"
)


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry with its inclusion proof; nothing about it has been checked."""

    entry: bytes
    proof: TlogProof


@dataclass(frozen=True, slots=True)
class Absence:
    """Where the index leads from the label of the promised entry: nowhere, or to `other`."""

    entry: bytes
    index_root: IndexRootProof
    index_proof: bytes
    other: LoggedEntry | None


@dataclass(frozen=True, slots=True)
class BrokenPromise:
    """A file taken apart; nothing about it has been checked."""

    promise: bytes
    charter: LoggedEntry
    absence: Absence | None


@dataclass(frozen=True, slots=True)
class Stated:
    """What a promise says, under a checkpoint that it can be held against."""

    promise: Promise
    charter: Charter
    opened: Opened

    @property
    def due(self) -> int:
        """Unix seconds by which it had to be published."""
        return self.promise.accepted + self.charter.merge_delay_s


def read_charter(entry: bytes, opened: Opened, now: int) -> Charter:
    """The charter in leaf 0 of an opened checkpoint, all of whose keys have signed it; `entry` is proven to be there.

    Raises RuleBroken or BadSignature.
    """
    with logged():
        charter = parse_charter(entry, opened.checkpoint.origin)
    check_log_keys(opened.note, charter, now)
    return charter


def check_absence(absence: Absence, stated: Stated) -> str:
    """What shows that the promised leaf is not in the log, in a sentence.

    Raises Malformed when the entry is another one than was promised, ProofRefuted when the proofs show no absence.
    """
    if leaf_hash(absence.entry) != stated.promise.leaf:
        raise Malformed("entry", "is not the one that was promised: it has another leaf hash")
    label = decode_entry(absence.entry).index_label
    if label is None:
        raise Malformed("entry", "is an index root, which stands under no label")
    root = check_index_root(absence.index_root, stated.opened.checkpoint)
    found = check_index_proof(root.index_root, root.covers, label, absence.index_proof)
    if found is None:
        return "The index of this checkpoint has nothing under the label of the entry."
    if absence.other is None or absence.other.proof.index != found:
        raise ProofRefuted(
            "absence", f"the index leads to entry {found}, and the file does not show that one"
        )
    if absence.other.entry == absence.entry:
        raise ProofRefuted("absence", f"the promised entry is in the log, at index {found}")
    absence.other.proof.check(leaf_hash(absence.other.entry), stated.opened.checkpoint)
    return f"The index of this checkpoint has another entry under the label, entry {found}: no other can stand there."


def read_promise(data: bytes, charter: Charter, where: str) -> Promise:
    """The promise in a file. Malformed, too, when the charter's ledger did not sign it: then it shows nothing."""
    try:
        return parse_promise(data, charter.origin, charter.ledger, where)
    except Refuted as error:
        raise Malformed(where, f"is no promise by this log's ledger: {error.what}") from None


def check_broken(file: BrokenPromise, policy: Policy, now: int) -> Stated:
    """Check checkpoint, charter and promise of a file at `now` (Unix seconds); its `absence` is checked apart.

    Raises Malformed, BadSignature, QuorumNotMet, ProofRefuted or RuleBroken.
    """
    opened = policy.open(file.charter.proof.checkpoint, now)
    file.charter.proof.check(leaf_hash(file.charter.entry), opened.checkpoint)
    if file.charter.proof.index != 0:
        raise RuleBroken("charter", "is not leaf 0 of the log")
    charter = read_charter(file.charter.entry, opened, now)
    return Stated(read_promise(file.promise, charter, "promise"), charter, opened)


def parse_broken(data: bytes, where: str) -> BrokenPromise:
    """The file in these bytes; Malformed says which member is missing or wrong."""
    value = parse_json(data, where)
    absence = member(value, "absence", where)
    return BrokenPromise(
        text_member(value, "promise", where).encode(),
        _read_logged(member(value, "charter", where), f"{where} charter"),
        None if absence is None else _read_absence(absence, f"{where} absence"),
    )


def _read_absence(value: Any, where: str) -> Absence:
    other = member(value, "other", where)
    return Absence(
        base64_member(value, "entry", where),
        read_index_root(member(value, "index_root", where), f"{where} index_root"),
        base64_member(value, "index_proof", where),
        None if other is None else _read_logged(other, f"{where} other"),
    )


def _read_logged(value: Any, where: str) -> LoggedEntry:
    proof = parse_tlog_proof(text_member(value, "proof", where).encode(), f"{where} proof")
    return LoggedEntry(base64_member(value, "entry", where), proof)


def write_broken(file: BrokenPromise) -> str | None:
    """Write the file; its path, or None when no disk takes it.

    It lies in the working directory, or else with the temporary files; its name comes from its content.
    """
    absence = file.absence
    value = {
        "what": WHAT,
        "promise": file.promise.decode("ascii"),
        "charter": _logged_object(file.charter),
        "absence": absence
        and {
            "entry": b64encode(absence.entry),
            "index_root": index_root_object(absence.index_root),
            "index_proof": b64encode(absence.index_proof),
            "other": absence.other and _logged_object(absence.other),
        },
    }
    data = json.dumps(value, indent=2).encode() + b"\n"
    name = f"broken-promise-{hashlib.sha256(data).hexdigest()[:12]}.json"
    for folder in (Path(), Path(tempfile.gettempdir())):
        try:
            write_atomic(folder / name, data)
        except OSError:
            continue
        return str(folder / name)
    return None


def _logged_object(logged_entry: LoggedEntry) -> dict[str, str]:
    proof = logged_entry.proof
    text = format_tlog_proof(proof.index, proof.hashes, proof.checkpoint)
    return {"entry": b64encode(logged_entry.entry), "proof": text.decode()}
