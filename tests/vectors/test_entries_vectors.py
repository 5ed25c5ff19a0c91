"""entries.json: every kind of entry, what stands before it, and all that may not stand there."""

import base64
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.entries import (
    Coverage,
    IndexRoot,
    Record,
    Registry,
    check_time,
    decode_entry,
    entry_hash,
    index_label,
    sign_coverage,
    sign_record,
    signed_message,
)
from ledger.core.errors import BadSignature, GlassbookError, Malformed, RuleBroken
from ledger.core.jose import split_jws
from ledger.core.keys import Ed25519PrivateKey, verify_ed25519
from ledger.core.merkle import leaf_hash
from ledger.core.registry import Register

VECTORS = load("entries.json")
ORIGIN = VECTORS["origin"]
LATE = 253402300800
"""A time after every day there is: in this file no entry is refused for being early."""


def raw_entry(case: dict[str, Any]) -> bytes:
    if "entry_base64" in case:
        return base64.b64decode(case["entry_base64"], validate=True)
    if "entry_is" in case:
        # "the first 10 bytes of "source 1", then 65536 times 0x41"
        return VALID["source 1"][:10] + b"A" * 65_536
    return bytes.fromhex(case["entry"])


VALID = {case["name"]: raw_entry(case) for case in VECTORS["valid"]}


def register_before(case: dict[str, Any]) -> Register:
    register = Register(ORIGIN)
    for index, name in enumerate(case.get("before", [])):
        register.add(index, VALID[name])
    return register


def check(case: dict[str, Any], raw: bytes) -> None:
    """All that a ledger and an auditor ask of an entry that comes next."""
    register = register_before(case)
    entry = decode_entry(raw)
    if isinstance(entry, Registry):
        register.add(len(case.get("before", [])), raw)
    elif isinstance(entry, Record | Coverage):
        version = register.signer(entry)
        if not verify_ed25519(version.key, entry.signature, signed_message(ORIGIN, raw)):
            raise BadSignature("entry", "bad signature")
        if isinstance(entry, Record):
            version.check_record(entry)
        else:
            version.check_coverage(entry)
        check_time(entry, LATE)


@pytest.mark.parametrize("case", cases(VECTORS["valid"]))
def test_entry_is_accepted_with_its_fields(case: dict[str, Any]) -> None:
    raw = raw_entry(case)
    check(case, raw)
    entry = decode_entry(raw)
    assert entry.encode() == raw
    assert leaf_hash(raw).hex() == case["leaf_hash"]
    assert entry_hash(raw).hex() == case["entry_hash"]
    label = index_label(entry)
    assert (label.hex() if label else None) == case["index_label"]
    assert fields(entry) == case["fields"]


def fields(entry: Record | Registry | IndexRoot | Coverage) -> dict[str, Any]:
    shown: dict[str, Any]
    if isinstance(entry, Registry):
        jws = split_jws(entry.jws.decode(), "registry")
        shown = {
            "source": entry.source,
            "version": entry.version,
            "header": jws.header,
            "payload": jws.payload,
        }
        return {"kind": "registry", **shown}
    kinds = {Record: "record", Coverage: "coverage", IndexRoot: "index-root"}
    shown = {k: v.hex() if isinstance(v, bytes) else v for k, v in entry._asdict().items()}
    return {"kind": kinds[type(entry)], **shown}


@pytest.mark.parametrize("case", cases(VECTORS["refused"]))
def test_entry_is_refused(case: dict[str, Any]) -> None:
    stages: dict[str, type[GlassbookError]] = {
        "shape": Malformed,
        "signature": BadSignature,
        "rule": RuleBroken,
    }
    with pytest.raises(stages.get(case["stage"], GlassbookError)) as caught:
        check(case, raw_entry(case))
    assert caught.value.where
    assert caught.value.what


@pytest.mark.parametrize("case", cases([c for c in VECTORS["refused"] if "entry_base64" in c]))
def test_refused_registry_entry_leaves_the_register_as_it_was(case: dict[str, Any]) -> None:
    register = register_before(case)
    before = {source: list(versions) for source, versions in register.sources.items()}
    with pytest.raises(GlassbookError):
        register.add(len(case.get("before", [])), raw_entry(case))
    assert register.sources == before


def test_source_signs_exactly_these_bytes() -> None:
    record, coverage = VALID["record"], VALID["coverage"]
    assert signed_message(ORIGIN, record).hex() == VECTORS["signed_message_of_record"]
    assert signed_message(ORIGIN, coverage).hex() == VECTORS["signed_message_of_coverage"]


def test_signing_again_gives_the_same_entries() -> None:
    key = Ed25519PrivateKey.from_seed(bytes.fromhex(VECTORS["source_1"]["seed"]))
    record = decode_entry(VALID["record"])
    coverage = decode_entry(VALID["coverage"])
    assert isinstance(record, Record)
    assert isinstance(coverage, Coverage)
    stated = record._asdict()
    del stated["epoch"], stated["signature"]
    assert sign_record(ORIGIN, key, **stated) == VALID["record"]
    again = sign_coverage(ORIGIN, key, source=coverage.source, day=coverage.day, records=coverage.records)
    assert again == VALID["coverage"]
