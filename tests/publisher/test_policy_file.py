"""policy.txt as `glassbook witness add` writes it, and what it refuses to write."""

from __future__ import annotations

import pytest
from smalllog import LOG_VKEYS, ORIGIN

from ledger.core.keys import Ed25519PrivateKey
from ledger.core.note import CosignatureSigner, Ed25519Signer, VerifierKey
from ledger.core.policy import parse_policy
from publisher.policy import PolicyRefused, PolicyWitness, add_witness, format_policy, parse_for


def vkey(number: int) -> VerifierKey:
    key = Ed25519PrivateKey.from_seed(bytes((number,)) * 32)
    return CosignatureSigner(f"witness.example/{number}", key).vkey


def added(text: str | None, number: int, auditor: bool = False, url: str = "https://w.example/x") -> str:
    return add_witness(text, *LOG_VKEYS, vkey(number), url, auditor)[0]


def test_the_first_witness_makes_the_policy_and_the_next_ones_extend_it() -> None:
    text = added(added(added(None, 10), 11, auditor=True), 12)
    assert text.splitlines()[-2:] == ["group q all LOG_MLDSA W1 W2 W3", "quorum q"]
    policy = parse_policy(text)
    assert policy.origin == ORIGIN and policy.auditors == ("W2",) and policy.auditor_in_quorum
    assert [witness.vkey for witness in policy.witnesses[1:]] == [vkey(10), vkey(11), vkey(12)]
    assert policy.witnesses[1].url == "https://w.example/x"


def test_one_witness_gives_exactly_the_policy_of_the_manual() -> None:
    lines = added(None, 10).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["log", LOG_VKEYS[0].text],
        ["witness", "LOG_MLDSA"],
        ["witness", "W1"],
        ["group", "q"],
        ["quorum", "q"],
    ]


def test_a_witness_is_not_added_twice() -> None:
    with pytest.raises(PolicyRefused, match="already, as W1"):
        added(added(None, 10), 10)


def test_a_key_of_the_log_is_no_witness() -> None:
    with pytest.raises(PolicyRefused, match="does not witness itself"):
        add_witness(None, *LOG_VKEYS, LOG_VKEYS[1], "https://w.example/", False)
    own = VerifierKey("witness.example/1", 4, LOG_VKEYS[0].key)
    with pytest.raises(PolicyRefused, match="does not witness itself"):
        add_witness(None, *LOG_VKEYS, own, "https://w.example/", False)


def test_a_log_key_is_not_taken_for_a_witness_key() -> None:
    other = Ed25519Signer("other.example/log", Ed25519PrivateKey.from_seed(bytes(32))).vkey
    with pytest.raises(PolicyRefused, match="type is 0x01, not 0x04"):
        add_witness(None, *LOG_VKEYS, other, "https://w.example/", False)


@pytest.mark.parametrize(
    "url", ["", "w.example", "ftp://w.example/", "https://", "https://w x/", "https://w/?q"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(PolicyRefused, match="URL"):
        added(None, 10, url=url)


@pytest.mark.parametrize(
    "change",
    [
        ("group q all", "group q 2"),
        ("quorum q\n", "quorum q\n# our own\n"),
        ("quorum q", " quorum q"),
    ],
)
def test_a_policy_written_by_hand_is_left_alone(change: tuple[str, str]) -> None:
    text = added(None, 10).replace(*change)
    parse_for(text, *LOG_VKEYS)
    with pytest.raises(PolicyRefused, match="by hand"):
        added(text, 11)


def test_more_witnesses_than_a_checkpoint_has_lines_for_are_refused() -> None:
    many = [PolicyWitness(f"W{n}", vkey(n), "https://w.example/") for n in range(5, 105)]
    parse_for(format_policy(*LOG_VKEYS, many[:98]), *LOG_VKEYS)
    with pytest.raises(PolicyRefused, match="more than 99 witnesses"):
        parse_for(format_policy(*LOG_VKEYS, many[:99]), *LOG_VKEYS)


def test_the_policy_of_another_log_is_refused() -> None:
    with pytest.raises(PolicyRefused, match="another log"):
        parse_for(added(None, 10), Ed25519Signer(ORIGIN, Ed25519PrivateKey.generate()).vkey, LOG_VKEYS[1])


@pytest.mark.parametrize("text", ["", "\0", "quorum none\n", "log x\n"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(PolicyRefused, match="cannot be used"):
        added(text, 10)
