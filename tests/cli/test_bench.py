"""Parts of `glassbook bench` run and measure something, under small loads; how fast this machine is does not matter."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

COUNTED = {
    "ingest": ["entries/s", "µs/entry"],
    "index": ["labels/s", "s", "MiB", "ms"],
    "lookup": ["records/s", "s"],
    "prepare": ["records/s"],
    "otlp": ["s"],
    "audit": ["entries/s", "MiB"],
    "signatures": ["entries/s"],
    "latency": ["s", "µs/entry"],
    "day": ["s", "bytes/access", "bytes/request", "ms/look-up", "µs/entry"],
    "overload": ["entries/s", "s", "entries"],
}
"""Of each part the units of which something is measured.  Growth and two take half a minute and more: not here."""


@pytest.mark.parametrize("part", COUNTED)
def test_a_part_of_the_benchmark_does_not_run_or_measures_nothing(part: str) -> None:
    words = ["bench", "--part", part, "--scale", "0.002", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from ledger.cli import main; main()", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)["figures"]
    own = [figure for figure in figures if figure["name"].startswith(part)]
    assert own == figures or part == "latency", "which measures the full load before"
    for unit in COUNTED[part]:
        assert [figure for figure in own if figure["unit"] == unit and figure["value"] > 0]
