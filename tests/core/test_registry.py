"""The register: what is in force for which leaf, and what may follow what."""

from typing import Any

import pytest
from logfactory import DAY, LogFactory, seed

from ledger.core import vrf
from ledger.core.encoding import b64url_encode, format_date
from ledger.core.entries import Coverage, IndexRoot, Record
from ledger.core.errors import GlassbookError, Malformed, RuleBroken
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.registry import Register
from ledger.core.statements import SourceVersion, sign_source

RECORD = Record(1, 2026, DAY, 0, 1, bytes(32), bytes(32), bytes(64))
COVERAGE = Coverage(1, 2026, DAY, 0, bytes(64))


@pytest.fixture
def log() -> LogFactory:
    made = LogFactory()
    made.add_source()
    return made


def next_version(log: LogFactory, before: SourceVersion | None = None, **changes: Any) -> bytes:
    before = before or log.version(log.sources[0])
    return sign_source(log.registrar, log.register.charter, 1, {**before.statement, **changes}, before)


def rule_broken(log: LogFactory, raw: bytes) -> str:
    with pytest.raises(RuleBroken) as caught:
        log.register.check(len(log.entries), raw)
    return str(caught.value.evidence["rule"])


def test_version_is_in_force_for_the_leaves_after_its_own(log: LogFactory) -> None:
    log.seal_batch()
    second = log.change_source(log.sources[0], contact="mailto:new@example.gov")
    first, newest = log.register.sources[1]
    at = log.register.version_at
    assert (first.index, newest.index) == (1, second)
    assert [at(1, index) for index in (0, 1, 2, second, second + 1, 999)] == [
        None,
        None,
        first,
        first,
        newest,
        newest,
    ]
    assert log.register.in_force(1) is newest
    assert log.register.in_force(2) is None
    assert at(2, 999) is None


def test_register_without_charter_takes_nothing_else_first(log: LogFactory) -> None:
    empty = Register()
    assert not empty.has_charter
    with pytest.raises(RuleBroken):
        _ = empty.charter
    with pytest.raises(RuleBroken):
        empty.add(0, log.entries[1])
    with pytest.raises(RuleBroken):
        empty.add(1, log.entries[0])
    with pytest.raises(Malformed):
        empty.add(0, IndexRoot(0, bytes(32), bytes(32), 0).encode())
    with pytest.raises(RuleBroken):
        Register("log.example.gov/other").add(0, log.entries[0])
    empty.add(0, log.entries[0])
    assert empty.origin == log.origin


def test_no_other_kind_of_entry_enters_the_register(log: LogFactory) -> None:
    with pytest.raises(Malformed, match="another kind"):
        log.register.add(2, RECORD.encode())


def test_copy_goes_its_own_way(log: LogFactory) -> None:
    other = log.register.copy()
    other.add(2, next_version(log, contact="mailto:new@example.gov"))
    assert len(other.sources[1]) == 2
    assert len(log.register.sources[1]) == 1
    # What the copy learned about keys stays there too.
    log.register.add(2, next_version(log, contact="mailto:other@example.gov"))


def test_check_takes_nothing_in(log: LogFactory) -> None:
    raw = next_version(log)
    log.register.check(2, raw)
    log.register.check(2, raw)
    assert len(log.register.sources[1]) == 1


def test_signer_of_an_unknown_source_is_refused(log: LogFactory) -> None:
    for entry in (RECORD, COVERAGE):
        assert log.register.signer(entry).version == 0
        for source in (0, 2, 2**32 - 1):
            with pytest.raises(RuleBroken) as caught:
                log.register.signer(entry._replace(source=source))
            assert caught.value.evidence["rule"] == "source-unknown"


@pytest.mark.parametrize("status", ["retired", "revoked"])
def test_source_no_longer_active_signs_coverages_alone(log: LogFactory, status: str) -> None:
    log.change_source(log.sources[0], status=status, **{status: format_date(DAY)})
    with pytest.raises(RuleBroken) as caught:
        log.register.signer(RECORD)
    assert caught.value.evidence["rule"] == f"source-{status}"
    assert log.register.signer(COVERAGE).status == status


def changed_status(log: LogFactory, status: str, day: int = DAY) -> bytes:
    statement = {
        k: v for k, v in log.version(log.sources[0]).statement.items() if k not in ("retired", "revoked")
    }
    dated = {} if status == "active" else {status: format_date(day)}
    before = log.version(log.sources[0])
    return sign_source(
        log.registrar, log.register.charter, 1, {**statement, "status": status, **dated}, before
    )


@pytest.mark.parametrize(
    ("statuses", "allowed"),
    [
        (("active",), True),
        (("retired", "retired"), True),
        (("retired", "revoked"), True),
        (("revoked", "revoked"), True),
        (("retired", "active"), False),
        (("revoked", "active"), False),
        (("revoked", "retired"), False),
        (("retired", "revoked", "retired"), False),
    ],
)
def test_status_only_moves_on(log: LogFactory, statuses: tuple[str, ...], allowed: bool) -> None:
    for status in statuses[:-1]:
        log.append(changed_status(log, status))
    last = changed_status(log, statuses[-1])
    if allowed:
        log.register.add(len(log.entries), last)
    else:
        assert rule_broken(log, last) == "status"


