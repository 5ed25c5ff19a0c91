"""The one thing a verifier trusts: a policy file (C2SP tlog-policy, narrowed by docs/formats.md §6).

    log log.example.gov/access/2026+7b0fd633+AZnSVe13Unwc…
    witness PQ log.example.gov/access/2026+903d9c02+Bm95WnFR… the log's own ML-DSA-44 key
    # auditor W1
    witness W1 witness.example/w1+7a385d55+BAOymNuh… https://witness.example/
    witness W2 witness.example/w2+07055410+BBFo…
    group outside any W1 W2
    group q all PQ outside
    quorum q

Here a policy has exactly one log, its ML-DSA-44 key is a witness without which there is no quorum, no key
stands twice, and the comment `# auditor NAME` above a witness says that it checks every entry it signs for.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from ledger.core.checkpoint import Checkpoint, open_checkpoint
from ledger.core.encoding import parse_decimal
from ledger.core.errors import Malformed, QuorumNotMet
from ledger.core.note import COSIGNATURE, ED25519, MLDSA44, Good, VerifierKey, parse_vkey
from ledger.core.texts import check_origin

CLOCK_TOLERANCE_S = 300
"""Cosignatures may be this many seconds ahead of the reader's clock."""
MAX_POLICY_BYTES = 1 << 20
NO_QUORUM = "none"


@dataclass(frozen=True, slots=True)
class Witness:
    """A cosigner: `name` is known in this file only; auditors check every entry before they cosign."""

    name: str
    vkey: VerifierKey
    url: str | None
    auditor: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Has witnessed a checkpoint when at least `threshold` of its members, witnesses or groups, have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint that fulfils a policy.

    `good` are all verified signatures by keys of the policy, `counted` the keys whose signature counts for
    the quorum (timestamps 0 or ahead of time do not), `newest` and `oldest` the counted timestamps of
    witnesses other than the log, in Unix seconds, None when there is no such witness.
    """

    checkpoint: Checkpoint
    note: bytes
    good: tuple[Good, ...]
    counted: tuple[VerifierKey, ...]
    newest: int | None
    oldest: int | None


def counts(signature: Good, now: int) -> bool:
    """Whether a verified signature counts at `now`: a cosignature must state a time, and not one ahead of time."""
    return signature.timestamp is None or 0 < signature.timestamp <= now + CLOCK_TOLERANCE_S


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy file that fulfils all rules above; `groups` stand in an order that defines members first."""

    log: VerifierKey
    log_url: str | None
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    @property
    def origin(self) -> str:
        return self.log.name

    @property
    def log_mldsa(self) -> VerifierKey:
        """The log's ML-DSA-44 key."""
        return next(witness.vkey for witness in self.witnesses if _is_log_mldsa(witness, self.log))

    @property
    def auditors(self) -> tuple[str, ...]:
        """Names of the witnesses marked as auditors."""
        return tuple(witness.name for witness in self.witnesses if witness.auditor)

    @property
    def auditor_in_quorum(self) -> bool:
        """Whether every quorum has an auditor in it."""
        return not self.quorum_met({witness.name for witness in self.witnesses if not witness.auditor})

    def quorum_met(self, names: Collection[str]) -> bool:
        """Whether cosignatures by the witnesses with these names are a quorum."""
        met = set(names)
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum == NO_QUORUM or self.quorum in met

    def open(self, note: bytes, now: int) -> Opened:
        """The checkpoint in note, seen at `now` (Unix seconds).

        Malformed if it is none; BadSignature if the log's Ed25519 signature is missing or any by a known key
        is bad; QuorumNotMet if too few of the others count. Refuted errors have the note in their evidence.
        """
        names = {witness.vkey: witness.name for witness in self.witnesses}
        checkpoint, good = open_checkpoint(note, self.log, names)
        counting = [signature for signature in good if counts(signature, now)]
        counted = tuple(dict.fromkeys(signature.vkey for signature in counting))
        present = {names[vkey] for vkey in counted if vkey in names}
        if not self.quorum_met(present):
            missing = ", ".join(
                ascii(name)[1:-1] + _why_not(vkey, good)
                for vkey, name in names.items()
                if name not in present
            )
            raise QuorumNotMet("checkpoint", f"no quorum; no cosignature that counts by {missing}", note=note)
        # The log cannot vouch for its own time.
        times = [signature.timestamp for signature in counting if signature.vkey.name != self.origin]
        stated = [time for time in times if time is not None]
        return Opened(
            checkpoint, note, tuple(good), counted, max(stated, default=None), min(stated, default=None)
        )


def _why_not(vkey: VerifierKey, good: list[Good]) -> str:
    """Why a witness that did cosign does not count, for a message."""
    stated = [signature.timestamp for signature in good if signature.vkey == vkey]
    if not stated:
        return ""
    return (
        " (states no time)" if not any(stated) else " (cosigned later than this computer's clock says it is)"
    )


