"""The audit of a published folder, run as anybody runs it: `glassbook-verify audit`, start-up included."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, Report
from bench.logs import POLICY, LogBuilder, bench_source, registry_entries

RECORDS = 200_000
ROOT_EVERY = 1000


def measure(report: Report, scale: float) -> None:
    """Audit a log of RECORDS records of four sources with an index root every ROOT_EVERY of them."""
    count = max(ROOT_EVERY, int(RECORDS * scale))
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder:
        log, policy = Path(folder, "public"), Path(folder, "policy.txt")
        entries = _publish(log, count)
        policy.write_text(POLICY)
        command = [sys.executable, "-c", "from verifier_cli.cli import main; main()"]
        command += ["audit", "--log", str(log), "--policy", str(policy), "--json"]
        with report.against_raw() as ratio:
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            rate = entries / (time.perf_counter() - started)
            if done.returncode != 0 or json.loads(done.stdout)["verdict"] != "holds":
                raise RuntimeError(f"the audit of a good log ended with {done.returncode}: {done.stderr}")
            report.add(Figure(f"audit: {entries:,} entries of a folder", rate, "entries/s", ratio(rate), 0.5))


def _publish(log: Path, count: int) -> int:
    sources = [bench_source(number) for number in range(1, 5)]
    built = LogBuilder()
    for raw in registry_entries(sources):
        built.append(raw)
    for number in range(count):
        source = sources[number % len(sources)]
        built.append(source.record(secrets.token_bytes(32), secrets.token_bytes(32)))
        if number % ROOT_EVERY == ROOT_EVERY - 1:
            built.close()
    if count % ROOT_EVERY:
        built.close()
    built.publish(log)
    return len(built.entries)
