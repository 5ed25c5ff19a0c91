"""tlog-scales (PyPI, Python) reads the published log over HTTP, ML-DSA-44 signatures too, and proves from it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from publishedlog import BIN, PublishedLog, run
from tlog_scales.backend import HttpBackend, LocalBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey, VkeySet
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import Checkpoint, InclusionProofInvalid

from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.policy import parse_policy
from ledger.core.tlogproof import parse_tlog_proof


def check_tree(reader: TilesReader, checkpoint: Checkpoint) -> None:
    """The root from the tiles, and every entry under it."""
    reader.set_size(checkpoint.size)
    assert reader.calculate_root_hash() == checkpoint.root_hash
    for index in range(checkpoint.size):
        proof = reader.get_inclusion_proof(index, checkpoint.size)
        proof.check(leaf_hash(reader.get_entry(index)), checkpoint.root_hash)


def test_it_refuses_a_signature_a_tile_or_a_proof(published: PublishedLog) -> None:
    reader = TilesReader(HttpBackend(published.url))
    keys = [Vkey.from_string(vkey) for vkey in published.vkeys]
    newest = reader.get_checkpoint()
    assert newest.serialize().encode() == published.notes[-1]
    check_tree(reader, newest)
    for note in published.notes:
        checkpoint = Checkpoint.from_text(note.decode())
        good = {str(vkey) for vkey, _ in VkeySet(*keys).verify(checkpoint.signatures, checkpoint)}
        assert good == {str(vkey) for vkey in keys}, "every line by the log and its witnesses verifies"
        proof = reader.get_consistency_proof(checkpoint.size, newest.size)
        proof.check(checkpoint.root_hash, newest.root_hash)


def test_a_size_published_before_can_no_longer_be_read(published: PublishedLog) -> None:
    for note in published.notes[:-1]:
        check_tree(TilesReader(HttpBackend(published.url)), Checkpoint.from_text(note.decode()))


def test_it_checks_nothing(published: PublishedLog, broken: Path) -> None:
    reader = TilesReader(LocalBackend(broken))
    with pytest.raises(InclusionProofInvalid):
        check_tree(reader, reader.get_checkpoint())
    other = published.notes[-1].replace(published.settings.origin.encode(), b"log.example.gov/other", 1)
    checkpoint = Checkpoint.from_text(other.decode())
    for line, vkey in zip(checkpoint.signatures, published.vkeys, strict=True):
        with pytest.raises(InvalidSignature):
            Vkey.from_string(vkey).get_verifier().verify_note(line, checkpoint)


def test_its_tlog_proof_is_another_than_ours(published: PublishedLog) -> None:
    policy = parse_policy((published.home / "policy.txt").read_bytes())
    log = UrlLog(published.url)
    view = View.open(log, policy, int(time.time()))
    for index in (0, 255, 512, published.checkpoint().size - 1):
        text = run(sys.executable, "-P", BIN / "tlog-tiles", "gen-proof", published.url, str(index))
        proof = parse_tlog_proof(text.encode())
        (raw,) = view.entries([index]).values()
        assert policy.open(proof.checkpoint, int(time.time())).checkpoint == published.checkpoint()
        proof.check(leaf_hash(raw), published.checkpoint())
        assert [b64encode(h) for h in proof.hashes] == [b64encode(h) for h in view.inclusion(index)]
    log.close()
