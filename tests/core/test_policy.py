"""Policy files: the grammar of tlog-policy, the rules of this project, and what counts towards a quorum."""

import pytest

from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import Malformed, QuorumNotMet
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.note import CosignatureSigner, Ed25519Signer, MLDSASigner, format_note, parse_note
from ledger.core.policy import Policy, parse_policy

ORIGIN = "log.example/x"
LOG = Ed25519Signer(ORIGIN, Ed25519PrivateKey(b"\x01" * 32))
PQ = MLDSASigner(ORIGIN, MLDSA44PrivateKey(b"\x02" * 32))
W1, W2, W3 = (CosignatureSigner(f"w.example/{n}", Ed25519PrivateKey(bytes([n]) * 32)) for n in (11, 12, 13))
HEAD = Checkpoint(ORIGIN, 7, bytes(range(32)))
NOW = 1_800_000_000

KEYS = {
    "LOG": LOG.vkey.text,
    "PQ": PQ.vkey.text,
    "K1": W1.vkey.text,
    "K2": W2.vkey.text,
    "K3": W3.vkey.text,
    "OTHER_LOG": Ed25519Signer("other.example", Ed25519PrivateKey(b"\x09" * 32)).vkey.text,
    "OTHER_PQ": MLDSASigner(ORIGIN, MLDSA44PrivateKey(b"\x08" * 32)).vkey.text,
    "LOG_AS_WITNESS": CosignatureSigner("w.example/log", Ed25519PrivateKey(b"\x01" * 32)).vkey.text,
    "NAMED_AS_LOG": CosignatureSigner(ORIGIN, Ed25519PrivateKey(b"\x0e" * 32)).vkey.text,
}
ALL = "log LOG\nwitness PQ PQ\nwitness W1 K1\ngroup q all PQ W1\nquorum q\n"


def written(lines: str) -> str:
    """A policy with the names of keys replaced by the keys, where a key is due."""
    out = []
    for line in lines.split("\n"):
        at = {"log": 1, "witness": 2}.get((line.split() or [""])[0])
        fields = line.split(" ")
        if at is not None and at < len(fields):
            fields[at] = KEYS.get(fields[at], fields[at])
        out.append(" ".join(fields))
    return "\n".join(out)


def policy(lines: str) -> Policy:
    return parse_policy(written(lines))


