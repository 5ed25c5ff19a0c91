"""policy.txt: the witnesses this log is published under, as C2SP tlog-policy writes them down.

    log <Ed25519 vkey of the log>
    witness LOG_MLDSA <ML-DSA-44 vkey of the log>
    witness W1 <vkey> https://witness.example/prefix
    # auditor W2
    witness W2 <vkey> https://auditor.example/prefix
    group q all LOG_MLDSA W1 W2
    quorum q

`glassbook witness add` writes exactly this shape. An operator may write any other policy by hand; the
publisher reads whatever is a policy of this log, and `add` then leaves the file alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ledger.core.errors import GlassbookError
from ledger.core.note import COSIGNATURE, MLDSA44, VerifierKey
from ledger.core.policy import Policy, parse_policy
from ledger.files import read_limited

MAX_POLICY = 1 << 20
MAX_WITNESSES = 99
"""A note has at most 100 signatures (docs/formats.md §6); one is the log's own by its Ed25519 key."""

LOG_MLDSA = "LOG_MLDSA"


class PolicyRefused(Exception):
    """policy.txt, or what is to be added to it, cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness line: its name in the file, its key, where it is, and whether it is an auditor."""

    name: str
    vkey: VerifierKey
    url: str
    auditor: bool = False


def format_policy(log: VerifierKey, log_mldsa: VerifierKey, witnesses: list[PolicyWitness]) -> str:
    """The file in the one shape shown above."""
    lines = [f"log {log.text}", f"witness {LOG_MLDSA} {log_mldsa.text}"]
    for witness in witnesses:
        if witness.auditor:
            lines.append(f"# auditor {witness.name}")
        lines.append(f"witness {witness.name} {witness.vkey.text} {witness.url}")
    lines.append(" ".join(["group q all", LOG_MLDSA, *(witness.name for witness in witnesses)]))
    lines.append("quorum q")
    return "\n".join(lines) + "\n"


def add_witness(
    text: str | None, log: VerifierKey, log_mldsa: VerifierKey, vkey: VerifierKey, url: str, auditor: bool
) -> tuple[str, str]:
    """The policy with one witness more, and the name it has there. `text` is the file so far, None when
    there is none.

    Raises PolicyRefused.
    """
    if vkey.kind not in (COSIGNATURE, MLDSA44):
        raise PolicyRefused(
            f"{vkey.name}: this is not the key of a witness (its type is {vkey.kind:#04x}, not 0x04)"
        )
    check_url(url)
    witnesses = witnesses_of(text, log, log_mldsa) if text is not None else []
    if vkey.key in (log.key, log_mldsa.key):
        raise PolicyRefused("this is the log's own key; a log does not witness itself")
    for known in witnesses:
        if known.vkey.key == vkey.key:
            raise PolicyRefused(f"this key is in the policy already, as {known.name}")
    name = f"W{len(witnesses) + 1}"
    new = format_policy(log, log_mldsa, [*witnesses, PolicyWitness(name, vkey, url, auditor)])
    try:
        parse_policy(new)
    except GlassbookError as error:
        raise PolicyRefused(f"with this witness the policy would not be one: {error}") from None
    return new, name


def witnesses_of(text: str, log: VerifierKey, log_mldsa: VerifierKey) -> list[PolicyWitness]:
    """The witnesses of a file in our own shape. Raises PolicyRefused for any other."""
    policy = parse_for(text, log, log_mldsa)
    witnesses = [
        PolicyWitness(witness.name, witness.vkey, witness.url or "", witness.name in policy.auditors)
        for witness in policy.witnesses
        if witness.vkey != log_mldsa
    ]
    if format_policy(log, log_mldsa, witnesses) != text:
        raise PolicyRefused("policy.txt was written by hand; add the witness there by hand as well")
    return witnesses


def parse_for(text: str, log: VerifierKey, log_mldsa: VerifierKey) -> Policy:
    """Read a policy and see that it is one of this log. Raises PolicyRefused."""
    try:
        policy = parse_policy(text)
    except GlassbookError as error:
        raise PolicyRefused(f"policy.txt cannot be used: {error}") from None
    if policy.log != log or all(witness.vkey != log_mldsa for witness in policy.witnesses):
        raise PolicyRefused("policy.txt is the policy of another log: its log keys are not this log's")
    if len(policy.witnesses) > MAX_WITNESSES:
        raise PolicyRefused(
            f"policy.txt names more than {MAX_WITNESSES} witnesses: a checkpoint holds no more lines"
        )
    return policy


def check_url(url: str) -> None:
    """Raise PolicyRefused unless this can be a witness's submission prefix."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username or not url.isprintable() or " " in url:
        raise PolicyRefused("the witness's URL has to look like https://witness.example/prefix")


class PolicyFile:
    """policy.txt, read again whenever it changes."""

    def __init__(self, path: Path, log: VerifierKey, log_mldsa: VerifierKey) -> None:
        self.path = path
        self._keys = (log, log_mldsa)
        self._stamp: tuple[int, int, int] | None = None
        self.text = ""
        self._policy: Policy | None = None

    def read(self) -> tuple[Policy, bool]:
        """The policy, and whether it is another than at the last call. Raises PolicyRefused."""
        try:
            info = self.path.stat()
            stamp = (info.st_ino, info.st_mtime_ns, info.st_size)
            if stamp == self._stamp and self._policy is not None:
                return self._policy, False
            # tlog-policy is a file of octets: what is not UTF-8 is kept apart, not refused.
            text = read_limited(self.path, MAX_POLICY).decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            raise PolicyRefused(
                f"{self.path}: no policy yet, so nothing can be published; run: glassbook witness add VKEY"
                " URL"
            ) from None
        policy = parse_for(text, *self._keys)
        self._stamp, self.text, self._policy = stamp, text, policy
        return policy, True
