"""What can go wrong, as a tree.

    GlassbookError
    ├── Malformed            the bytes cannot be what they claim to be; nothing was checked (exit code 3)
    └── Refuted              well-formed, and the check failed (exit code 1)
        ├── BadSignature     a signature does not verify, or was made by another key
        ├── QuorumNotMet     a checkpoint lacks the signatures that the policy asks for
        ├── ProofRefuted     a Merkle, index or VRF proof does not lead to the value it should
        │   ├── Fork         two checkpoints of one log that cannot both be true
        │   └── Rollback     a checkpoint older or smaller than one already trusted
        └── RuleBroken       every part is sound, but a rule of docs/formats.md is broken

The difference between the two branches matters to whoever reads the result: a malformed file may be a
bad download, a refuted one is evidence that somebody said something untrue.

Every error says where and what; what else is needed to show it to a third party is in `evidence`.
Messages never hold subjects, reasons, claims or keys: they end up in logs.
"""

from typing import Any


class GlassbookError(Exception):
    """`where` names the input ("checkpoint", "record 17"), `what` the fault; str() is "where: what".

    Keyword arguments are kept in `evidence`: raw bytes or parsed values, never shown in the message.
    """

    def __init__(self, where: str, what: str, **evidence: Any) -> None:
        super().__init__(where, what)
        self.where = where
        self.what = what
        self.evidence = evidence

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Malformed(GlassbookError):
    """The input is not in the format it should be in."""


class Refuted(GlassbookError):
    """The input is in its format, and a check of it failed."""


class BadSignature(Refuted):
    """A signature is not by the key, or not over the message, that it should be."""


class QuorumNotMet(Refuted):
    """A checkpoint does not carry the signatures that the policy requires."""


class ProofRefuted(Refuted):
    """A proof does not lead to the root, or from the leaf, that it should."""


class Fork(ProofRefuted):
    """The log signed two checkpoints that cannot both be true; `evidence` holds both notes."""


class Rollback(ProofRefuted):
    """A log shows a smaller or older checkpoint than before; `evidence` holds both notes."""


class RuleBroken(Refuted):
    """A rule of docs/formats.md about otherwise sound input is broken."""