REFUSED: dict[str, str] = {
    "empty": "",
    "comments only": "# nothing\n",
    "no quorum": "log LOG\nwitness PQ PQ\n",
    "quorum without a name": "log LOG\nwitness PQ PQ\nquorum\n",
    "quorum of two names": "log LOG\nwitness PQ PQ\nwitness W1 K1\nquorum PQ W1\n",
    "two quorums": ALL + "quorum q\n",
    "quorum none": "log LOG\nwitness PQ PQ\nquorum none\n",
    "quorum above its definition": "log LOG\nquorum PQ\nwitness PQ PQ\n",
    "log without a key": ALL.replace("log LOG", "log"),
    "log with two urls": ALL.replace("log LOG", "log LOG https://a https://b"),
    "log with a broken key": ALL.replace("log LOG", "log log.example/x+00000000+AAAA"),
    "log twice": "log LOG\n" + ALL,
    "two logs": "log OTHER_LOG\n" + ALL,
    "no log": ALL.replace("log LOG\n", ""),
    "ML-DSA key as the only log": "log PQ\nwitness W1 K1\nquorum W1\n",
    "cosignature key as log": "log K2\n" + ALL,
    "witness without a key": ALL.replace("witness W1 K1", "witness W1"),
    "witness with two urls": ALL.replace("witness W1 K1", "witness W1 K1 https://a https://b"),
    "witness named as another": ALL.replace("witness W1 K1", "witness PQ K1"),
    "witness named none": ALL.replace("quorum q", "witness none K2\nquorum q"),
    "witness key twice": ALL.replace("quorum q", "witness W2 K1\nquorum q"),
    "witness with a log's key type": ALL.replace("witness W1 K1", "witness W1 OTHER_LOG"),
    "the log's Ed25519 key as a witness": ALL.replace("witness W1 K1", "witness W1 LOG_AS_WITNESS"),
    "second ML-DSA key of the log": ALL.replace("quorum q", "witness PQ2 OTHER_PQ\nquorum q"),
    "group without members": ALL.replace("group q all PQ W1", "group q all"),
    "group without a threshold": ALL.replace("group q all PQ W1", "group q PQ W1"),
    "group named as a witness": ALL.replace("group q all PQ W1\nquorum q", "group W1 all PQ W1\nquorum W1"),
    "group named none": ALL.replace("group q", "group none").replace("quorum q", "quorum none"),
    "group of itself": ALL.replace("all PQ W1", "all PQ W1 q"),
    "group with an unknown member": ALL.replace("all PQ W1", "all PQ W1 W9"),
    "group with none as member": ALL.replace("all PQ W1", "all PQ W1 none"),
    "group with a member twice": ALL.replace("all PQ W1", "all PQ W1 W1"),
    "member of two groups": ALL.replace("quorum q", "group r all q W1\nquorum r"),
    "threshold 0": ALL.replace("q all", "q 0"),
    "threshold 3 of 2": ALL.replace("q all", "q 3"),
    "threshold +2": ALL.replace("q all", "q +2"),
    "threshold 02": ALL.replace("q all", "q 02"),
    "threshold ALL": ALL.replace("q all", "q ALL"),
    "threshold beyond any number": ALL.replace("q all", "q " + "9" * 5000),
    "the log's ML-DSA key not needed": ALL.replace("q all", "q any"),
    "the log's ML-DSA key not in the group": ALL.replace("all PQ W1", "all W1"),
    "no ML-DSA key of the log": ALL.replace("witness PQ PQ", "witness PQ K2"),
    "the log marked as auditor": "# auditor PQ\n" + ALL,
    "a cosigner named as the log marked as auditor": "# auditor W1\n" + ALL.replace("K1", "NAMED_AS_LOG"),
    "unknown keyword": ALL + "auditor W1\n",
    "keyword in capitals": ALL.replace("quorum", "Quorum"),
    "carriage returns": ALL.replace("\n", "\r\n"),
    "form feed": ALL.replace("log LOG", "log\fLOG"),
    "zero byte": ALL + "\0",
    "delete character": ALL + "# \x7f\n",
    "no-break space between fields": ALL.replace("quorum q", "quorum\u00a0q"),
    "byte order mark": "\ufeff" + ALL,
    "more than 1 MiB": ALL + "#" * (1 << 20),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsound_policy_is_malformed(name: str) -> None:
    with pytest.raises(Malformed, match="^policy"):
        policy(REFUSED[name])


def test_message_names_the_line_at_fault() -> None:
    with pytest.raises(Malformed, match="^policy line 4: the threshold is not between 1 and 2$"):
        policy(ALL.replace("q all", "q 0"))


def test_policy_is_read_whatever_its_white_space() -> None:
    plain = policy(ALL)
    for lines in (
        ALL[:-1],
        "\n\n" + ALL.replace("\n", "\n\n"),
        "# comment\n \t# another\n#\n" + ALL,
        "\t" + ALL.replace("\n", " \t\n"),
        ALL.replace("group q all PQ W1", "group\tq \t all  PQ\t\tW1"),
    ):
        assert policy(lines) == plain
    assert parse_policy(written(ALL).encode()) == plain


def test_urls_and_names_that_are_not_ascii_or_not_utf_8_are_kept_apart() -> None:
    found = policy(ALL.replace("LOG", "LOG https://log.example/").replace("K1", "K1 https://w.example/é"))
    assert found.log_url == "https://log.example/"
    assert [witness.url for witness in found.witnesses] == [None, "https://w.example/é"]
    raw = written(ALL).encode().replace(b" W1", b" K\xff")
    raw = raw.replace(b"quorum", b"witness K\xe2\x84\xaa " + KEYS["K2"].encode() + b"\nquorum")
    assert len(parse_policy(raw).witnesses) == 3
    with pytest.raises(Malformed, match="not UTF-8"):
        parse_policy(written(ALL).encode().replace(b"w.example", b"w\xff.example"))
    with pytest.raises(Malformed):
        parse_policy("# \ud800\n" + written(ALL))


TWO_OF_THREE = """log LOG
# auditor W2
witness PQ PQ
witness W1 K1
witness W2 K2
witness W3 K3
group outside 2 W1 W2 W3
group q all PQ outside
quorum q
"""


def test_auditor_counts_only_when_no_quorum_can_do_without() -> None:
    assert policy(TWO_OF_THREE).auditors == ("W2",)
    assert not policy(TWO_OF_THREE).auditor_in_quorum
    assert policy(TWO_OF_THREE.replace("outside 2", "outside 3")).auditor_in_quorum
    both = TWO_OF_THREE.replace("# auditor W2", "# auditor W2\n# auditor W3")
    assert policy(both).auditors == ("W2", "W3")
    assert policy(both).auditor_in_quorum
    assert policy(TWO_OF_THREE.replace("# auditor W2", "# auditor nobody")).auditors == ()
    for comment in (
        "#auditor W2",
        "# auditor W2 .",
        "# Auditor W2",
        "## auditor W2",
        "# auditor",
        "# auditor W2,",
    ):
        assert policy(TWO_OF_THREE.replace("# auditor W2", comment)).auditors == ()


@pytest.mark.parametrize("mask", range(16))
def test_quorum_of_nested_groups_for_every_subset(mask: int) -> None:
    present = {name for bit, name in enumerate(("PQ", "W1", "W2", "W3")) if mask >> bit & 1}
    expected = "PQ" in present and len(present) >= 3
    assert policy(TWO_OF_THREE).quorum_met(present) is expected


def signed(*times: tuple[CosignatureSigner, int], own: int = NOW) -> bytes:
    cosignatures = [signer.sign(HEAD.text, time) for signer, time in times]
    return format_note(HEAD.text, [LOG.sign(HEAD.text), PQ.sign(HEAD.text, own), *cosignatures])


def test_only_believable_times_count() -> None:
    found = policy(TWO_OF_THREE)
    opened = found.open(signed((W1, NOW + 300), (W2, 1)), NOW)
    assert (opened.newest, opened.oldest) == (NOW + 300, 1)
    for times, why in [
        (((W1, NOW), (W2, 0)), r"W2 \(states no time\), W3$"),
        (((W1, NOW), (W2, NOW + 301)), r"W2 \(cosigned later than this computer's clock says it is\), W3$"),
        (((W1, NOW), (W1, NOW + 1)), "by W2, W3$"),
    ]:
        with pytest.raises(QuorumNotMet, match=why) as caught:
            found.open(signed(*times), NOW)
        assert parse_note(caught.value.evidence["note"]).text == HEAD.text
    for own in (0, NOW + 301):
        with pytest.raises(QuorumNotMet, match="PQ"):
            found.open(signed((W1, NOW), (W2, NOW), own=own), NOW)


def test_two_cosignatures_of_one_witness_count_once_and_a_zero_time_spoils_no_other() -> None:
    found = policy(ALL)
    opened = found.open(signed((W1, 0), (W1, NOW - 5), (W1, NOW)), NOW)
    assert [vkey.name for vkey in opened.counted] == [ORIGIN, ORIGIN, "w.example/11"]
    assert (opened.newest, opened.oldest) == (NOW, NOW - 5)


def test_times_of_keys_named_as_the_log_are_not_those_of_a_witness() -> None:
    found = policy(ALL.replace("K1", "NAMED_AS_LOG"))
    own = CosignatureSigner(ORIGIN, Ed25519PrivateKey(b"\x0e" * 32))
    opened = found.open(signed((own, NOW)), NOW)
    assert (opened.newest, opened.oldest) == (None, None)


def test_quorum_that_is_one_witness_or_deeply_nested() -> None:
    assert policy("log LOG\nwitness PQ PQ\nquorum PQ\n").open(signed(), NOW).newest is None
    lines, inner = "log LOG\nwitness PQ PQ\n", "PQ"
    for depth in range(3000):
        lines += f"group g{depth} all {inner}\n"
        inner = f"g{depth}"
    assert policy(lines + f"quorum {inner}\n").quorum_met({"PQ"})
