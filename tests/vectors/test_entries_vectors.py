"""entries.json: every kind of entry, what stands before it, and all that may not stand there."""

import base64
import re
from typing import Any

import pytest
from vectorfiles import cases, load, now, numbers

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
"""A time after every day there is, for a file that says nothing else: no entry is refused for being early."""


def raw_entry(case: dict[str, Any]) -> bytes:
    if "entry_base64" in case:
        return base64.b64decode(case["entry_base64"], validate=True)
    if "entry" in case:
        return bytes.fromhex(case["entry"])
    # Too long to stand in the file: the first 10 bytes of "source 1", then 65536 times 0x41
    said = re.fullmatch(
        r'the first (\d+) bytes of "(.+)", then (\d+) times 0x([0-9a-f]{2})', case["entry_is"]
    )
    assert said, f"this test cannot make {case['entry_is']}"
    return VALID[said[2]][: int(said[1])] + bytes.fromhex(said[4]) * int(said[3])


VALID: dict[str, bytes] = {}
for _case in VECTORS["valid"]:
    VALID[_case["name"]] = raw_entry(_case)


def register_before(case: dict[str, Any]) -> Register:
    register = Register(ORIGIN)
    for index, name in enumerate(case.get("before", [])):
        if isinstance(decode_entry(VALID[name]), Registry):
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
        check_time(entry, now(VECTORS, case, LATE))
    if entry.index_label in {decode_entry(VALID[name]).index_label for name in case.get("before", [])} - {
        None
    }:
        raise RuleBroken("entry", "its label is taken")


@pytest.mark.parametrize("case", cases(VECTORS, "valid"))
def test_entry_is_accepted_with_its_fields(case: dict[str, Any]) -> None:
    raw = raw_entry(case)
    check(case, raw)
    entry = decode_entry(raw)
    assert entry.encode() == raw
    assert leaf_hash(raw).hex() == case["leaf_hash"]
    assert entry_hash(raw).hex() == case["entry_hash"]
    label = index_label(entry)
    assert (label.hex() if label else None) == case["index_label"]
    if isinstance(entry, Registry):
        assert fields(entry) == case["fields"]
    else:
        assert numbers(fields(entry)) == numbers(case["fields"])


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


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_entry_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed if case["stage"] == "shape" else GlassbookError) as caught:
        check(case, raw_entry(case))
    assert caught.value.where
    assert caught.value.what


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_refused_registry_entry_leaves_the_register_as_it_was(case: dict[str, Any]) -> None:
    register = register_before(case)
    before = {source: list(versions) for source, versions in register.sources.items()}
    with pytest.raises(GlassbookError):
        register.add(len(case.get("before", [])), raw_entry(case))
    assert register.sources == before


@pytest.mark.parametrize("kind", ["record", "coverage"])
def test_source_signs_exactly_these_bytes(kind: str) -> None:
    named = VECTORS[f"signed_message_of_{kind}"]
    assert named in {signed_message(ORIGIN, raw).hex() for raw in signed_entries()}


def signed_entries() -> list[bytes]:
    return [raw for raw in VALID.values() if isinstance(decode_entry(raw), Record | Coverage)]


def test_signing_again_gives_the_same_entries() -> None:
    key = Ed25519PrivateKey.from_seed(bytes.fromhex(VECTORS["source_1"]["seed"]))
    again = 0
    for raw in signed_entries():
        entry = decode_entry(raw)
        assert isinstance(entry, Record | Coverage)
        if verify_ed25519(key.public, entry.signature, signed_message(ORIGIN, raw)):
            stated = entry._asdict()
            del stated["epoch"], stated["signature"]
            sign = sign_record if isinstance(entry, Record) else sign_coverage
            assert sign(ORIGIN, key, **stated) == raw
            again += 1
    assert again, "no entry is signed by the key of source 1"
