"""audit.json: whole logs, with and without violations, replayed in one batch, by entry, and with signatures late."""

from base64 import b64decode
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.replay import Replay, Summary, bad_signatures

VECTORS = load("audit.json")
ENTRIES = [b64decode(text) for text in VECTORS["entries_base64"]]


def replayed(case: dict[str, Any], batch: int, ahead: int) -> tuple[Replay, Summary]:
    """A replay in batches of this many entries, with signatures reported only `ahead` batches later."""
    entries = [ENTRIES[place] for place in case["entries"]]
    origin = case.get("origin", VECTORS["origin"])
    newest = int(case.get("newest_witness_timestamp", VECTORS["newest_witness_timestamp"]))
    replay = Replay(origin, newest, len(entries))
    under_way = []
    for start in range(0, len(entries), batch):
        under_way.append(replay.feed_many(entries[start : start + batch]))
        if len(under_way) > ahead:
            replay.report(bad_signatures(origin, under_way.pop(0)))
    for jobs in under_way:
        replay.report(bad_signatures(origin, jobs))
    return replay, replay.finish()


@pytest.mark.parametrize(("batch", "ahead"), [(1000, 0), (1, 0), (2, 3)])
@pytest.mark.parametrize("case", cases(VECTORS, "logs"))
def test_audit(case: dict[str, Any], batch: int, ahead: int) -> None:
    replay, summary = replayed(case, batch, ahead)
    found = {
        "violations": sorted({violation.index for violation in replay.violations}),
        "labels": summary.labels,
        "index_root": summary.index_root.hex(),
        "root": summary.root.hex(),
        "late": summary.late,
        "suspect": summary.suspect,
        "silent_days": summary.silent_days,
    }
    expected = {name: case[name] for name in found if name in case}
    assert "violations" in expected
    assert {name: found[name] for name in expected} == expected
    assert summary.size == len(case["entries"])
