"""tlog_proof.json: proof files of one entry's inclusion, under a policy."""

from typing import Any

import pytest
from vectorfiles import cases, load, now

from ledger.core.errors import GlassbookError
from ledger.core.policy import parse_policy
from ledger.core.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof

VECTORS = load("tlog_proof.json")


def check(case: dict[str, Any]) -> TlogProof:
    policy = parse_policy(VECTORS["policies"][case["policy"]])
    proof = parse_tlog_proof(case["proof"].encode())
    opened = policy.open(proof.checkpoint, now(VECTORS, case))
    proof.check(bytes.fromhex(case["leaf_hash"]), opened.checkpoint)
    return proof


@pytest.mark.parametrize("case", cases(VECTORS, "valid"))
def test_proof_file_holds_and_is_written_back_the_same(case: dict[str, Any]) -> None:
    proof = check(case)
    assert proof.index == int(case["leaf_index"])
    assert (None if proof.extra is None else proof.extra.hex()) == case.get("extra")
    written = format_tlog_proof(proof.index, proof.hashes, proof.checkpoint, proof.extra)
    assert written == case["proof"].encode()


@pytest.mark.parametrize("case", cases(VECTORS, "refused"))
def test_altered_proof_file_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(GlassbookError):
        check(case)
