"""Receipts: one entry's place in the log and in the index, provable offline (docs/formats.md §6).

A `*.receipt.json` file:

    {"entry": "<base64>",                                     the leaf's content
     "proof": "c2sp.org/tlog-proof@v1\\nindex 12\\n…",           its inclusion, and the signed checkpoint
     "index_root": {"entry": "<base64>", "proof": ["<base64>", …]},   the checkpoint's last leaf, and its path
     "index_proof": "<base64>"}                               the entry's label under that index root

The file is not signed, so members beyond these are ignored; nothing in it is believed before it is checked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64decode, b64encode
from ledger.core.entries import Entry, IndexRoot, decode_entry
from ledger.core.errors import Malformed, ProofRefuted, RuleBroken
from ledger.core.indexproof import check_index_proof
from ledger.core.jose import parse_json
from ledger.core.merkle import HASH_BYTES, InclusionChecks, check_inclusion, leaf_hash, node_hash
from ledger.core.policy import Opened, Policy
from ledger.core.tlogproof import MAX_HASHES, TlogProof, format_tlog_proof, parse_tlog_proof
from ledger.core.unsigned import base64_member, format_file, member, text_member


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step of a check, for people: what was checked, and what was found."""

    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class IndexRootProof:
    """The last leaf of a checkpoint as it stands, and its inclusion proof: hashes of 32 bytes."""

    entry: bytes
    hashes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt taken apart; nothing about it has been checked."""

    entry: bytes
    proof: TlogProof
    index_root: IndexRootProof
    index_proof: bytes

    @property
    def index(self) -> int:
        """The leaf's number, as claimed."""
        return self.proof.index


@dataclass(frozen=True, slots=True)
class CheckedReceipt:
    """A receipt that holds: entry `index` stands in the log and in the index under `opened`'s checkpoint."""

    receipt: Receipt
    entry: Entry
    index: int
    opened: Opened
    index_root: IndexRoot
    shared: tuple[Step, Step]
    """What was found of checkpoint and index root, the same for all receipts under them."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """What was checked, in order."""
        signed, covering = self.shared
        checkpoint = self.opened.checkpoint
        return (
            signed,
            Step(
                "The entry is in the log",
                f"Entry {self.index} of {checkpoint.size} leads to the root {b64encode(checkpoint.root)}.",
            ),
            covering,
            Step(
                "The index leads to this entry",
                f"Under the label of this entry the index has entry {self.index}, and no other can ever stand there.",
            ),
        )


def parse_receipt(data: bytes, where: str = "receipt") -> Receipt:
    """The receipt in a file's bytes; Malformed says which member is missing or wrong."""
    return read_receipt(parse_json(data, where), where)


def read_receipt(value: Any, where: str = "receipt") -> Receipt:
    """As parse_receipt, of JSON that is already parsed (by `jose.parse_json`)."""
    return Receipt(
        entry=base64_member(value, "entry", where),
        proof=parse_tlog_proof(text_member(value, "proof", where).encode("utf-8"), f"{where} proof"),
        index_root=read_index_root(member(value, "index_root", where), f"{where} index_root"),
        index_proof=base64_member(value, "index_proof", where),
    )


def read_index_root(value: Any, where: str) -> IndexRootProof:
    """An `index_root` member: {"entry": base64, "proof": [base64 …]}."""
    entry = base64_member(value, "entry", where)
    hashes = member(value, "proof", where)
    if not isinstance(hashes, list) or len(hashes) > MAX_HASHES:
        raise Malformed(f"{where} proof", f"is not a list of at most {MAX_HASHES} hashes")
    if not all(isinstance(text, str) for text in hashes):
        raise Malformed(f"{where} proof", "has a hash that is not a text in base64")
    path = tuple(b64decode(text, f"{where} proof") for text in hashes)
    if any(len(hash_) != HASH_BYTES for hash_ in path):
        raise Malformed(f"{where} proof", f"has a hash that is not {HASH_BYTES} bytes long")
    return IndexRootProof(entry, path)


def receipt_object(receipt: Receipt, index_root: dict[str, Any] | None = None) -> dict[str, Any]:
    """The receipt as a JSON object, for files and for answers that hold one.

    `index_root` is what index_root_object gives, for whoever makes many receipts with the same.
    """
    proof = receipt.proof
    text = format_tlog_proof(proof.index, proof.hashes, proof.checkpoint, proof.extra)
    return {
        "entry": b64encode(receipt.entry),
        "proof": text.decode("utf-8"),
        "index_root": index_root or index_root_object(receipt.index_root),
        "index_proof": b64encode(receipt.index_proof),
    }


def index_root_object(proof: IndexRootProof) -> dict[str, Any]:
    """An `index_root` member, as read_index_root takes it."""
    return {"entry": b64encode(proof.entry), "proof": [b64encode(hash_) for hash_ in proof.hashes]}


def format_receipt(receipt: Receipt) -> bytes:
    """The file: JSON in UTF-8, ending in a newline."""
    return format_file(receipt_object(receipt))


@contextmanager
def logged() -> Iterator[None]:
    """Around the reading of what the log is proven to hold or commit to: Malformed becomes RuleBroken.

    Such bytes are no damaged file. Somebody put them in the log, and the file shows it.
    """
    try:
        yield
    except Malformed as error:
        raise RuleBroken(error.where, error.what, **error.evidence) from None


