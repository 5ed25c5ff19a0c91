"""Evidence of one access, made from a view: everything under the view's one checkpoint (docs/formats.md §6)."""

from ledger.client.view import View
from ledger.core.entries import Record, decode_entry, registry_index_label
from ledger.core.errors import Malformed
from ledger.core.evidence import STATEMENT, Evidence, NextVersion
from ledger.core.registry import Register


def make_evidence(view: View, register: Register, index: int, sd_jwt: str) -> Evidence:
    """Evidence of record `index` with `sd_jwt` as its holder wants it shown; `register` was read under `view`.

    Raises `Malformed` when entry `index` is no record of a registered source, and what `View.receipt` raises.
    """
    record = decode_entry(view.entries([index])[index])
    version = register.version_at(record.source, index) if isinstance(record, Record) else None
    if version is None:
        raise Malformed(f"entry {index}", "is no record of a source registered before it")
    following = view.proofs([registry_index_label(version.source, version.version + 1)])[0]
    return Evidence(
        statement=dict(STATEMENT),
        receipt=view.receipt(index),
        sd_jwt=sd_jwt,
        charter=view.receipt(0),
        source=view.receipt(version.index),
        source_next=NextVersion(view.index_root_proof(), following.proof),
    )
