"""What every result says of the log it stands on: size, root, who signed, how old, whether an auditor did."""

from typing import Any

from ledger.client.mirrors import Mirrors
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.policy import Opened, Policy
from verifier_cli.outcome import Line
from verifier_cli.words import time_in_words

NO_AUDITOR = (
    "No auditor stands behind the index yet: the policy's quorum can be met without one, so that nothing is missing"
    " rests on the log's own index. `glassbook-verify audit` recomputes it."
)
NO_AUDITOR_FOLDER = (
    "No auditor stands behind the index yet: the policy's quorum can be met without one. The index of this folder was"
    " recomputed from all of its entries; whether others are shown the same log, only witnesses can tell."
)


def log_facts(view: View) -> dict[str, Any]:
    """For JSON."""
    facts = checkpoint_facts(view.opened, view.policy) | {"read_from": view.log.where}
    # Of several copies: those that did not give the right files.
    return facts | {"left_aside": view.log.complaints} if isinstance(view.log, Mirrors) else facts


def checkpoint_facts(opened: Opened, policy: Policy) -> dict[str, Any]:
    """As `log_facts`, of a checkpoint alone."""
    names = {witness.vkey: witness.name for witness in policy.witnesses} | {policy.log: "log"}
    return {
        "origin": opened.checkpoint.origin,
        "size": opened.checkpoint.size,
        "root": b64encode(opened.checkpoint.root),
        "signed_by": list(dict.fromkeys(names[vkey] for vkey in opened.counted)),
        "newest_witness_timestamp": opened.newest,
        "auditor_in_quorum": policy.auditor_in_quorum,
    }


def log_line(view: View) -> Line:
    """For people: which log, how large, as of when."""
    when = f", as of {time_in_words(view.opened.newest)}" if view.opened.newest is not None else ""
    return Line(f"{view.opened.checkpoint.origin}: {view.size} entries{when}", "quiet")
