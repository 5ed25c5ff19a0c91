"""The ledger's signatures alone: records checked and promises made, in its child processes, a thread for each core.

Raw is one verification; here each entry has one, and a signature beside it.
"""

from __future__ import annotations

import secrets
import threading
import time

from bench.figures import Figure, Report
from bench.logs import DAY, ORIGIN, bench_source
from bench.raw import cores_given
from ledger.core.encoding import lp
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.merkle import leaf_hash
from ledger.service.signatures import Signatures
from ledger.vectors import choose

GROUP = 1000
GROUPS = 40


def measure(report: Report, scale: float) -> None:
    """Entries a second with and without the vector library; without it once only, where there is none."""
    for vectors in ("auto", "off") if choose("auto").path else ("off",):
        _measure(report, vectors, max(1, int(GROUPS * scale)))


def _measure(report: Report, vectors: str, groups: int) -> None:
    source, ledger_key, signatures = bench_source(1), Ed25519PrivateKey.generate(), Signatures(vectors)
    entries = [source.record(secrets.token_bytes(32), secrets.token_bytes(32)) for _ in range(GROUP)]
    prefix = b"glassbook/v1/record\n" + lp(ORIGIN.encode())
    asked = [(leaf_hash(entry), DAY * 86_400) for entry in entries]
    wrong: list[int] = []
    step = threading.Barrier(cores_given() + 1)

    def work() -> None:
        for number in range(groups + 1):
            if number == 1:  # the child process runs, and waits while raw is measured
                step.wait()
                step.wait()
            good = signatures.verify_records(source.key.public, prefix, entries)
            made = signatures.promise(ORIGIN, ledger_key, asked)
            if sum(good) != GROUP or len(made) != GROUP:
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(cores_given())]
    for thread in threads:
        thread.start()
    step.wait()
    with report.against_raw() as ratio:
        step.wait()
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        rate = len(threads) * groups * GROUP / (time.perf_counter() - started)
        name = f"signatures: checked and promised, {signatures.choice.bulk.name}"
        report.add(Figure(name, rate, "entries/s", ratio(rate)))
    signatures.close()
    if wrong:
        raise RuntimeError("a good record was refused, or a promise is missing")