def test_coverage_is_owed_until_the_earlier_of_retirement_and_revocation(log: LogFactory) -> None:
    since = log.version(log.sources[0]).since
    assert log.register.owes_coverage(1) == (since, None)
    log.append(changed_status(log, "retired", DAY + 9))
    assert log.register.owes_coverage(1) == (since, DAY + 9)
    log.append(changed_status(log, "revoked", DAY + 20))
    assert log.register.owes_coverage(1) == (since, DAY + 9)
    log.append(changed_status(log, "revoked", DAY - 3))
    assert log.register.owes_coverage(1) == (since, DAY - 3)


def test_since_moves_earlier_and_never_later(log: LogFactory) -> None:
    since = log.version(log.sources[0]).since
    assert rule_broken(log, next_version(log, since=format_date(since + 1))) == "since"
    log.append(next_version(log, since=format_date(since - 5)))
    assert log.register.owes_coverage(1) == (since - 5, None)
    assert rule_broken(log, next_version(log, since=format_date(since))) == "since"


def test_vrf_keys_once_stated_stay_and_new_ones_may_come(log: LogFactory) -> None:
    stated = log.version(log.sources[0]).statement["vrf"]
    new = b64url_encode(vrf.public_key(seed("a new year")))
    assert rule_broken(log, next_version(log, vrf={"2026": stated["2026"]})) == "vrf-key"
    assert rule_broken(log, next_version(log, vrf={**stated, "2026": new})) == "vrf-key"
    log.append(next_version(log, vrf={**stated, "2027": new}))
    assert rule_broken(log, next_version(log, vrf=stated)) == "vrf-key"


def test_source_may_take_up_its_own_old_key_again_and_no_other(log: LogFactory) -> None:
    old = log.version(log.sources[0]).key
    log.append(next_version(log, key=jwk(Ed25519PrivateKey.from_seed(seed("new")).public)))
    log.register.check(len(log.entries), next_version(log, key=jwk(old)))
    statement = log.version(log.sources[0]).statement
    fresh = {"2026": b64url_encode(vrf.public_key(seed("second")))}
    charter = log.register.charter
    for key in (jwk(old), statement["key"]):
        raw = sign_source(log.registrar, charter, 2, {**statement, "vrf": fresh, "key": key})
        assert rule_broken(log, raw) == "key-role"
    other = jwk(Ed25519PrivateKey.from_seed(seed("third")).public)
    raw = sign_source(log.registrar, charter, 2, {**statement, "key": other})
    assert rule_broken(log, raw) == "key-role"
    log.register.check(
        len(log.entries), sign_source(log.registrar, charter, 2, {**statement, "key": other, "vrf": fresh})
    )


def test_key_of_a_refused_statement_is_still_free(log: LogFactory) -> None:
    key = jwk(Ed25519PrivateKey.from_seed(seed("fresh")).public)
    since = log.version(log.sources[0]).since
    with pytest.raises(GlassbookError):
        log.register.add(2, next_version(log, key=key, since=format_date(since + 1)))
    statement = log.version(log.sources[0]).statement
    fresh = {"2026": b64url_encode(vrf.public_key(seed("second")))}
    raw = sign_source(log.registrar, log.register.charter, 2, {**statement, "key": key, "vrf": fresh})
    log.register.add(2, raw)


def test_key_in_the_register_is_known_by_its_role(log: LogFactory) -> None:
    old = log.version(log.sources[0])
    log.append(next_version(log, key=jwk(Ed25519PrivateKey.from_seed(seed("new")).public)))
    role_of = log.register.role_of
    assert role_of(log.registrar.public) == "registrar"
    assert role_of(log.ledger_key.public) == "ledger"
    assert role_of(log.log_signer.vkey.key) == "log"
    assert role_of(old.key) == role_of(log.version(log.sources[0]).key) == "source 1"
    assert role_of(old.vrf[2026]) == "source 1's VRF of 2026"
    assert role_of(log.witness.vkey.key) is None


def test_record_is_suspect_by_any_revocation_after_it(log: LogFactory) -> None:
    before = log.access(log.sources[0])
    log.append(changed_status(log, "revoked", DAY))
    between = log.access(log.sources[0])
    log.append(changed_status(log, "revoked", DAY + 5))
    after = log.access(log.sources[0])

    def suspect(index: int) -> list[bool]:
        days = (DAY - 1, DAY, DAY + 4, DAY + 5)
        return [log.register.is_suspect(RECORD._replace(day=day), index) for day in days]

    assert suspect(before) == [False, True, True, True]
    assert suspect(between) == [False, False, False, True]
    assert suspect(after) == [False, False, False, False]
    assert not log.register.is_suspect(RECORD._replace(source=2), before)
