"""One opened checkpoint of a published log, and everything that is proven under it.

    policy → checkpoint → charter at leaf 0 → registrar → sources          (docs/formats.md §6)

A `View` stays at its checkpoint: all it returns was checked up to that one root and that one index root, which is
what the completeness of docs/formats.md §5 asks for. A log that grows meanwhile answers index questions under a
newer checkpoint. Before the first such answer the view takes the newer one over; after it, it raises `Moved`, and
the caller begins again.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger.client.authentic import AuthenticEntries, AuthenticTiles
from ledger.client.publiclog import MAX_LABELS, IndexAnswer, Moved, PublicLog
from ledger.core.entries import IndexRoot, decode_entry
from ledger.core.errors import Malformed, ProofRefuted, RuleBroken
from ledger.core.evidence import check_log_keys
from ledger.core.indexproof import Known, check_index_proof
from ledger.core.merkle import check_inclusion, leaf_hash, prove_consistency, tree_root
from ledger.core.policy import Opened, Policy
from ledger.core.receipt import IndexRootProof, Receipt, ReceiptChecker
from ledger.core.statements import Charter
from ledger.core.tlogproof import TlogProof


@dataclass(frozen=True, slots=True)
class Located:
    """What the index says of one label: the entry's index, or None for absent, and the proof of that."""

    label: bytes
    proof: bytes
    index: int | None


