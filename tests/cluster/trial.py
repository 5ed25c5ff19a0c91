"""One cluster, and scenarios done to it one after the other, each followed by a judgement of the whole log."""

from __future__ import annotations

import random
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster import Cluster
from handingin import Answers, HandingIn
from scenarios import SCENARIOS
from story import Story
from verdict import judge
from watching import Watcher

BEFORE_S = 1.0


class Trial:
    """Everything running, for as long as the block does."""

    def __init__(self, place: Path) -> None:
        self.cluster = Cluster(place)
        self.answers = Answers()
        try:
            self.watcher = Watcher(self.cluster)
        except BaseException:
            self.cluster.close()
            raise

    def do(self, name: str, seed: int) -> str:
        """Do one scenario of the table, heal, and judge.  What was measured, in words.  AssertionError."""
        begun = time.monotonic()
        before = len(self.answers.answered)
        self.answers.errors.clear()
        self.answers.slowest = 0.0
        hands = HandingIn(self.cluster, self.answers, seed)
        story = Story(self.cluster, self.watcher, random.Random(seed))
        hands.start()
        try:
            time.sleep(BEFORE_S)
            SCENARIOS[name](story)
        finally:
            self.cluster.heal()
            hands.finish()
        size = judge(self.cluster, self.answers, self.watcher, seed, story.leaves)
        taken = "".join(f", {role} taken over in {took:.1f} s" for role, took in story.taken_over.items())
        return (
            f"{name}: {time.monotonic() - begun:.0f} s{taken}; {len(self.answers.answered) - before} records more,"
            f" all of {len(self.answers.answered)} once in a log of {size}; slowest answer"
            f" {self.answers.slowest:.1f} s; errors {self.answers.errors}"
        )

    def close(self) -> None:
        try:
            self.watcher.close()
        finally:
            self.cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
