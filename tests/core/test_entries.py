"""Entries at the edges of their fields, in time, and under labels."""

import pytest

from ledger.core.entries import (
    ENTRY_LIMIT,
    Coverage,
    Entry,
    IndexRoot,
    Record,
    Registry,
    check_time,
    coverage_index_label,
    decode_entry,
    index_label,
    record_index_label,
    registry_index_label,
    sign_record,
    signed_message,
)
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.jose import sign_jws
from ledger.core.keys import Ed25519PrivateKey, verify_ed25519

ORIGIN = "log.example.gov/access/2026"
KEY = Ed25519PrivateKey.from_seed(bytes(32))
LARGEST = Record(
    2**32 - 1, 2**16 - 1, 2**32 - 1, 2**16 - 1, 2**32 - 1, b"\xff" * 32, b"\xfe" * 32, b"\xfd" * 64
)
SMALLEST = Record(0, 0, 0, 0, 0, bytes(32), bytes(32), bytes(64))


@pytest.mark.parametrize(
    ("entry", "size"),
    [
        (LARGEST, 146),
        (SMALLEST, 146),
        (Coverage(2**32 - 1, 2**16 - 1, 2**32 - 1, 2**64 - 1, bytes(64)), 84),
        (IndexRoot(2**64 - 1, bytes(32), b"\xff" * 32, 2**64 - 1), 82),
        (Registry(2**32 - 1, 2**32 - 1, b"x"), 11),
        (Registry(1, 0, b"x" * (ENTRY_LIMIT - 10)), ENTRY_LIMIT),
    ],
)
def test_entry_at_the_edge_of_its_fields_comes_back_the_same(entry: Entry, size: int) -> None:
    raw = entry.encode()
    assert len(raw) == size
    assert decode_entry(raw) == entry
    assert decode_entry(raw).encode() == raw


@pytest.mark.parametrize(
    ("raw", "where", "what"),
    [
        (b"", "entry", "0 bytes"),
        (b"\x01", "entry", "1 bytes"),
        (b"\x00\x01" + bytes(144), "entry", "version 0"),
        (b"\x02\x01" + bytes(144), "entry", "version 2"),
        (b"\x01\x00" + bytes(144), "entry", "kind 0"),
        (b"\x01\x05" + bytes(144), "entry", "kind 5"),
        (b"\x01\xff", "entry", "kind 255"),
        (b"\x01\x01" + bytes(143), "record", "145 bytes"),
        (b"\x01\x01" + bytes(145), "record", "147 bytes"),
        (b"\x01\x03" + bytes(79), "index root", "81 bytes"),
        (b"\x01\x03" + bytes(81), "index root", "83 bytes"),
        (b"\x01\x04" + bytes(81), "coverage", "83 bytes"),
        (b"\x01\x04" + bytes(83), "coverage", "85 bytes"),
        (b"\x01\x02" + bytes(7), "registry", "9 bytes"),
        (b"\x01\x02" + bytes(8), "registry", "10 bytes"),
        (b"\x01\x02" + bytes(ENTRY_LIMIT - 1), "entry", "65536 bytes"),
    ],
)
def test_bytes_that_are_no_entry_are_refused_with_the_reason(raw: bytes, where: str, what: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode_entry(raw)
    assert caught.value.where == where
    assert what in caught.value.what


def test_labels_of_all_kinds_differ_for_the_same_numbers() -> None:
    labels = {
        record_index_label(1, 0, 2, bytes(32)),
        record_index_label(1, 2, 0, bytes(32)),
        registry_index_label(1, 2),
        registry_index_label(2, 1),
        coverage_index_label(1, 2),
        coverage_index_label(2, 1),
    }
    assert len(labels) == 6


def test_index_root_has_no_label() -> None:
    assert index_label(IndexRoot(1, bytes(32), bytes(32), 1)) is None


@pytest.mark.parametrize(
    "jws", [b"x", b"a.b.c", b"\xff.e30.AA", b"e30.e30", b"W10.W10.AA", b"e30=.e30.AA", b"e30.e30.AA\n"]
)
def test_registry_entry_takes_no_label_when_its_jws_cannot_be_parsed(jws: bytes) -> None:
    assert index_label(Registry(1, 0, jws)) is None


@pytest.mark.parametrize("jws", [b"e30.e30.AA", sign_jws({}, "another", KEY).encode()])
def test_registry_entry_takes_its_label_whatever_its_jws_says(jws: bytes) -> None:
    assert index_label(Registry(1, 0, jws)) == registry_index_label(1, 0)


def test_record_is_signed_by_its_source_for_one_log() -> None:
    raw = sign_record(
        ORIGIN, KEY, source=1, day=20512, seal=0, activity=1, label=bytes(32), commitment=bytes(32)
    )
    record = decode_entry(raw)
    assert isinstance(record, Record)
    assert record.epoch == 2026
    assert verify_ed25519(KEY.public, record.signature, signed_message(ORIGIN, raw))
    assert not verify_ed25519(
        KEY.public, record.signature, signed_message("log.example.gov/access/2027", raw)
    )


def test_nothing_but_records_and_coverages_is_signed_by_sources() -> None:
    with pytest.raises(Malformed):
        signed_message(ORIGIN, IndexRoot(1, bytes(32), bytes(32), 1).encode())


DAY_START = 20512 * 86_400


@pytest.mark.parametrize(
    ("entry", "earliest"),
    [(SMALLEST._replace(day=20512), DAY_START), (Coverage(1, 2026, 20512, 0, bytes(64)), DAY_START + 86_400)],
)
def test_entry_may_be_five_minutes_early_and_not_a_second_more(
    entry: Record | Coverage, earliest: int
) -> None:
    check_time(entry, earliest - 300)
    check_time(entry, earliest, slack=0)
    for now, slack in ((earliest - 301, 300), (earliest - 1, 0)):
        with pytest.raises(RuleBroken) as caught:
            check_time(entry, now, slack)
        assert caught.value.evidence["rule"] == "day-in-future"