def check_receipt(receipt: Receipt, policy: Policy, now: int, known: Opened | None = None) -> CheckedReceipt:
    """Check a receipt under a policy at `now` (Unix seconds).

    The checkpoint fulfils the policy; the entry and the index root are in its tree; the index root covers all
    before it; and the entry's label leads, in that index, to the entry. `known` is a checkpoint that was opened
    under the same policy at the same time: of a receipt with the very same note it is not verified again.

    Raises Malformed, BadSignature, QuorumNotMet, ProofRefuted or RuleBroken.
    """
    return ReceiptChecker(policy, now, known).check(receipt)


class ReceiptChecker:
    """`check_receipt` for many receipts at one time: what was checked for one is not checked again for another.

    That are, as long as receipts come under the same checkpoint: its signatures, its index root, what inclusion paths
    have in common, and index proofs that whoever uses this has checked already.
    """

    def __init__(self, policy: Policy, now: int, known: Opened | None = None) -> None:
        """As for check_receipt."""
        self._policy = policy
        self._now = now
        self._opened = known
        self._inclusion: InclusionChecks | None = None
        self._index_root: tuple[IndexRootProof, IndexRoot] | None = None
        self._steps: tuple[Step, Step] | None = None
        # label → index root, entries it covers, and proof, of which check_index_proof found the last
        self._found: dict[bytes, tuple[bytes, int, bytes, int | None]] = {}

    def take_index_proof(self, root: IndexRoot, label: bytes, proof: bytes, found: int | None) -> None:
        """`check_index_proof` found this for the label under this index root: it need not be asked again."""
        self._found[label] = root.index_root, root.covers, proof, found

    def check(self, receipt: Receipt) -> CheckedReceipt:
        """What check_receipt returns and raises."""
        opened, inclusion = self._open(receipt.proof.checkpoint)
        inclusion.check(leaf_hash(receipt.entry), receipt.index, receipt.proof.hashes)
        try:
            entry = decode_entry(receipt.entry)
        except Malformed as error:
            # As in `logged`, which costs more than the reading where receipts come by thousands.
            raise RuleBroken(error.where, error.what, **error.evidence) from None
        index_root, shared = self._check_index_root(receipt.index_root, opened)
        label = entry.index_label
        if label is None:
            raise RuleBroken(
                "receipt", "its entry stands under no label, so nothing can show its place in the index"
            )
        found = self._find(index_root, label, receipt.index_proof)
        if found != receipt.index:
            instead = "no entry" if found is None else f"entry {found}"
            raise ProofRefuted("receipt", f"the index has {instead} under the label of entry {receipt.index}")
        return CheckedReceipt(receipt, entry, receipt.index, opened, index_root, shared)

    def _find(self, root: IndexRoot, label: bytes, proof: bytes) -> int | None:
        known = self._found.get(label)
        if known is not None and known[:3] == (root.index_root, root.covers, proof):
            return known[3]
        return check_index_proof(root.index_root, root.covers, label, proof)

    def _open(self, note: bytes) -> tuple[Opened, InclusionChecks]:
        opened, inclusion = self._opened, self._inclusion
        if opened is None or opened.note != note:
            opened, inclusion = self._policy.open(note, self._now), None
        if inclusion is None:
            inclusion = InclusionChecks(opened.checkpoint.size, opened.checkpoint.root)
            self._index_root = self._steps = None
        self._opened, self._inclusion = opened, inclusion
        return opened, inclusion

    def _check_index_root(self, proof: IndexRootProof, opened: Opened) -> tuple[IndexRoot, tuple[Step, Step]]:
        if self._index_root is None or self._index_root[0] != proof or self._steps is None:
            index_root = check_index_root(proof, opened.checkpoint)
            self._index_root = proof, index_root
            self._steps = checkpoint_step(opened, self._policy), index_root_step(index_root)
        return self._index_root[1], self._steps


def check_index_root(proof: IndexRootProof, checkpoint: Checkpoint) -> IndexRoot:
    """The index root in the last leaf of a checkpoint, which covers exactly the leaves before it.

    Raises Malformed, ProofRefuted, or RuleBroken when the last leaf is none, or says something untrue of the log.
    """
    where = "index root"
    last = checkpoint.size - 1
    check_inclusion(leaf_hash(proof.entry), last, checkpoint.size, checkpoint.root, proof.hashes)
    with logged():
        entry = decode_entry(proof.entry)
    if not isinstance(entry, IndexRoot):
        raise RuleBroken(where, f"the checkpoint's last entry, {last}, is of another kind", entry=proof.entry)
    if entry.covers != last:
        raise RuleBroken(
            where, f"says that it covers {entry.covers} entries, and stands at {last}", entry=proof.entry
        )
    # The path of the last leaf is the row of perfect subtrees before it, smallest first: folded, it is their root.
    before = proof.hashes[0]
    for hash_ in proof.hashes[1:]:
        before = node_hash(hash_, before)
    if entry.log_root != before:
        raise RuleBroken(
            where, f"its log_root is not that of the {last} entries before it", entry=proof.entry
        )
    return entry


def checkpoint_step(opened: Opened, policy: Policy) -> Step:
    """What the signatures of an opened checkpoint show."""
    names = {witness.vkey: witness.name for witness in policy.witnesses} | {policy.log: "log"}
    counted = ", ".join(dict.fromkeys(names[vkey] for vkey in opened.counted))
    return Step(
        "The checkpoint fulfils the policy",
        f"{opened.checkpoint.origin}, size {opened.checkpoint.size}; signatures that count: {counted}.",
    )


def index_root_step(index_root: IndexRoot) -> Step:
    """What a checked index root shows."""
    return Step(
        "The index root belongs to this checkpoint",
        f"The last entry states the index over the {index_root.covers} entries before it: {index_root.labels} labels.",
    )
