"""Our witness serves logs that are not ours, written by tlog-scales and by aics-tlog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import foreign
import httpx
import pytest
from tlog_scales.backend import LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import (
    CheckpointSigner,
    MLDSA44CosignatureSigner,
    NoteSignature,
    PlainEd25519Signer,
    Vkey,
)
from tlog_scales.tlog import Checkpoint
from tlog_scales.utils import b64enc
from tlog_scales.writer import TilesWriter
from witnessprograms import Own

FEEDER = Path(__file__).parent / "feeder.py"
SIGNERS: dict[str, CheckpointSigner] = {
    "Ed25519": PlainEd25519Signer("foreign.example/scales/ed25519", b"\x12" * 32),
    "ML-DSA-44": MLDSA44CosignatureSigner("foreign.example/scales/ml-dsa", b"\x13" * 32),
}


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """Our witness, told of all logs here, running."""
    witness = Own(tmp_path_factory.mktemp("foreign") / "own")
    scales = [str(signer.vkey.serialize()) for signer in SIGNERS.values()]  # type: ignore[no-untyped-call]
    witness.set_up("", [*scales, foreign.run_file(FEEDER, "vkey").stdout.strip()])
    witness.start()
    yield witness
    witness.stop()


@pytest.mark.parametrize("kind", SIGNERS)
def test_a_log_by_tlog_scales_is_refused(kind: str, witness: Own, tmp_path: Path) -> None:
    signer = SIGNERS[kind]
    folder = tmp_path / "log"
    writer = TilesWriter.create(folder, signer.vkey.name)
    before = 0
    for size in (1, 5, 256, 700):
        for number in range(before, size):
            writer.add_leaf(b"entry %d" % number)
        writer.commit([signer])
        reader = TilesReader(LocalBackend(folder))
        checkpoint = reader.get_checkpoint()
        proof = reader.get_consistency_proof(before, size).node_hashes if before else []
        lines = "".join(f"{b64enc(node)}\n" for node in proof)
        body = f"old {before}\n{lines}\n{checkpoint.serialize()}"
        answer = httpx.post(f"{witness.url}/add-checkpoint", content=body.encode(), trust_env=False)
        assert answer.status_code == 200, answer.text
        verify(checkpoint, answer.text, witness.vkeys)
        before = size


def verify(checkpoint: Checkpoint, answer: str, vkeys: list[str]) -> None:
    """Every line of the answer is good by one of these keys, and each key has one."""
    signed = [NoteSignature.from_line(line) for line in answer.splitlines()]
    keys = [Vkey.from_string(vkey) for vkey in vkeys]
    for line in signed:
        (key,) = (key for key in keys if key.match(line))
        key.get_verifier().verify_note(line, checkpoint)
    assert len(signed) == len(keys)


def test_a_log_by_aics_tlog_is_refused_or_its_fork_is_not(witness: Own) -> None:
    done = foreign.run_file(FEEDER, witness.url, witness.vkey)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for one in said[:7]:
        assert one["cosigned"] >= 1, one
    assert [one["size"] for one in said[:7]] == [1, 2, 7, 256, 300, 300, 390]
    assert said[7] == {"size": 20, "failed": "WitnessAhead"}
    assert said[8] == {"size": 390, "refused": 422}, "the same size, another root"
    assert said[9] == {"size": 400, "refused": 422}
