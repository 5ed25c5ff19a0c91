"""The long trial: every scenario in an order of chance, again and again.

    make campaign MINUTES=30 SEED=7        or: SCENARIO="bucket killed"

The seed is printed.  The same seed gives the same scenarios in the same order, each with the same choices; how the
processes interleave is the machine's.  Ends with 1 at the first thing that is not as it must be, and leaves the folder
with every log, which it names.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from scenarios import SCENARIOS
from trial import Trial


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30, help="go on until so long has passed")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to do the same again")
    parser.add_argument(
        "--scenario", choices=sorted(SCENARIOS), action="append", help="only this one; again for more"
    )
    asked = parser.parse_args()
    seed = random.randrange(1 << 32) if asked.seed is None else asked.seed
    chance = random.Random(seed)
    place = Path(tempfile.mkdtemp(prefix="glassbook-campaign-"))
    print(f"seed {seed}; folder {place}", flush=True)
    end = time.monotonic() + 60 * asked.minutes
    done = 0
    left: list[str] = []
    try:
        with Trial(place) as trial:
            while done == 0 or time.monotonic() < end:
                if not left:
                    left = list(asked.scenario or SCENARIOS)
                    chance.shuffle(left)
                name = left.pop()
                print(f"{done + 1}. {trial.do(name, chance.randrange(1 << 32))}", flush=True)
                done += 1
    except Exception:
        traceback.print_exc()
        print(f"failed after {done} scenarios: seed {seed}; logs in {place}", file=sys.stderr)
        return 1
    shutil.rmtree(place)
    print(f"{done} scenarios, seed {seed}: nothing lost, nothing doubled, no fork, no gap")
    return 0


if __name__ == "__main__":
    sys.exit(main())
