"""metamorphic-log (PyPI, Rust) verifies the published checkpoints and the proofs that our own client makes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import metamorphic_log as foreign
import pytest
from publishedlog import PublishedLog

from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.merkle import leaf_hash
from ledger.core.policy import parse_policy


@pytest.fixture
def view(published: PublishedLog) -> Iterator[View]:
    policy = parse_policy((published.home / "policy.txt").read_bytes())
    log = UrlLog(published.url)
    yield View.open(log, policy, int(time.time()))
    log.close()


def test_it_refuses_a_checkpoint(published: PublishedLog) -> None:
    ed25519 = published.log_vkeys[0]
    for note in published.notes:
        head = foreign.checkpoint_verify(note.decode(), [ed25519])
        lines = note.decode().split("\n")
        assert (head.origin, str(head.size), head.extensions) == (lines[0], lines[1], [])
    with pytest.raises(foreign.VerifyError):
        foreign.checkpoint_verify(published.notes[-1].decode().replace("gov", "org"), [ed25519])


def test_it_refuses_a_proof(published: PublishedLog, view: View) -> None:
    ed25519, note = published.log_vkeys[0], published.notes[-1].decode()
    for index in {0, 1, 2, 255, 256, 300, 511, 512, view.size - 1}:
        (raw,) = view.entries([index]).values()
        proof = view.inclusion(index)
        foreign.checkpoint_verify_inclusion(note, [ed25519], index, leaf_hash(raw), proof)
        with pytest.raises(foreign.VerifyError):
            foreign.checkpoint_verify_inclusion(note, [ed25519], index, leaf_hash(raw + b"\0"), proof)
    for older in published.notes[:-1]:
        proof = view.consistency_from(int(older.split(b"\n")[1]))
        foreign.checkpoint_verify_consistency(older.decode(), note, [ed25519], proof)
        with pytest.raises(foreign.VerifyError):
            foreign.checkpoint_verify_consistency(older.decode(), note, [ed25519], proof[:-1])
