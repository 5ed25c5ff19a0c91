"""Evidence: one access, provable to anyone who has a policy file for the log (docs/formats.md §6).

An `*.evidence.json` file:

    {"statement": {"en": "This shows … it does not prove …"},
     "receipt": {…},                       of the record
     "sd_jwt": "<JWT>~<disclosure>~…~",     with the disclosures that its holder chose
     "charter": {…},                       receipt of leaf 0
     "source": {…},                        receipt of the version of the source in force for the record
     "source_next": {"index_root": {…}, "index_proof": "<base64>"}}   the next version: absent, or later

all under one checkpoint. Trust runs policy → checkpoint → charter → registrar → source → record. The file never
holds a stream key: it tells of one access, and nothing about any other.
"""

from dataclasses import dataclass
from typing import Any

from ledger.core.claims import check_claims
from ledger.core.encoding import b64encode, format_date
from ledger.core.entries import Record, Registry, check_time, registry_index_label, signed_message
from ledger.core.errors import BadSignature, Malformed, RuleBroken
from ledger.core.indexproof import check_index_proof
from ledger.core.jose import parse_json
from ledger.core.keys import verify_ed25519
from ledger.core.note import good_signatures, parse_note
from ledger.core.policy import Opened, Policy, counts
from ledger.core.receipt import (
    CheckedReceipt,
    IndexRootProof,
    Receipt,
    Step,
    check_index_root,
    check_receipt,
    checkpoint_step,
    index_root_object,
    index_root_step,
    logged,
    read_index_root,
    read_receipt,
    receipt_object,
)
from ledger.core.sdjwt import SdJwt, commitment, parse_sd_jwt
from ledger.core.statements import Charter, SourceVersion, parse_charter, parse_source
from ledger.core.texts import check_language_map
from ledger.core.unsigned import base64_member, format_file, member, text_member

STATEMENT = {
    "en": "This shows that one record is in the log, what its source signed, and what its holder chose to open."
    " Whoever has this file can show it; it does not prove who shows it, that what was written is true, or that"
    " there is nothing else."
}
"""What an evidence file says of itself; a holder may add other languages."""


@dataclass(frozen=True, slots=True)
class NextVersion:
    """Where the index has the source's next version: the index root it is proven under, and the proof."""

    index_root: IndexRootProof
    index_proof: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """An evidence file taken apart; nothing about it has been checked."""

    statement: dict[str, str]
    receipt: Receipt
    sd_jwt: str
    charter: Receipt
    source: Receipt
    source_next: NextVersion


@dataclass(frozen=True, slots=True)
class CheckedEvidence:
    """Evidence that holds, and what it shows. `next_version` is the leaf of the source's next version, or None.

    With a next version the registration changed later: whether it was a revocation, by which the record is suspect,
    this file does not tell.
    """

    evidence: Evidence
    record: Record
    index: int
    opened: Opened
    charter: Charter
    source: SourceVersion
    next_version: int | None
    sd_jwt: SdJwt
    steps: tuple[Step, ...]


def parse_evidence(data: bytes, where: str = "evidence") -> Evidence:
    """The evidence in a file's bytes; Malformed says which member is missing or wrong."""
    return read_evidence(parse_json(data, where), where)


def read_evidence(value: Any, where: str = "evidence") -> Evidence:
    """As parse_evidence, of JSON that is already parsed (by `jose.parse_json`)."""
    following = member(value, "source_next", where)
    return Evidence(
        statement=check_language_map(member(value, "statement", where), f"{where} statement"),
        receipt=read_receipt(member(value, "receipt", where), f"{where} receipt"),
        sd_jwt=text_member(value, "sd_jwt", where),
        charter=read_receipt(member(value, "charter", where), f"{where} charter"),
        source=read_receipt(member(value, "source", where), f"{where} source"),
        source_next=NextVersion(
            read_index_root(
                member(following, "index_root", f"{where} source_next"), f"{where} source_next index_root"
            ),
            base64_member(following, "index_proof", f"{where} source_next"),
        ),
    )


def evidence_object(evidence: Evidence) -> dict[str, Any]:
    """The evidence as a JSON object."""
    return {
        "statement": evidence.statement,
        "receipt": receipt_object(evidence.receipt),
        "sd_jwt": evidence.sd_jwt,
        "charter": receipt_object(evidence.charter),
        "source": receipt_object(evidence.source),
        "source_next": {
            "index_root": index_root_object(evidence.source_next.index_root),
            "index_proof": b64encode(evidence.source_next.index_proof),
        },
    }


def format_evidence(evidence: Evidence) -> bytes:
    """The file: JSON in UTF-8, ending in a newline."""
    return format_file(evidence_object(evidence))


