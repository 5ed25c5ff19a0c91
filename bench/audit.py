"""The audit of a published folder, run as anybody runs it: `glassbook-verify audit`, start-up and saving included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, Report
from bench.logs import POLICY, publish_records
from bench.processes import Resident

RECORDS = 1_000_000
ROOT_EVERY = 10_000


def measure(report: Report, scale: float) -> None:
    """Audit a log of RECORDS records of four sources with an index root every ROOT_EVERY of them."""
    count = max(ROOT_EVERY, int(RECORDS * scale))
    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder:
        log, policy = Path(folder, "public"), Path(folder, "policy.txt")
        entries = publish_records(log, count, ROOT_EVERY)
        policy.write_text(POLICY)
        command = [sys.executable, "-c", "from verifier_cli.cli import main; main()"]
        command += ["audit", "--log", str(log), "--policy", str(policy), "--json"]
        with report.against_raw() as ratio:
            started = time.perf_counter()
            # Its own data folder: an audit goes on from where the last one of the same log came to.
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, env={**os.environ, "XDG_DATA_HOME": folder}
            )
            resident = Resident(process.pid)
            out, _ = process.communicate()
            rate = entries / (time.perf_counter() - started)
            if process.returncode != 0 or json.loads(out)["verdict"] != "holds":
                raise RuntimeError(f"the audit of a good log ended with {process.returncode}")
            report.add(Figure(f"audit: {entries:,} entries of a folder", rate, "entries/s", ratio(rate), 0.7))
        if resident.mib:
            report.add(
                Figure("audit: resident, all processes", resident.mib, "MiB", None, 512, at_least=False)
            )
