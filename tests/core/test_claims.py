"""Entry and opened SD-JWT must tell one story; times are read as RFC 3339 has them."""

from typing import Any

import pytest
from logfactory import DAY, LogFactory, TestSource, default_claims

from ledger.core.claims import check_claims, check_complete, utc_day
from ledger.core.encoding import format_date, month_of
from ledger.core.entries import Record, decode_entry
from ledger.core.errors import GlassbookError, Malformed, RuleBroken
from ledger.core.sdjwt import SdJwt, parse_sd_jwt, present

SUBJECT = "nhs:9434765919"


def log_with_source() -> tuple[LogFactory, TestSource]:
    log = LogFactory()
    return log, log.add_source(seal_months=12)


def opened(log: LogFactory, index: int) -> tuple[Record, SdJwt]:
    record = decode_entry(log.entries[index])
    assert isinstance(record, Record)
    key = log.version(log.sources[record.source - 1]).key
    return record, parse_sd_jwt(log.sd_jwts[index], key)


def test_record_and_sd_jwt_that_agree_are_accepted() -> None:
    log, source = log_with_source()
    record, sd_jwt = opened(log, log.access(source))
    check_claims(record, sd_jwt, log.register.charter)
    check_claims(record, sd_jwt, log.register.charter, SUBJECT)
    check_complete(sd_jwt, log.register.charter)


def test_withheld_claims_are_not_missed_until_completeness_is_asked_for() -> None:
    log, source = log_with_source()
    record, sd_jwt = opened(log, log.access(source))
    part = parse_sd_jwt(present(sd_jwt, ("event",)), log.version(source).key)
    check_claims(record, part, log.register.charter)
    with pytest.raises(RuleBroken, match="subject, actor, data, purpose, reason"):
        check_complete(part, log.register.charter)


def test_sealed_record_need_not_name_its_activity() -> None:
    log, source = log_with_source()
    for purpose in ({"activity": 7}, {}):
        record, sd_jwt = opened(log, log.access(source, seal=month_of(DAY) + 1, purpose=purpose))
        check_claims(record, sd_jwt, log.register.charter)


@pytest.mark.parametrize(
    ("claims", "where", "what"),
    [
        ({"event": {"at": f"{format_date(DAY + 1)}T00:00:00Z"}}, "claim event.at", "day of the record"),
        ({"event": {"at": f"{format_date(DAY)}T23:30:00-01:00"}}, "claim event.at", "day of the record"),
        ({"event": {"at": f"{format_date(DAY)}T00:30:00+01:00"}}, "claim event.at", "day of the record"),
        ({"event": {"at": format_date(DAY)}}, "claim event.at", "RFC 3339"),
        ({"event": {"at": DAY * 86_400}}, "claim event.at", "RFC 3339"),
        ({"event": {}}, "claim event", "no member at"),
        ({"event": "secret"}, "claim event", "not a JSON object"),
        ({"purpose": {"activity": 2}}, "claim purpose.activity", "differs"),
        ({"purpose": {"activity": True}}, "claim purpose.activity", "differs"),
        ({"purpose": {"activity": 1.0}}, "claim purpose.activity", "differs"),
        ({"purpose": {"activity": "1"}}, "claim purpose.activity", "differs"),
        ({"purpose": {}}, "claim purpose", "no member activity"),
        ({"purpose": ["secret"]}, "claim purpose", "not a JSON object"),
        ({"subject": "passport:secret"}, "subject", "charter"),
        ({"subject": "nhs:secret"}, "subject", "canonical"),
        ({"subject": "secret"}, "subject", "scheme:value"),
        ({"subject": ["secret"]}, "claim subject", "text"),
        ({"subject": {"nhs": "secret"}}, "claim subject", "text"),
    ],
)
def test_claim_that_tells_another_story_is_refused(claims: dict[str, Any], where: str, what: str) -> None:
    log, source = log_with_source()
    record, sd_jwt = opened(log, log.access(source, envelope=False))
    told = {**sd_jwt.claims, **claims}
    changed = SdJwt(
        sd_jwt.jwt, sd_jwt.payload, told, sd_jwt.disclosures, sd_jwt.signing_input, sd_jwt.signature
    )
    with pytest.raises(GlassbookError) as caught:
        check_claims(record, changed, log.register.charter)
    assert caught.value.where == where
    assert what in caught.value.what
    assert "secret" not in str(caught.value)


def test_claim_about_another_person_is_refused_without_naming_either() -> None:
    log, source = log_with_source()
    record, sd_jwt = opened(log, log.access(source))
    with pytest.raises(RuleBroken, match="another person") as caught:
        check_claims(record, sd_jwt, log.register.charter, "nhs:9000000009")
    assert "9434765919" not in str(caught.value)
    assert "9000000009" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"commitment": bytes(32)}, "commitment"),
        ({"source": 2}, "issuer"),
        ({"epoch": 2025}, "epoch"),
    ],
)
def test_sd_jwt_of_another_record_is_refused(change: dict[str, Any], rule: str) -> None:
    log, source = log_with_source()
    record, sd_jwt = opened(log, log.access(source))
    with pytest.raises(RuleBroken) as caught:
        check_claims(record._replace(**change), sd_jwt, log.register.charter)
    assert caught.value.evidence["rule"] == rule


def test_default_claims_of_the_tests_are_complete() -> None:
    assert {"subject", "actor", "event", "data", "purpose"} <= default_claims(SUBJECT, DAY, 1).keys()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T23:59:59.999999999Z", 0),
        ("1970-01-02t00:00:00z", 1),
        ("1970-01-01T23:30:00-00:30", 1),
        ("1970-01-01T23:29:59-00:30", 0),
        ("1970-01-02T00:29:59+00:30", 0),
        ("1970-01-02T00:30:00+00:30", 1),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T00:00:00+23:59", -1),
        ("2024-02-29T12:00:00Z", 19_782),
        ("2026-03-01T00:30:00+01:00", 20_512),
        ("9999-12-31T23:59:59-01:00", 2_932_897),
    ],
)
def test_day_of_a_time_is_that_of_utc(text: str, day: int) -> None:
    assert utc_day(text, "event.at") == day


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-02-28", "2026-02-28T10:03Z", "2026-02-28T10:03:00", "2026-02-28 10:03:00Z", "2026-02-28T10:03:00 Z",
        "2026-02-29T10:03:00Z", "2026-13-01T10:03:00Z", "2026-2-28T10:03:00Z", "2026-02-28T24:00:00Z",
        "2026-02-28T10:60:00Z", "2026-02-28T23:59:60Z", "2026-02-28T10:03:00.Z", "2026-02-28T10:03:00,5Z",
        "2026-02-28T10:03:00+0100", "2026-02-28T10:03:00+01", "2026-02-28T10:03:00+24:00", "2026-02-28T10:03:00+01:60",
        "20260228T100300Z", "2026-059T10:03:00Z", "2026-W09-6T10:03:00Z", "+2026-02-28T10:03:00Z",
        "2026-02-28T10:03:00Z\n", " 2026-02-28T10:03:00Z", "٢٠٢٦-02-28T10:03:00Z", "0000-01-01T00:00:00Z",
        None, 1_772_272_980, ["2026-02-28T10:03:00Z"],
    ],
)  # fmt: skip
def test_near_time_is_refused(text: Any) -> None:
    with pytest.raises(Malformed) as caught:
        utc_day(text, "claim event.at")
    assert caught.value.where == "claim event.at"
