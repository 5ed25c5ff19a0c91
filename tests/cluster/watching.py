"""Whoever watches from outside: every checkpoint that is ever readable, signed, or sent to the witness, held against
all others; and every object of the bucket, which may never change."""

from __future__ import annotations

import base64
import re
import threading
import time

import obstore
from cluster import ORIGIN, Cluster
from obstore.exceptions import BaseError

from ledger.client.publiclog import Unreachable
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.checkpoint import Checkpoint, parse_checkpoint
from ledger.core.merkle import check_consistency
from ledger.core.note import parse_note
from ledger.store import StoreBusy
from ledger.store.publication import read_publication

EVERY_S = 0.05
SIGNED = re.compile(re.escape(ORIGIN).encode() + rb"\n([0-9]+)\n([A-Za-z0-9+/=]{44})\n\n")


class Watcher:
    """Looks for as long as it is open; `faults` is what it found."""

    def __init__(self, cluster: Cluster) -> None:
        at = cluster.at
        self.faults: list[str] = []
        self.notes: list[tuple[float, bytes, Checkpoint]] = []  # as they were published: when it was seen
        self._cluster = cluster
        self._log = UrlLog(f"{at.endpoint}/{at.bucket}/{at.prefix}")
        self._objects = cluster.server.client(at.bucket)
        self._prefix = at.prefix
        self._roots: dict[int, tuple[bytes, str]] = {}
        self._tags: dict[str, str | None] = {}
        self._judged = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher")
        self._thread.start()

    @property
    def size(self) -> int:
        """Of the newest published checkpoint that was seen."""
        return self.notes[-1][2].size if self.notes else 0

    @property
    def sizes(self) -> int:
        """How many sizes a root is known of."""
        return len(self._roots)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self._log.close()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self._look()
            except Exception as error:
                self.faults.append(f"the watcher itself failed: {error!r}")
                return

    def _look(self) -> None:
        try:
            note = self._log.checkpoint()
        except Unreachable:
            pass
        else:
            if not self.notes or self.notes[-1][1] != note:
                checkpoint = parse_checkpoint(parse_note(note).text)
                self.notes.append((time.monotonic(), note, checkpoint))
                self.note_root(checkpoint.size, checkpoint.root, "published")
        try:
            with self._cluster.store.read() as db:
                row = read_publication(db)
        except StoreBusy:
            return
        for note, where in ((row.signed_note, "signed"), (row.published_note, "the database's")):
            if note:
                checkpoint = parse_checkpoint(parse_note(note).text)
                self.note_root(checkpoint.size, checkpoint.root, where)

    def note_root(self, size: int, root: bytes, where: str) -> None:
        known, first = self._roots.setdefault(size, (root, where))
        if known != root:
            self.faults.append(f"two roots of size {size}: one {first}, one {where}")

    def judge(self) -> None:
        """Hold what was seen since the last time against the log as it is now; the bucket answers."""
        for heard in self._cluster.overheard():
            for size, root in SIGNED.findall(heard):
                self.note_root(int(size), base64.b64decode(root), "sent to the witness")
        policy, notes = self._cluster.policy, self.notes[self._judged :]
        self._judged = max(0, len(self.notes) - 1)
        now = int(time.time())
        for _, note, checkpoint in notes:
            assert policy.open(note, now).checkpoint == checkpoint
        for (_, _, before), (_, note, after) in zip(notes, notes[1:], strict=False):
            if after.size < before.size:
                self.faults.append(f"the published log went back from {before.size} to {after.size}")
                continue
            view = View(self._log, policy, note, now)
            view.tiles.check()
            check_consistency(
                before.size, after.size, before.root, after.root, view.consistency_from(before.size)
            )
        self.judge_objects()

    def judge_objects(self) -> None:
        """No tile and no bundle was written twice.  Partial ones may be gone."""
        deadline = time.monotonic() + 60
        while True:
            try:
                listed = [one for page in obstore.list(self._objects, self._prefix) for one in page]
                break
            except BaseError:
                assert time.monotonic() < deadline, "the bucket is not listed"
                time.sleep(0.5)
        for found in listed:
            name, tag = found["path"], found["e_tag"]
            if name.endswith("/checkpoint") or "/.probe/" in name:
                continue
            known = self._tags.setdefault(name, tag)
            if known != tag:
                self.faults.append(f"{name} has changed")
