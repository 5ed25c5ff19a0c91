"""checkpoint.json: policies, checkpoints under them, their texts, and the messages that cosignatures sign."""

from typing import Any

import pytest
from vectorfiles import cases, load, now, number

from ledger.core.checkpoint import open_checkpoint
from ledger.core.errors import GlassbookError, Malformed
from ledger.core.note import cosignature_message, parse_vkey, subtree_message
from ledger.core.policy import parse_policy

VECTORS = load("checkpoint.json")


@pytest.mark.parametrize("name", sorted(VECTORS["policies"]))
def test_policy_says_who_audits_and_whether_they_are_needed(name: str) -> None:
    policy = parse_policy(VECTORS["policies"][name])
    facts = VECTORS["policy_facts"].get(name, {})
    assert sorted(policy.auditors) == sorted(facts.get("auditors", policy.auditors))
    assert policy.auditor_in_quorum is facts.get("auditor_in_quorum", policy.auditor_in_quorum)


def test_every_fact_is_of_a_policy() -> None:
    assert set(VECTORS["policy_facts"]) <= set(VECTORS["policies"])


@pytest.mark.parametrize("case", cases(VECTORS, "policies_refused"))
def test_unsound_policy_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse_policy(case["policy"])


@pytest.mark.parametrize("case", cases(VECTORS, "valid"))
def test_checkpoint_opens_under_its_policy(case: dict[str, Any]) -> None:
    policy = parse_policy(VECTORS["policies"][case["policy"]])
    opened = policy.open(case["checkpoint"].encode(), now(VECTORS, case))
    checkpoint = opened.checkpoint
    assert (checkpoint.origin, checkpoint.size) == (case["origin"], int(case["size"]))
    assert checkpoint.root.hex() == case["root"]
    good = {(good.vkey.name, good.vkey.key_id.hex(), good.timestamp) for good in opened.good}
    assert good == {(name, key_id, number(timestamp)) for name, key_id, timestamp in case["good"]}
    counted = {(vkey.name, vkey.key_id.hex()) for vkey in opened.counted}
    assert counted == {(name, key_id) for name, key_id, *_ in case["counted"]}
    assert (opened.newest, opened.oldest) == (number(case["newest"]), number(case["oldest"]))
    assert policy.auditor_in_quorum is case.get("auditor_in_quorum", policy.auditor_in_quorum)


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_checkpoint_that_the_policy_does_not_allow_is_refused(case: dict[str, Any]) -> None:
    policy = parse_policy(VECTORS["policies"][case["policy"]])
    with pytest.raises(GlassbookError):
        policy.open(case["checkpoint"].encode(), now(VECTORS, case))


@pytest.mark.parametrize("case", cases(VECTORS, "texts_refused"))
def test_checkpoint_text_is_refused_even_under_a_good_signature(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        open_checkpoint(case["checkpoint"].encode(), parse_vkey(VECTORS["vkey"]))


def test_message_that_ml_dsa_signs_is_exact() -> None:
    given = VECTORS["ml_dsa_signed_message"]
    root = bytes.fromhex(given["root"])
    message = subtree_message(
        given["cosigner"], int(given["timestamp"]), given["origin"], int(given["size"]), root
    )
    assert message.hex() == given["message"]


def test_message_that_cosignature_v1_signs_is_exact() -> None:
    given = VECTORS["cosignature_v1_signed_message"]
    timestamp, text = int(given["timestamp"]), given["message"].split("\n", 2)[2]
    assert cosignature_message(text, timestamp).decode() == given["message"]
