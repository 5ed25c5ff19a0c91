"""What a process that runs for long does not need any more goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from ledger import memory

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024

memory.GIVEN_BACK_S = 0.2
if sys.argv[1] == "settled":
    memory.settle_memory()
pieces = [bytes(60_000) for _ in range(2_000)]
kept = pieces[::100]
full = resident()
del pieces
end = time.monotonic() + 10
while resident() > full - 80 and time.monotonic() < end and sys.argv[1] == "settled":
    time.sleep(0.1)
print(full - resident())
"""


@pytest.mark.parametrize(("how", "gives_back"), [("settled", True), ("not", False)])
def test_memory_between_what_is_still_used_is_kept(how: str, gives_back: bool) -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True
    ).stdout
    assert (int(said) >= 80) is gives_back, f"{said.strip()} MiB of 113 were given back"
