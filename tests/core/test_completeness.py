"""Completeness and keys files on a log made here: what is left out, added or moved is noticed."""

import json
from dataclasses import dataclass

import pytest
from logfactory import DAY, LogFactory, TestSource

from ledger.core.completeness import (
    check_stream_record,
    completeness_of_register,
    completeness_of_stream,
    seals_to_ask_for,
)
from ledger.core.encoding import month_of
from ledger.core.entries import record_index_label, registry_index_label
from ledger.core.errors import GlassbookError, Malformed, ProofRefuted, RuleBroken
from ledger.core.keysfile import parse_keys_file
from ledger.core.streams import StreamKey

SUBJECT = "nhs:9434765919"
JANUARY = 20_454  # 2026-01-01 in days since 1970-01-01


@dataclass
class Asked:
    """One person's stream at one source, and all that a reader has of it."""

    log: LogFactory
    source: TestSource
    key: StreamKey
    records: list[int]
    proofs: list[bytes]
    root: bytes
    covers: int

    def check(self, proofs: list[bytes]) -> list[int]:
        return completeness_of_stream(self.root, self.covers, self.source.number, 2026, 0, self.key, proofs)


@pytest.fixture(scope="module")
def asked() -> Asked:
    log = LogFactory()
    source, other = log.add_source(), log.add_source("Ministry of Transport")
    records = []
    for _ in range(6):
        records.append(log.access(source, SUBJECT))
        log.access(other, SUBJECT)
        log.access(source, "nhs:1111111111")
    key = log.stream(source, SUBJECT, 2026)
    index = log._index
    labels = [record_index_label(source.number, 2026, 0, key.label(n)) for n in range(1, 8)]
    return Asked(log, source, key, records, index.prove_many(labels), index.root, log.size)


def test_all_records_of_a_stream_and_the_end_of_it(asked: Asked) -> None:
    assert asked.check(asked.proofs) == asked.records
    for n, index in enumerate(asked.records, 1):
        raw = asked.log.entries[index]
        record = check_stream_record(raw, asked.source.number, 2026, 0, asked.key.label(n))
        assert record.day == DAY
        with pytest.raises(RuleBroken):
            check_stream_record(raw, asked.source.number, 2026, 0, asked.key.label(n + 1))
        with pytest.raises(RuleBroken):
            check_stream_record(raw, 2, 2026, 0, asked.key.label(n))
    with pytest.raises(RuleBroken):
        check_stream_record(asked.log.entries[0], 1, 2026, 0, asked.key.label(1))


def test_no_record_can_be_left_out_nor_put_elsewhere(asked: Asked) -> None:
    for place in range(len(asked.proofs)):
        with pytest.raises(GlassbookError):
            asked.check(asked.proofs[:place] + asked.proofs[place + 1 :])
        with pytest.raises(GlassbookError):
            asked.check(asked.proofs[:place])
        with pytest.raises(GlassbookError):
            asked.check([*asked.proofs, asked.proofs[place]])
    for other in range(1, len(asked.proofs)):
        moved = [asked.proofs[other], *asked.proofs[1:other], asked.proofs[0], *asked.proofs[other + 1 :]]
        with pytest.raises(GlassbookError):
            asked.check(moved)


def test_an_empty_stream_is_complete_with_one_proof(asked: Asked) -> None:
    key = asked.log.stream(asked.source, "nhs:2222222222", 2026)
    proof = asked.log._index.prove(record_index_label(asked.source.number, 2026, 0, key.label(1)))
    assert completeness_of_stream(asked.root, asked.covers, 1, 2026, 0, key, [proof]) == []
    with pytest.raises(ProofRefuted, match="no proofs"):
        completeness_of_stream(asked.root, asked.covers, 1, 2026, 0, key, [])


def test_no_source_and_no_version_can_be_left_out(asked: Asked) -> None:
    def proofs(source: int) -> list[bytes]:
        return asked.log._index.prove_many([registry_index_label(source, version) for version in (0, 1)])

    sources = [proofs(source) for source in range(3)]
    after = proofs(3)[0]
    assert completeness_of_register(asked.root, asked.covers, sources, after) == [[0], [1], [2]]
    for fewer in (sources[:2], sources[1:], [sources[0], sources[2]], [], [[], *sources[1:]]):
        with pytest.raises(GlassbookError):
            completeness_of_register(asked.root, asked.covers, fewer, after)
    with pytest.raises(ProofRefuted, match="not at its end"):
        completeness_of_register(asked.root, asked.covers, sources[:2], sources[2][0])
    with pytest.raises(ProofRefuted, match="yet the list goes on"):
        completeness_of_register(asked.root, asked.covers, [*sources, [after]], proofs(4)[0])


@dataclass
class States:
    seal_months: int
    schemes: tuple[str, ...] = ("nhs",)


def test_every_seal_that_a_record_of_the_year_can_have_is_asked_for() -> None:
    for months in (1, 3, 24):
        asked_for = set(seals_to_ask_for([States(months), States(0)], 2026, 10_000))
        possible = {
            month_of(day) + ahead for day in range(JANUARY, JANUARY + 365) for ahead in range(1, months + 1)
        }
        assert asked_for == possible | {0}
    assert seals_to_ask_for([], 2026, 10_000) == [0]


def test_a_keys_file_gives_keys_only_under_the_registered_vrf_key(asked: Asked) -> None:
    file = parse_keys_file(asked.log.keys_file(SUBJECT))
    version = asked.log.version(asked.source)
    first, second = (secret for secret in file.keys if secret.source == 1)
    assert {first.epoch, second.epoch} == {2025, 2026}
    for secret in (first, second):
        expected = asked.log.stream(asked.source, SUBJECT, secret.epoch)
        assert secret.check(file.origin, version.vrf[secret.epoch]).key == expected.key
    with pytest.raises(ProofRefuted):
        first.check(file.origin, version.vrf[second.epoch])
    with pytest.raises(ProofRefuted):
        first.check("log.example.gov/other", version.vrf[first.epoch])
    assert SUBJECT not in repr(file) and SUBJECT not in repr(first)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", 0),
        ("source", 2**32),
        ("source", "1"),
        ("source", True),
        ("epoch", 65_536),
        ("seal", -1),
        ("subject", "9434765919"),
        ("subject", "nhs:94 34"),
        ("subject", 7),
        ("beta", "AAAA"),
        ("beta", None),
        ("pi", "AA=="),
        ("pi", "!"),
    ],
)
def test_a_key_with_a_wrong_member_is_malformed_and_nothing_of_it_told(
    asked: Asked, name: str, value: object
) -> None:
    content = json.loads(asked.log.keys_file(SUBJECT))
    content["keys"][1][name] = value
    with pytest.raises(Malformed) as error:
        parse_keys_file(json.dumps(content).encode())
    assert "9434" not in str(error.value)
    del content["keys"][1][name]
    with pytest.raises(Malformed, match=f"key 2: no member {name}"):
        parse_keys_file(json.dumps(content).encode())