def _is_log_mldsa(witness: Witness, log: VerifierKey) -> bool:
    return witness.vkey.kind == MLDSA44 and witness.vkey.name == log.name


def parse_policy(data: bytes | str) -> Policy:
    """The policy in a file; Malformed says which line is at fault, or which rule the whole breaks."""
    try:
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    except UnicodeEncodeError:
        raise Malformed("policy", "is not UTF-8") from None
    if len(raw) > MAX_POLICY_BYTES:
        raise Malformed("policy", f"has more than {MAX_POLICY_BYTES} bytes")
    # tlog-policy reads octets: bytes that are not UTF-8 stay apart from each other and from all characters.
    lines = raw.decode("utf-8", "surrogateescape").split("\n")
    parser = _Parser()
    for number, line in enumerate(lines, 1):
        parser.line(line, f"policy line {number}")
    return parser.finish()


class _Parser:
    """Takes the lines of one policy file in order."""

    def __init__(self) -> None:
        self.logs: list[tuple[VerifierKey, str | None]] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self.names = {NO_QUORUM}
        self.members: set[str] = set()
        self.keys: set[bytes] = set()
        self.marked: set[str] = set()

    def line(self, line: str, where: str) -> None:
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            raise Malformed(where, "has a control character other than tab")
        fields = re.findall(r"[^ \t]+", line)
        if not fields:
            return
        if fields[0].startswith("#"):
            if len(fields) == 3 and fields[:2] == ["#", "auditor"]:
                self.marked.add(fields[2])
            return
        match fields:
            case ["log", vkey, *url] if len(url) <= 1:
                self.log(vkey, url, where)
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self.witness(name, vkey, url, where)
            case ["group", name, threshold, *members] if members:
                self.group(name, threshold, members, where)
            case ["quorum", name]:
                if self.quorum is not None:
                    raise Malformed(where, "is a second quorum line")
                if name not in self.names:
                    raise Malformed(where, "the quorum is neither a witness nor a group defined above")
                self.quorum = name
            case _:
                raise Malformed(where, "is not a log, witness, group or quorum line as tlog-policy has it")

    def vkey(self, text: str, kinds: Collection[int], where: str) -> VerifierKey:
        vkey = parse_vkey(text, where)
        if vkey.kind not in kinds:
            raise Malformed(where, f"key type {vkey.kind} does not fit this line")
        if vkey.key in self.keys:
            raise Malformed(where, "this key already stands in the policy")
        self.keys.add(vkey.key)
        return vkey

    def define(self, name: str, where: str) -> None:
        if name in self.names:
            raise Malformed(where, "this name is already taken")
        self.names.add(name)

    def log(self, vkey: str, url: list[str], where: str) -> None:
        self.logs.append((self.vkey(vkey, (ED25519, MLDSA44), where), url[0] if url else None))

    def witness(self, name: str, vkey: str, url: list[str], where: str) -> None:
        self.define(name, where)
        key = self.vkey(vkey, (COSIGNATURE, MLDSA44), where)
        self.witnesses.append(Witness(name, key, url[0] if url else None, name in self.marked))

    def group(self, name: str, threshold: str, members: list[str], where: str) -> None:
        for member in members:
            if member not in self.names or member == NO_QUORUM:
                raise Malformed(where, "a member is neither a witness nor a group defined above")
            if member in self.members:
                raise Malformed(where, "a member is listed twice, here or in another group")
            self.members.add(member)
        self.define(name, where)
        most = len(members)
        least = {"any": 1, "all": most}.get(threshold) or parse_decimal(threshold, where)
        if not 1 <= least <= most:
            raise Malformed(where, f"the threshold is not between 1 and {most}")
        self.groups.append(Group(name, least, tuple(members)))

    def finish(self) -> Policy:
        """The rules that only the whole file can break."""
        if self.quorum is None:
            raise Malformed("policy", "has no quorum line")
        if len(self.logs) != 1 or self.logs[0][0].kind != ED25519:
            raise Malformed("policy", "has not exactly one log line with an Ed25519 key")
        log, url = self.logs[0]
        check_origin(log.name, "policy")
        policy = Policy(log, url, tuple(self.witnesses), tuple(self.groups), self.quorum)
        own = [witness for witness in self.witnesses if _is_log_mldsa(witness, log)]
        if len(own) != 1:
            raise Malformed("policy", "has not exactly one ML-DSA-44 key of the log among the witnesses")
        if any(witness.auditor and witness.vkey.name == log.name for witness in self.witnesses):
            raise Malformed("policy", "makes the log its own auditor")
        if policy.quorum_met({witness.name for witness in self.witnesses if witness is not own[0]}):
            raise Malformed("policy", "has a quorum that can be met without the log's ML-DSA-44 key")
        return policy
