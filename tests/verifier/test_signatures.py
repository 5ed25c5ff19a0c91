"""Signatures checked elsewhere come back for the right leaves, in the order of the batches."""

import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import pytest
from logfactory import DAY, LogFactory

from ledger.core.keys import Ed25519PrivateKey
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


def test_signatures_are_checked_though_the_process_for_them_is_killed() -> None:
    log = LogFactory()
    source = log.add_source()
    good = log.access(source)
    forged = log.access(source, key=Ed25519PrivateKey.from_seed(bytes(32)))
    jobs: list[Job] = [(index, source.key.public, log.entries[index]) for index in [good] * 2000 + [forged]]
    with SignaturePool(log.origin, 1, WORTH_PROCESSES) as pool:
        for _ in range(3):
            pool.submit(jobs)
        (child,) = multiprocessing.active_children()
        child.kill()
        child.join()
        pool.submit(jobs)
        assert list(pool.answers(all_of_them=True)) == [[forged]] * 4
        assert not pool.has_processes


def test_the_processes_of_a_killed_audit_end_with_it() -> None:
    code = (
        "import multiprocessing, sys, time\n"
        "from verifier_cli.signatures import SignaturePool\n"
        "pool = SignaturePool('log.example/x', 2, 1_000_000)\n"
        "pool.submit([]), pool.submit([])\n"
        "list(pool.answers(True))\n"
        "print(*(child.pid for child in multiprocessing.active_children()), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = [int(pid) for pid in process.stdout.readline().split()]
        assert children
        process.kill()
    end = time.monotonic() + 20
    while any(_runs(pid) for pid in children):
        assert time.monotonic() < end, "a process without its audit goes on"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended, and nobody has asked after it
