"""Whether a violation file shows what it says: each part checked up to one signed checkpoint, offline.

`check_violation` trusts the policy's log key alone: what the log signed binds the log, whoever cosigned it. Each kind
of violation has one judge here; it raises `NotShown` when the file does not make the violation follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ledger.core.checkpoint import Checkpoint, open_checkpoint
from ledger.core.entries import (
    Coverage,
    Entry,
    IndexRoot,
    Record,
    Registry,
    check_time,
    decode_entry,
    index_label,
    registry_index_label,
    signed_message,
)
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.indexproof import check_index_proof
from ledger.core.keys import verify_ed25519
from ledger.core.merkle import EMPTY_ROOT, check_consistency, check_inclusion, leaf_hash
from ledger.core.policy import Policy, counts
from ledger.core.receipt import Step, check_index_root
from ledger.core.registry import check_succession
from ledger.core.statements import Charter, SourceVersion, parse_charter, parse_source
from verifier_cli.violationfile import KINDS, Leaf, Shown, ViolationFile


class NotShown(Exception):
    """The file does not show the violation; the text says why, or what else it would take."""


@dataclass(frozen=True, slots=True)
class CheckedViolation:
    """What a file shows. `proven` is false when it takes more than the file; `still` says what."""

    file: ViolationFile
    checkpoint: Checkpoint
    proven: bool
    still: str
    steps: tuple[Step, ...]


def check_violation(file: ViolationFile, policy: Policy, now: int) -> CheckedViolation:
    """Check a file under a policy at `now` (Unix seconds).

    Raises `Malformed`, `BadSignature` or `Refuted` for a checkpoint that the policy's log did not sign, and
    `ProofRefuted` for a part that is not in the signed tree.
    """
    names = {witness.vkey: witness.name for witness in policy.witnesses}
    checkpoint, good = open_checkpoint(file.checkpoint, policy.log, names)
    cosigned = [
        one for one in good if one.vkey in names and one.vkey.name != policy.origin and counts(one, now)
    ]
    by = ", ".join(dict.fromkeys(names[one.vkey] for one in cosigned)) or "no witness of this policy"
    # As in every replay: nobody but a witness vouches for the time.
    newest = max((one.timestamp for one in cosigned if one.timestamp is not None), default=now)
    steps = [
        Step(
            "The log signed the checkpoint",
            f"{checkpoint.origin}, size {checkpoint.size}; cosigned by {by}.",
        )
    ]
    return check_under(file, checkpoint, newest, steps)


def check_under(
    file: ViolationFile, checkpoint: Checkpoint, newest: int, steps: list[Step]
) -> CheckedViolation:
    """The rest of `check_violation`: its parts under a checkpoint that is trusted, whose newest witness timestamp (Unix
    seconds) is `newest`. `steps` are those taken before, and gets those taken here.

    Raises `Malformed`, and `ProofRefuted` for a part that is not in the signed tree.
    """
    kind = KINDS[file.violation.kind]
    if kind.shown is Shown.COPY:
        return _check_copy(file, checkpoint, steps)
    for leaf, what in ((file.entry, "entry"), (file.charter, "charter"), (file.other, "other entry")):
        if leaf is not None:
            _included(leaf, checkpoint)
            steps.append(
                Step(
                    f"The {what} is in the log",
                    f"Entry {leaf.index} of {checkpoint.size} leads to the root that was signed.",
                )
            )
    judge = _Judge(file, checkpoint, newest)
    try:
        said = judge.judge(steps)
    except NotShown as missing:
        return CheckedViolation(file, checkpoint, False, str(missing), tuple(steps))
    steps.append(
        Step(f"It breaks a rule (docs/formats.md {kind.section})", f"Rule: {kind.words}. Here: {said}.")
    )
    return CheckedViolation(file, checkpoint, True, "", tuple(steps))


def _check_copy(file: ViolationFile, checkpoint: Checkpoint, steps: list[Step]) -> CheckedViolation:
    still = "the log broke no rule by what a copy of it holds"
    entry, signed = file.entry, file.leaf_hash
    if signed is None:
        still = "the file does not show which leaf was signed in its place"
    else:
        check_inclusion(signed, entry.index, checkpoint.size, checkpoint.root, entry.proof)
        if signed == leaf_hash(entry.entry):
            still = "the entry is the one that was signed"
        else:
            found = f"Leaf {entry.index} of the signed tree is not the entry in this file."
            steps.append(Step("A copy held another entry", found))
    return CheckedViolation(file, checkpoint, False, still, tuple(steps))


def _included(leaf: Leaf, checkpoint: Checkpoint) -> None:
    check_inclusion(leaf_hash(leaf.entry), leaf.index, checkpoint.size, checkpoint.root, leaf.proof)


def _rule(error: GlassbookError) -> str:
    return str(error.evidence.get("rule", "registry"))


class _Judge:
    """One file, whose entries are in the signed tree; each method gives the words for what is wrong."""

    def __init__(self, file: ViolationFile, checkpoint: Checkpoint, newest: int) -> None:
        self._file = file
        self._checkpoint = checkpoint
        self._newest = newest
        self._kind = file.violation.kind
        self._index = file.entry.index
        self._raw = file.entry.entry

    def judge(self, steps: list[Step]) -> str:
        """Raises `NotShown`, or `ProofRefuted` and `Malformed` for a proof that is none."""
        if self._kind == "malformed":
            try:
                decode_entry(self._raw)
            except Malformed as error:
                return str(error)
            raise NotShown("the entry is of a known version and kind, and of its length")
        try:
            entry = decode_entry(self._raw)
        except Malformed:
            raise NotShown("the entry is none at all, which is another violation") from None
        self._steps = steps
        if isinstance(entry, Registry):
            return self._registry(entry)
        judges: Mapping[Shown, Callable[[Entry], str]] = {
            Shown.ENTRY: self._alone,
            Shown.PREFIX: self._prefix,
            Shown.FIRST: self._first,
            Shown.IN_FORCE: self._in_force,
            Shown.ABSENT: self._unknown,
            Shown.REPLAY: self._replay,
        }
        judge = judges.get(KINDS[self._kind].shown)
        if judge is None:
            raise NotShown("no entry of its kind can break this rule")
        return judge(entry)

    # -- entries by themselves ---------------------------------------------------------------------------

    def _alone(self, entry: Entry) -> str:
        size = self._checkpoint.size
        match self._kind:
            case "last-leaf" if self._index == size - 1 and not isinstance(entry, IndexRoot):
                return f"the last entry of size {size} is of another kind"
            case "charter" if self._index == 0:
                return "leaf 0 is no registry entry"
            case "index-covers" if isinstance(entry, IndexRoot) and entry.covers != self._index:
                return f"it covers {entry.covers} entries and stands at {self._index}"
            case "day-in-future" if isinstance(entry, Record | Coverage):
                try:
                    check_time(entry, self._newest)
                except GlassbookError as error:
                    return str(error)
        raise NotShown("the entry does not break this rule")

    def _prefix(self, entry: Entry) -> str:
        if not isinstance(entry, IndexRoot):
            raise NotShown("the entry is no index root")
        root = EMPTY_ROOT
        if self._index:
            prefix = self._file.prefix
            if prefix is None:
                raise NotShown("the file lacks the root of the entries before it")
            checkpoint = self._checkpoint
            check_consistency(self._index, checkpoint.size, prefix.root, checkpoint.root, prefix.proof)
            root = prefix.root
        if entry.log_root == root:
            raise NotShown("it states the root of the entries before it")
        return "it states another root than the entries before it have"

    def _first(self, entry: Entry) -> str:
        other = self._file.other
        if other is None:
            raise NotShown("the file lacks the first entry under that label")
        label = index_label(entry)
        if other.index >= self._index or label is None or index_label(_decoded(other)) != label:
            raise NotShown("the other entry does not stand before it under the same label")
        return f"entry {other.index} already stands under its label"

    def _replay(self, entry: Entry) -> str:
        due = Coverage if self._kind == "coverage-count" else IndexRoot
        if not isinstance(entry, due):
            raise NotShown("the entry is of a kind that this rule says nothing about")
        raise NotShown(
            f"the file proves what entry {self._index} states; that it is wrong, only all entries before it show"
        )

    # -- entries that a source signs ---------------------------------------------------------------------

    def _in_force(self, entry: Entry) -> str:
        if not isinstance(entry, Record | Coverage):
            raise NotShown("the entry is not one that a source signs")
        version = self._signer(entry)
        if self._kind == "signature":
            origin = self._checkpoint.origin
            if verify_ed25519(version.key, entry.signature, signed_message(origin, self._raw)):
                raise NotShown("the signature is by the source's key")
            return f"the signature is not by the key of source {version.source}"
        for error in _faults(version, entry):
            if _rule(error) == self._kind:
                return str(error)
        raise NotShown("the entry keeps this rule")

    def _signer(self, entry: Record | Coverage) -> SourceVersion:
        """The version in force for the entry."""
        other = self._file.other
        if other is None:
            raise NotShown("the file lacks the version of the source in force")
        stated = _decoded(other)
        if not isinstance(stated, Registry) or stated.source != entry.source or other.index >= self._index:
            raise NotShown("the other entry is no earlier statement about the entry's source")
        self._none_before(stated.source, stated.version + 1, "The next version comes later or never")
        try:
            return parse_source(other.entry, other.index, self._charter())
        except GlassbookError as error:
            raise NotShown(f"the other entry is a violation itself: {error}") from None

    def _unknown(self, entry: Entry) -> str:
        if self._kind != "source-unknown" or not isinstance(entry, Record | Coverage):
            raise NotShown("the entry does not break this rule")
        if entry.source == 0:
            return "source 0 is the log itself, and signs nothing"
        if self._index:
            self._none_before(entry.source, 0, "The source is not registered before it")
        return f"source {entry.source} is not registered before it"

    def _none_before(self, source: int, version: int, title: str) -> None:
        """Raise `NotShown` unless the log's own index has this version later than the entry, or not at all."""
        if self._file.index is None:
            raise NotShown(f"the file does not show where version {version} of source {source} is")
        root = check_index_root(self._file.index.index_root, self._checkpoint)
        label = registry_index_label(source, version)
        found = check_index_proof(root.index_root, root.covers, label, self._file.index.proof)
        if found is not None and found < self._index:
            raise NotShown(f"version {version} of source {source} stands at entry {found}, before it")
        where = "nowhere" if found is None else f"at entry {found}"
        self._steps.append(Step(title, f"The log's index has version {version} of source {source} {where}."))

    def _charter(self) -> Charter:
        charter = self._file.charter
        if charter is None:
            raise NotShown("the file lacks the charter")
        if charter.index != 0:
            raise NotShown("its charter is not leaf 0")
        try:
            return parse_charter(charter.entry, self._checkpoint.origin)
        except GlassbookError as error:
            raise NotShown(f"leaf 0 is no charter, which is a violation of its own: {error}") from None

    # -- registry entries --------------------------------------------------------------------------------

    def _registry(self, entry: Registry) -> str:
        if self._kind == "label-taken":
            return self._first(entry)
        if self._kind == "last-leaf":
            return self._alone(entry)
        if self._index == 0:
            return self._false_charter()
        if self._kind == "charter" and entry.source == 0:
            return "a statement of source 0 stands elsewhere than at leaf 0"
        if self._kind == "charter":
            return self._without_charter()
        where = f"source {entry.source} version {entry.version}"
        if self._kind == "source-order" and entry.source > 1:
            self._none_before(entry.source - 1, 0, "The source before it is not registered before it")
            return f"source {entry.source - 1} is not registered before it"
        if self._kind == "version-order" and entry.version:
            self._none_before(
                entry.source, entry.version - 1, "The version before it does not stand before it"
            )
            return f"version {entry.version - 1} of source {entry.source} does not stand before it"
        charter = self._charter()
        try:
            version = parse_source(self._raw, self._index, charter)
        except GlassbookError as error:
            if _rule(error) == self._kind:
                return str(error)
            raise NotShown(f"{where} breaks another rule: {error}") from None
        other = self._file.other
        if other is None or other.index >= self._index:
            raise NotShown("the file lacks the earlier statement that it contradicts")
        try:
            earlier = parse_source(other.entry, other.index, charter)
            if self._kind == "key-role":
                return _two_roles(earlier, version)
            if (earlier.source, earlier.version + 1) != (version.source, version.version):
                raise NotShown("the other entry is not the version before it")
        except GlassbookError as error:
            raise NotShown(f"the other entry is a violation itself: {error}") from None
        try:
            check_succession(earlier, version)
        except GlassbookError as error:
            if _rule(error) == self._kind:
                return str(error)
        raise NotShown(f"{where} follows the version before it by this rule")

    def _false_charter(self) -> str:
        try:
            parse_charter(self._raw, self._checkpoint.origin)
        except GlassbookError as error:
            if _rule(error) == self._kind:
                return str(error)
            raise NotShown(f"the charter breaks another rule: {error}") from None
        raise NotShown("it is a charter as it should be")

    def _without_charter(self) -> str:
        charter = self._file.charter
        if charter is None or charter.index != 0:
            raise NotShown("the file lacks leaf 0")
        try:
            parse_charter(charter.entry, self._checkpoint.origin)
        except GlassbookError as error:
            return f"leaf 0 is no charter, so nothing can be registered: {error}"
        raise NotShown("leaf 0 is a charter")


def _faults(version: SourceVersion, entry: Record | Coverage) -> list[GlassbookError]:
    """What the version in force has against this entry, its signature apart."""
    found: list[GlassbookError] = []
    try:
        version.check_signer(entry)
    except GlassbookError as error:
        found.append(error)
    try:
        if isinstance(entry, Record):
            version.check_record(entry)
        else:
            version.check_coverage(entry)
    except GlassbookError as error:
        found.append(error)
    return found


def _decoded(leaf: Leaf) -> Entry:
    try:
        return decode_entry(leaf.entry)
    except Malformed as error:
        raise NotShown(f"the other entry is a violation itself: {error}") from None


def _two_roles(earlier: SourceVersion, version: SourceVersion) -> str:
    for key, role in version.roles.items():
        held = earlier.roles.get(key)
        if held is not None and held != role:
            return f"entry {earlier.index} has the key of {role} as that of {held}"
    raise NotShown("the two statements give no key two roles")
