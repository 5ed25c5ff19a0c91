"""`glassbook-verify show`: one entry in words."""

import json

from ledger.client.publiclog import PublicLog
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.entries import ENTRY_LIMIT, decode_entry
from ledger.core.errors import Malformed
from ledger.core.evidence import read_evidence
from ledger.core.jose import parse_json
from ledger.core.merkle import leaf_hash
from ledger.core.policy import Policy
from ledger.core.receipt import read_receipt
from verifier_cli.entrywords import entry_facts, entry_in_words
from verifier_cli.logfacts import log_facts, log_line
from verifier_cli.outcome import Line, Outcome, Verdict
from verifier_cli.words import plain


def show_index(log: PublicLog, policy: Policy, index: int, now: int, lang: str) -> Outcome:
    """Entry `index` of a log, checked to be in its tree. Raises `Malformed` for an index past the end."""
    view = View.open(log, policy, now)
    raw = view.entries([index])[index]
    lines = [log_line(view), *_words(raw, index, lang)]
    return Outcome(
        "show",
        Verdict.HOLDS,
        f"entry {index} is in the log of {view.size} entries; its signature and the rules are not checked here (audit)",
        {"log": log_facts(view), **_facts(raw, index)},
        lines,
    )


def show_file(data: bytes, lang: str) -> Outcome:
    """The entry in a receipt, an evidence file, or a file that is an entry; nothing about it is checked."""
    if data.lstrip()[:1] == b"{":
        value = parse_json(data, "file")
        if isinstance(value, dict) and "receipt" in value:
            kind, receipt = "evidence", read_evidence(value).receipt
        elif isinstance(value, dict) and "proof" in value:
            kind, receipt = "receipt", read_receipt(value)
        else:
            raise Malformed("file", "is neither a receipt nor evidence; for a keys file there is: mine")
        raw, index = receipt.entry, receipt.index
        message = f"nothing was checked; to check it: glassbook-verify {kind} FILE --policy FILE"
    else:
        if len(data) > ENTRY_LIMIT:
            raise Malformed("file", f"of {len(data)} bytes is no entry, which has at most {ENTRY_LIMIT}")
        raw, index, kind = data, None, "entry"
        message = "nothing was checked: an entry alone shows no place in a log"
    facts = {"file": kind, **_facts(raw, index)}
    return Outcome("show", Verdict.HOLDS, message, facts, _words(raw, index, lang))


def _facts(raw: bytes, index: int | None) -> dict[str, object]:
    return {"index": index, "leaf_hash": b64encode(leaf_hash(raw)), "entry": entry_facts(decode_entry(raw))}


def _words(raw: bytes, index: int | None, lang: str) -> list[Line]:
    entry = decode_entry(raw)
    lines = [Line(entry_in_words(entry, index, lang), "heading")]
    for name, value in entry_facts(entry).items():
        if isinstance(value, dict):
            lines += [Line(f"{name}.{member}: {_said(inner)}", indent=2) for member, inner in value.items()]
        else:
            lines.append(Line(f"{name}: {plain(value)}", indent=2))
    return [*lines, Line()]


def _said(value: object) -> str:
    return plain(json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value)
