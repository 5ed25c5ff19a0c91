"""Our witness serves logs that are not ours, written by tlog-scales and by aics-tlog."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
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

Serving = Callable[[str, list[str]], Own]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Our witness, told of a log by origin and keys, running."""
    running = []

    def serve(origin: str, log_vkeys: list[str]) -> Own:
        witness = Own(tmp_path)
        witness.vkey = witness.set_up(origin, log_vkeys)
        running.append(witness)
        witness.start()
        return witness

    yield serve
    for witness in running:
        witness.stop()


@pytest.mark.parametrize("kind", [PlainEd25519Signer, MLDSA44CosignatureSigner])
def test_a_log_by_tlog_scales_is_refused(
    kind: Callable[[str, bytes], CheckpointSigner], tmp_path: Path, serving: Serving
) -> None:
    origin = "foreign.example/scales"
    signer = kind(origin, b"\x12" * 32)
    witness = serving(origin, [str(signer.vkey.serialize())])  # type: ignore[no-untyped-call]
    folder = tmp_path / "log"
    writer = TilesWriter.create(folder, origin)
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


def test_a_log_by_aics_tlog_is_refused_or_its_fork_is_not(serving: Serving) -> None:
    here = Path(__file__).parent
    vkey = foreign.run_file(here / "feeder.py", "vkey").stdout.strip()
    witness = serving(vkey.split("+")[0], [vkey])
    done = foreign.run_file(here / "feeder.py", witness.url, witness.vkey)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    for one in said[:7]:
        assert one["cosigned"] >= 1, one
    assert [one["size"] for one in said[:7]] == [1, 2, 7, 256, 300, 300, 390]
    assert said[7] == {"size": 20, "failed": "WitnessAhead"}
    assert said[8] == {"size": 390, "refused": 422}, "the same size, another root"
    assert said[9] == {"size": 400, "refused": 422}
