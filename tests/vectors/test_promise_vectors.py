"""promise.json: promises read and refused, and what a checkpoint says about one."""

from typing import Any

import pytest
from vectorfiles import cases, load, number

from ledger.core.errors import GlassbookError
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.promise import Promise, parse_promise, sign_promise, verdict

VECTORS = load("promise.json")
ORIGIN: str = VECTORS["origin"]
LEDGER = Ed25519PrivateKey(bytes.fromhex(VECTORS["ledger"]["seed"]))


@pytest.mark.parametrize("case", cases(VECTORS, "valid"))
def test_promise(case: dict[str, Any]) -> None:
    promise = Promise(ORIGIN, bytes.fromhex(case["leaf"]), int(case["accepted"]))
    assert parse_promise(case["promise"].encode(), ORIGIN, LEDGER.public) == promise
    assert parse_promise(sign_promise(promise, LEDGER), ORIGIN, LEDGER.public) == promise


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_refused_promise(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        parse_promise(case["promise"].encode(), ORIGIN, LEDGER.public)


@pytest.mark.parametrize("case", cases(VECTORS, "verdicts"))
def test_verdict(case: dict[str, Any]) -> None:
    oldest, newest = number(case["oldest_witness_timestamp"]), number(case["newest_witness_timestamp"])
    accepted, delay = int(case["accepted"]), int(case["merge_delay_s"])
    assert verdict(accepted, delay, case["in_log"], oldest, newest) == case["verdict"]


@pytest.mark.parametrize("in_log", [True, False])
def test_without_a_witness_a_promise_stays_open(in_log: bool) -> None:
    assert verdict(0, 1, in_log, None, None) == "open"