def check_evidence(evidence: Evidence, policy: Policy, now: int) -> CheckedEvidence:
    """Check evidence under a policy at `now` (Unix seconds).

    Raises Malformed, BadSignature, QuorumNotMet, ProofRefuted or RuleBroken.
    """
    receipt = check_receipt(evidence.receipt, policy, now)
    record = receipt.entry
    if not isinstance(record, Record):
        raise RuleBroken("evidence", "its receipt is not of a record")
    opened, index = receipt.opened, receipt.index
    charter = _check_charter(check_receipt(evidence.charter, policy, now, opened), opened)
    source = _check_source(check_receipt(evidence.source, policy, now, opened), receipt, record, charter)
    # The notes may carry different witnesses' lines, but each has to be signed by the log the charter names.
    for note in {part.proof.checkpoint for part in (evidence.receipt, evidence.charter, evidence.source)}:
        check_log_keys(note, charter, now)
    following = _check_next(evidence.source_next, receipt, source)
    check_signed_record(evidence.receipt.entry, record, source, charter)
    # Nobody but a witness vouches for the time; under a policy without any, the reader's own clock has to do.
    check_time(record, now if opened.newest is None else opened.newest)
    sd_jwt = _check_sd_jwt(evidence.sd_jwt, record, source, charter)
    steps = (
        checkpoint_step(opened, policy),
        Step(
            "The record is in the log",
            f"Entry {index} of {opened.checkpoint.size}, and the index has it under its label.",
        ),
        index_root_step(receipt.index_root),
        Step(
            "The charter is the log's first entry",
            "It names the registrar, and both of the log's keys have signed this checkpoint.",
        ),
        _source_step(source, following),
        Step(
            "The source signed the record",
            f"Source {source.source}, for the day {format_date(record.day)}; every field is within what it registered.",
        ),
        Step(
            "The details are those the record commits to",
            f"Signed by the same source; opened here: {', '.join(sd_jwt.claims) or 'nothing'}.",
        ),
    )
    return CheckedEvidence(evidence, record, index, opened, charter, source, following, sd_jwt, steps)


def check_log_keys(note: bytes, charter: Charter, now: int) -> None:
    """BadSignature unless every key of the charter has signed this checkpoint, and so that it counts (formats §6)."""
    good = good_signatures(parse_note(note, "checkpoint"), charter.log_vkeys)
    signed = {signature.vkey for signature in good if counts(signature, now)}
    for vkey in charter.log_vkeys:
        if vkey not in signed:
            what = f"is not signed by the charter's key {vkey.name} {vkey.key_id.hex()}"
            raise BadSignature("checkpoint", what, note=note, vkey=vkey.text)


def check_signed_record(raw: bytes, record: Record, source: SourceVersion, charter: Charter) -> None:
    """RuleBroken or BadSignature unless `source`, in force for it, may have signed this record and has."""
    source.check_signer(record)
    source.check_record(record)
    if not verify_ed25519(source.key, record.signature, signed_message(charter.origin, raw)):
        raise BadSignature("record", f"the signature is not by the key of source {source.source}", entry=raw)


def _check_charter(receipt: CheckedReceipt, opened: Opened) -> Charter:
    entry = receipt.entry
    if receipt.index != 0 or not isinstance(entry, Registry) or entry.source != 0:
        raise RuleBroken("evidence", "its charter is not leaf 0 of the log")
    _same_checkpoint(receipt, opened)
    with logged():
        return parse_charter(receipt.receipt.entry, opened.checkpoint.origin)


def _check_source(
    receipt: CheckedReceipt, of_record: CheckedReceipt, record: Record, charter: Charter
) -> SourceVersion:
    entry = receipt.entry
    if not isinstance(entry, Registry) or entry.source != record.source:
        raise RuleBroken("evidence", f"its source is not a registry entry of source {record.source}")
    _same_checkpoint(receipt, of_record.opened)
    if receipt.index >= of_record.index:
        raise RuleBroken("evidence", f"its source entry {receipt.index} is later than the record")
    with logged():
        return parse_source(receipt.receipt.entry, receipt.index, charter)


def _check_next(following: NextVersion, receipt: CheckedReceipt, source: SourceVersion) -> int | None:
    """The leaf of the version after `source`, which is later than the record, or None."""
    index_root = check_index_root(following.index_root, receipt.opened.checkpoint)
    label = registry_index_label(source.source, source.version + 1)
    found = check_index_proof(index_root.index_root, index_root.covers, label, following.index_proof)
    if found is not None and found <= receipt.index:
        what = f"version {source.version + 1} of source {source.source} was in force, not the one shown"
        raise RuleBroken("evidence", what)
    return found


def _check_sd_jwt(text: str, record: Record, source: SourceVersion, charter: Charter) -> SdJwt:
    jwt, tilde, _ = text.partition("~")
    if not tilde or not text.endswith("~") or not text.isascii():
        raise Malformed("SD-JWT", "is not ASCII that ends in ~")
    # The commitment first: from then on whatever is wrong was signed so, or is a disclosure of something else.
    if commitment(jwt) != record.commitment:
        raise RuleBroken("SD-JWT", "is not the one that the record commits to")
    with logged():
        sd_jwt = parse_sd_jwt(text, source.key)
        check_claims(record, sd_jwt, charter)
    return sd_jwt


def _same_checkpoint(receipt: CheckedReceipt, opened: Opened) -> None:
    if receipt.opened.checkpoint != opened.checkpoint:
        raise RuleBroken("evidence", "its parts are not all under the same checkpoint")


def _source_step(source: SourceVersion, following: int | None) -> Step:
    what = (
        f"Version {source.version} of source {source.source}, entry {source.index}, signed by the registrar"
    )
    if following is None:
        return Step(
            "The source was registered so", f"{what}; there is no newer version under this checkpoint."
        )
    return Step(
        "The source was registered so",
        f"{what}. The registration changed later, at entry {following}: whether it was revoked has to be looked up.",
    )
