"""Two checkpoints of one log that cannot both be true, shown so that anybody can check it.

    seen   size m, root R          the one remembered
    note   size n, root S          the one shown now

Of one size with two roots the notes alone are the proof. Otherwise let m < n. The tree under S is read, and from it
the root of its first m entries and the consistency proof from there to S (RFC 6962 §2.1.2) are taken:

    the proof leads from that root to S, and that root is R         note contains seen
    the proof leads from that root to S, and that root is not R     a fork: the log's own tree says so

Both are hashes under what the log signed, so whoever has the log's key can check them without asking the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ledger.client.authentic import AuthenticTiles
from ledger.client.publiclog import PublicLog
from ledger.core.checkpoint import open_checkpoint
from ledger.core.encoding import b64decode, b64encode
from ledger.core.errors import Fork, GlassbookError, Malformed, ProofRefuted, Rollback
from ledger.core.jose import parse_json
from ledger.core.merkle import check_consistency, prove_consistency, tree_root
from ledger.core.policy import CLOCK_TOLERANCE_S, Opened, Policy
from verifier_cli.outcome import Line, Outcome, Verdict
from verifier_cli.words import plain, time_in_words

SAME_SIZE = "none is needed: a tree of one size has one root, and two were signed"


def by_log_alone(policy: Policy, note: bytes) -> Opened:
    """A checkpoint that the log signed, whoever else did: its own signature makes it binding.

    Raises what `open_checkpoint` raises.
    """
    checkpoint, good = open_checkpoint(note, policy.log, [witness.vkey for witness in policy.witnesses])
    return Opened(checkpoint, note, tuple(good), (), None, None)


def shown(log: PublicLog, seen: Opened, new: Opened, error: ProofRefuted) -> ProofRefuted:
    """`error` about these two checkpoints with all that shows it to a third party, as a `Fork` if it is one.

    Its evidence has `seen` and `note`, and either `proof` with `prefix_root`, the root of the first entries of the
    larger tree, as many as the smaller one has, or `no_proof`: why there is none.
    """
    evidence: dict[str, Any] = {"seen": seen.note, "note": new.note}
    small, large = sorted((seen, new), key=lambda opened: opened.checkpoint.size)
    if small.checkpoint.size == large.checkpoint.size:
        if small.checkpoint.root != large.checkpoint.root:
            evidence["no_proof"] = SAME_SIZE
        return type(error)(error.where, error.what, **evidence)
    try:
        prefix, proof = _prefix(log, small.checkpoint.size, large)
    except GlassbookError as failed:
        evidence["no_proof"] = f"the tree of size {large.checkpoint.size} cannot be read: {failed}"
        return type(error)(error.where, error.what, **evidence)
    evidence |= {"proof": [b64encode(node) for node in proof], "prefix_root": b64encode(prefix)}
    if prefix != small.checkpoint.root:
        return Fork("checkpoint", _forked(small, large), **evidence)
    return type(error)(error.where, error.what, **evidence)


def refuse_fork(log: PublicLog, seen: Opened, new: Opened) -> None:
    """Raise `Fork` if these two cannot both be true; for a checkpoint that the policy does not accept anyway.

    What cannot be read shows nothing, and raises nothing.
    """
    old, now = seen.checkpoint, new.checkpoint
    if old == now:
        return
    error: ProofRefuted = Rollback("checkpoint", f"size {now.size}, but size {old.size} was seen before")
    if old.size == now.size:
        error = Fork("checkpoint", f"two different roots signed for size {now.size}")
    found = shown(log, seen, new, error)
    if isinstance(found, Fork):
        raise found


def _prefix(log: PublicLog, size: int, large: Opened) -> tuple[bytes, list[bytes]]:
    """The root of the first `size` entries of the tree under `large`, and the proof that it is that."""
    checkpoint = large.checkpoint
    tiles = AuthenticTiles(log.tile, checkpoint.size, checkpoint.root, log.where)
    return tree_root(size, tiles), prove_consistency(size, checkpoint.size, tiles)


def _forked(small: Opened, large: Opened) -> str:
    return (
        f"the log has forked: the tree of size {large.checkpoint.size} begins with another one than that signed for"
        f" size {small.checkpoint.size}"
    )


# -- the file, judged by somebody else -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Evidence:
    seen: bytes
    note: bytes
    proof: list[bytes] | None
    prefix_root: bytes | None


def judge_file(name: str, data: bytes, policy: Policy) -> Outcome:
    """Judge a file of evidence about two checkpoints with nothing but a policy.

    Raises `Malformed` when the file holds no two checkpoints, `BadSignature` when the log did not sign both.
    """
    evidence = _parse(name, data)
    opened = [by_log_alone(policy, note) for note in (evidence.seen, evidence.note)]
    lines = []
    for number, (one, what) in enumerate(zip(opened, ("seen first", "shown later"), strict=True), 1):
        lines += [
            Line(f"{number}. The checkpoint {what}: size {one.checkpoint.size}", "heading"),
            Line(f"signed by the log; cosigned by {_cosigners(one, policy)}", indent=3),
        ]
    verdict, title, message = _judge(evidence, *opened)
    lines += [Line(f"3. {title}", "heading"), Line(message, indent=3), Line()]
    result = {
        "file": name,
        "sizes": [one.checkpoint.size for one in opened],
        "contradiction": verdict is Verdict.REFUTED,
    }
    refuted = name if verdict is Verdict.REFUTED else None
    return Outcome("consistency", verdict, message, result, lines, refuted)


def _judge(evidence: _Evidence, seen: Opened, new: Opened) -> tuple[Verdict, str, str]:
    small, large = sorted((seen, new), key=lambda opened: opened.checkpoint.size)
    one, other = small.checkpoint, large.checkpoint
    sizes = f"size {one.size} and size {other.size}"
    if one.size == other.size and one.root != other.root:
        return (
            Verdict.REFUTED,
            "One size, two roots",
            f"the log has forked: two roots signed for size {one.size}",
        )
    if one.size < other.size:
        if evidence.proof is None or evidence.prefix_root is None:
            text = "the file has no consistency proof, so it shows neither that the two agree nor that they do not"
            return Verdict.NOT_CHECKED, "No proof between them", text
        try:
            check_consistency(one.size, other.size, evidence.prefix_root, other.root, evidence.proof)
        except ProofRefuted as error:
            return Verdict.NOT_CHECKED, "The proof is none", f"it shows nothing: {error}"
        if evidence.prefix_root != one.root:
            return Verdict.REFUTED, "The larger tree does not contain the smaller", _forked(small, large)
    wrong = misdated(small, large)
    if wrong is not None:
        return Verdict.REFUTED, "The larger tree is dated earlier", wrong
    if new is small and one.size < other.size:
        text = (
            f"{sizes} do not contradict each other; that the smaller one was shown after the larger, only those who"
            " looked can say"
        )
        return Verdict.HOLDS, "The larger tree contains the smaller", text
    return Verdict.HOLDS, "The larger tree contains the smaller", f"{sizes} do not contradict each other"


def misdated(small: Opened, large: Opened) -> str | None:
    """Words for a cosigner who dates the larger tree before the smaller, by more than clocks may differ.

    A cosignature says that no larger tree was known at its time (C2SP tlog-cosignature).
    """
    if small.checkpoint.size >= large.checkpoint.size:
        return None
    for before in small.good:
        for after in large.good:
            if (
                before.vkey == after.vkey
                and before.timestamp
                and after.timestamp
                and after.timestamp + CLOCK_TOLERANCE_S < before.timestamp
            ):
                return (
                    f"{plain(before.vkey.name)} cosigned size {small.checkpoint.size} on {_when(before.timestamp)},"
                    f" and the larger size {large.checkpoint.size} already on {_when(after.timestamp)}"
                )
    return None


def _when(timestamp: int) -> str:
    try:
        return time_in_words(timestamp)
    except (ValueError, OverflowError):
        return f"second {timestamp}"


def _cosigners(opened: Opened, policy: Policy) -> str:
    names = {witness.vkey: witness.name for witness in policy.witnesses if witness.vkey.name != policy.origin}
    found = [
        f"{plain(names[good.vkey])} ({_when(good.timestamp or 0)})"
        for good in opened.good
        if good.vkey in names
    ]
    return ", ".join(dict.fromkeys(found)) or "no witness of this policy"


def _parse(name: str, data: bytes) -> _Evidence:
    content = parse_json(data, name)
    held = content.get("evidence") if isinstance(content, dict) else None
    if not isinstance(held, Mapping):
        raise Malformed(name, "is no file of evidence: it has no member evidence")
    notes = [held.get(member) for member in ("seen", "note")]
    if not all(isinstance(note, str) for note in notes):
        raise Malformed(name, "is not about two checkpoints: it has not both seen and note")
    proof, prefix = held.get("proof"), held.get("prefix_root")
    if proof is not None and not (isinstance(proof, list) and all(isinstance(node, str) for node in proof)):
        raise Malformed(name, "proof is not a list of base64")
    if prefix is not None and not isinstance(prefix, str):
        raise Malformed(name, "prefix_root is not base64")
    root = None if prefix is None else b64decode(prefix, f"{name}: prefix_root")
    if root is not None and len(root) != 32:
        raise Malformed(name, f"prefix_root has {len(root)} bytes, not 32")
    return _Evidence(
        seen=str(notes[0]).encode(),
        note=str(notes[1]).encode(),
        proof=None if proof is None else [b64decode(node, f"{name}: proof") for node in proof],
        prefix_root=root,
    )
