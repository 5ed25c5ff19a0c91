"""Signatures checked elsewhere come back for the right leaves, in the order of the batches."""

import multiprocessing

import pytest
from logfactory import DAY, LogFactory

from ledger.client.publiclog import Unreachable
from ledger.core.replay import Job
from verifier_cli.signatures import WORTH_PROCESSES, SignaturePool


@pytest.mark.parametrize("expected", [0, WORTH_PROCESSES])
def test_bad_signatures_are_named_by_leaf_in_threads_and_in_processes(expected: int) -> None:
    log = LogFactory()
    source = log.add_source()
    jobs: list[Job] = [
        (index, source.key.public, log.entries[index])
        for index in [*(log.access(source) for _ in range(20)), log.coverage(source, DAY, 20)]
    ]
    for place in (3, 17, 20):
        index, key, raw = jobs[place]
        jobs[place] = (index, key, raw[:-1] + bytes((raw[-1] ^ 1,)))
    with SignaturePool(log.origin, 2, expected) as pool:
        answers = []
        for start in (0, 7, 14):
            pool.submit(jobs[start : start + 7])
            answers += list(pool.answers())
        pool.submit([])
        answers += list(pool.answers(all_of_them=True))
    assert answers == [[jobs[3][0]], [], [jobs[17][0], jobs[20][0]], []]


def test_a_killed_process_is_no_verdict() -> None:
    """And the next audit starts new ones."""
    log = LogFactory()
    source = log.add_source()
    jobs: list[Job] = [
        (index, source.key.public, log.entries[index]) for index in [log.access(source)] * 2000
    ]
    with SignaturePool(log.origin, 1, WORTH_PROCESSES) as pool:
        for _ in range(3):
            pool.submit(jobs)
        children = multiprocessing.active_children()
        assert len(children) == 1
        children[0].kill()
        with pytest.raises(Unreachable, match="was killed"):
            list(pool.answers(all_of_them=True))
        assert pool.broken
