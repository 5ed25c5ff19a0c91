"""Two of each process, and what most likely breaks them: nothing accepted is lost or doubled, and the log never forks.

All of scenarios.py, and long random runs: make campaign.
"""

from __future__ import annotations

from collections.abc import Iterator

import obstore
import pytest
from handingin import Answers
from smallledger import record
from trial import Trial
from verdict import each_once, judge, no_gap, read_all

from ledger.store.engine import run

TELLING = (
    "sequencer killed",
    "publisher killed",
    "sequencer stopped and continued",
    "publisher stopped while it publishes",
    "sequencer and database: silence in the middle of a message",
    "ledger and database: silence",
    "publisher and bucket: silence",
    "publisher and database: refused",
    "publisher and witness: silence",
    "entries leave, the sequencer is killed",
    "ledger and publisher: refused",
    "database killed",
    "bucket killed",
)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with Trial(tmp_path_factory.mktemp("cluster")) as trial:
        yield trial


@pytest.mark.parametrize("name", TELLING)
def test_a_fault_loses_doubles_or_forks_something_or_nobody_takes_over(trial: Trial, name: str) -> None:
    print(trial.do(name, seed=1))


def test_what_is_lost_doubled_forked_or_rewritten_is_not_noticed(trial: Trial) -> None:
    judge(trial.cluster, trial.answers, trial.watcher, 1)
    lost = Answers(answered={**trial.answers.answered, record(): "accepted"})
    with pytest.raises(AssertionError, match="1 records that were accepted are not in the log"):
        judge(trial.cluster, lost, trial.watcher, 1)
    known = next(iter(trial.answers.answered))
    rest = {raw: said for raw, said in trial.answers.answered.items() if raw != known}
    with pytest.raises(AssertionError, match="1 records are in the log that nobody was told of"):
        judge(trial.cluster, Answers(answered=rest), trial.watcher, 1)
    entries = read_all(trial.cluster)
    with pytest.raises(AssertionError, match="1 entries are twice in the log"):
        each_once(trial.answers, [*entries, known])
    with pytest.raises(AssertionError, match="no entry has left the database"):
        no_gap(trial.cluster, len(entries), leaves=True)
    for which, noticed in (
        ("MIN", "entries have left a database that keeps them"),
        ("MAX", "entries are missing in the database"),
    ):
        with trial.cluster.store.write() as db:
            run(db, f"DELETE FROM entries WHERE number = (SELECT {which}(number) FROM entries)")
        with pytest.raises(AssertionError, match=noticed):
            no_gap(trial.cluster, len(entries), leaves=False)
    objects, tile = trial.cluster.server.client(trial.cluster.at.bucket), "logs/one/tile/0/000"
    obstore.put(objects, tile, bytes(obstore.get(objects, tile).bytes()) + b"\0")
    trial.watcher.note_root(trial.watcher.size, bytes(32), "handed to somebody")
    trial.watcher.judge_objects()
    forked, rewritten = trial.watcher.faults
    assert (
        forked.startswith(f"two roots of size {trial.watcher.size}: ") and rewritten == f"{tile} has changed"
    )