class View:
    """A log at one checkpoint. Make it with `View.open`."""

    def __init__(self, log: PublicLog, policy: Policy, note: bytes, now: int) -> None:
        """Open this note; raises what `policy.open` raises. `now` is Unix seconds."""
        self.log = log
        self.policy = policy
        self.now = now
        self._located: dict[bytes, Located] = {}
        self._adopt(note)

    @classmethod
    def open(cls, log: PublicLog, policy: Policy, now: int) -> "View":
        """The log at its newest checkpoint.

        Raises `Unreachable`, `Malformed`, and `QuorumNotMet` or `BadSignature` for a checkpoint that the
        policy does not accept.
        """
        return cls(log, policy, log.checkpoint(), now)

    def _adopt(self, note: bytes) -> None:
        self.opened: Opened = self.policy.open(note, self.now)
        self.note = note
        checkpoint = self.opened.checkpoint
        self.tiles = AuthenticTiles(self.log.tile, checkpoint.size, checkpoint.root, self.log.where)
        self._entries = AuthenticEntries(self.log.tile, self.tiles, self.log.where)
        self._root: tuple[IndexRoot, bytes] | None = None
        self._root_proof: IndexRootProof | None = None
        self._known: Known = {}  # of index proofs under this index root

    @property
    def size(self) -> int:
        """Entries of the log at this checkpoint."""
        return self.opened.checkpoint.size

    @property
    def index_root(self) -> IndexRoot:
        """The last leaf: the index over all entries before it."""
        return self._index_root()[0]

    def _index_root(self) -> tuple[IndexRoot, bytes]:
        if self._root is None:
            self._root = self._check_index_root(self.entries([self.size - 1])[self.size - 1])
        return self._root

    def _check_index_root(self, raw: bytes) -> tuple[IndexRoot, bytes]:
        where = f"entry {self.size - 1}"
        root = decode_entry(raw)
        if not isinstance(root, IndexRoot):
            raise RuleBroken(
                where, "the checkpoint's last entry is no index root", entry=raw, checkpoint=self.note
            )
        if root.covers != self.size - 1:
            raise RuleBroken(
                where,
                f"index root covers {root.covers}, stands at {self.size - 1}",
                entry=raw,
                checkpoint=self.note,
            )
        if root.log_root != tree_root(self.size - 1, self.tiles):
            raise RuleBroken(
                where, "log_root is not the root of the entries before it", entry=raw, checkpoint=self.note
            )
        return root, raw

    def check_charter_keys(self, charter: Charter) -> None:
        """Every key that the charter names has signed this checkpoint (docs/formats.md §6).

        Raises `BadSignature` for one that has not, or only with a time that does not count.
        """
        check_log_keys(self.note, charter, self.now)

    def entries(self, indices: Iterable[int]) -> dict[int, bytes]:
        """The entries at these indices, each checked to be the tree's. Raises `ProofRefuted` or `Unreachable`."""
        return self._entries.read(indices)

    def inclusion(self, index: int) -> list[bytes]:
        """The inclusion proof of leaf `index`, 32-byte hashes."""
        return list(self.tiles.inclusion(index))

    def consistency_from(self, size: int) -> list[bytes]:
        """The consistency proof from an older `size` to this checkpoint's."""
        return prove_consistency(size, self.size, self.tiles)

    def proofs(self, labels: Sequence[bytes]) -> list[Located]:
        """What the index says of these index labels, in order; each proof is checked, and asked for once.

        They are asked for in the order of their bytes, which for hashes is random: the order says nothing about
        which of them belong together. Raises `Moved` when the log went on after an earlier answer.
        """
        wanted = sorted(set(labels) - self._located.keys())
        for start in range(0, len(wanted), MAX_LABELS):
            part = wanted[start : start + MAX_LABELS]
            answer = self.log.index_proofs(part)
            self._stand_under(answer)
            root, known = self.index_root, self._known
            for label, proof in zip(part, answer.proofs, strict=True):
                try:
                    index = check_index_proof(root.index_root, root.covers, label, proof, known)
                except ProofRefuted as error:
                    error.evidence.update(checkpoint=self.note, index_root=self._index_root()[1], proof=proof)
                    raise
                self._located[label] = Located(label, proof, index)
        return [self._located[label] for label in labels]

    def _stand_under(self, answer: IndexAnswer) -> None:
        """See to it that this view is at the checkpoint of `answer`."""
        if answer.checkpoint != self.note:
            newer = self.policy.open(answer.checkpoint, self.now)
            ours, theirs = self.opened.checkpoint, newer.checkpoint
            if theirs != ours:
                if self._located or theirs.size < self.size:
                    raise Moved(self.log.where, f"answers under size {theirs.size}, was read at {self.size}")
                self._adopt(answer.checkpoint)
        if answer.index_root_entry != self._index_root()[1]:
            check_inclusion(
                leaf_hash(answer.index_root_entry), self.size - 1, self.size, self.opened.checkpoint.root,
                answer.index_root_proof,
            )  # fmt: skip

    def receipts(self, labels: Sequence[bytes]) -> list[Receipt | None]:
        """A receipt for the entry under each of these index labels, None for a label that is absent.

        One question to the log for all of them. Raises as `proofs` and `entries` do.
        """
        located = self.proofs(labels)
        entries = self.entries(one.index for one in located if one.index is not None)
        return [
            None if one.index is None else self._receipt(one.index, entries[one.index], one)
            for one in located
        ]

    def receipts_of(self, entries: Sequence[bytes]) -> list[Receipt | None]:
        """As `receipts`, for who has the entries: of these only hashes are fetched, a fifth of what bundles are.

        And one bundle, which it is chance decides: hashes alone would not show that others can read what is published.
        Where the log has another entry under a label, that one is fetched, and the receipt is for it. Raises
        `Malformed` for what is no entry or, as an index root, stands under no label.
        """
        located = self.proofs([_label_of(raw, f"entry {at} of those held") for at, raw in enumerate(entries)])
        self.tiles.prefetch(one.index for one in located if one.index is not None)
        held: dict[int, bytes] = {}
        for raw, one in zip(entries, located, strict=True):
            if one.index is not None and self.tiles.leaf_hash(one.index) == leaf_hash(raw):
                held[one.index] = raw
        others = {one.index for one in located if one.index is not None} - held.keys()
        held |= self.entries([*others, *([secrets.choice(list(held))] if held else [])])
        return [
            None if one.index is None else self._receipt(one.index, held[one.index], one) for one in located
        ]

    def receipt(self, index: int) -> Receipt:
        """The receipt of entry `index`. Raises `Malformed` for an index root, which stands under no label."""
        raw = self.entries([index])[index]
        return self._receipt(index, raw, self.proofs([_label_of(raw, f"entry {index}")])[0])

    def _receipt(self, index: int, raw: bytes, located: Located) -> Receipt:
        if located.index != index:
            raise ProofRefuted(
                f"entry {index}", "the index leads from its label elsewhere", entry=raw, checkpoint=self.note
            )
        return Receipt(
            entry=raw,
            proof=TlogProof(index, self.tiles.inclusion(index), self.note),
            index_root=self.index_root_proof(),
            index_proof=located.proof,
        )

    def index_root_proof(self) -> IndexRootProof:
        """The last leaf with its path, as receipts and evidence carry it."""
        if self._root_proof is None:
            self._root_proof = IndexRootProof(self._index_root()[1], self.tiles.inclusion(self.size - 1))
        return self._root_proof

    def checker(self) -> ReceiptChecker:
        """Checks receipts as `check_receipt` does under this view's policy at its time, and does not check again the
        checkpoint and the index proofs that this view has checked."""
        checker = ReceiptChecker(self.policy, self.now, self.opened)
        for one in self._located.values():
            checker.take_index_proof(self.index_root, one.label, one.proof, one.index)
        return checker


def _label_of(raw: bytes, where: str) -> bytes:
    label = decode_entry(raw).index_label
    if label is None:
        raise Malformed(where, "stands under no label, so there is no receipt of it")
    return label
