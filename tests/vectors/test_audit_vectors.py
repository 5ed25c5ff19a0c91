"""audit.json: whole logs, with and without violations, replayed in one batch, by entry, and with signatures late."""

from base64 import b64decode
from typing import Any

import pytest
from vectorfiles import cases, load

from ledger.core.replay import Replay, Summary, bad_signatures

VECTORS = load("audit.json")
ORIGIN: str = VECTORS["origin"]
ENTRIES = [b64decode(text) for text in VECTORS["entries_base64"]]


def replayed(entries: list[bytes], batch: int, ahead: int) -> tuple[Replay, Summary]:
    """A replay in batches of this many entries, with signatures reported only `ahead` batches later."""
    replay = Replay(ORIGIN, VECTORS["newest_witness_timestamp"], len(entries))
    under_way = []
    for start in range(0, len(entries), batch):
        under_way.append(replay.feed_many(entries[start : start + batch]))
        if len(under_way) > ahead:
            replay.report(bad_signatures(ORIGIN, under_way.pop(0)))
    for jobs in under_way:
        replay.report(bad_signatures(ORIGIN, jobs))
    return replay, replay.finish()


@pytest.mark.parametrize(("batch", "ahead"), [(1000, 0), (1, 0), (2, 3)])
@pytest.mark.parametrize("case", cases(VECTORS["logs"]))
def test_audit(case: dict[str, Any], batch: int, ahead: int) -> None:
    replay, summary = replayed([ENTRIES[place] for place in case["entries"]], batch, ahead)
    assert sorted({violation.index for violation in replay.violations}) == case["violations"]
    assert summary.size == len(case["entries"])
    assert (summary.root.hex(), summary.index_root.hex()) == (case["root"], case["index_root"])
    assert summary.labels == case["labels"]
    assert (summary.late, summary.suspect) == (case["late"], case["suspect"])
    if "silent_days" in case:
        assert summary.silent_days == case["silent_days"]
