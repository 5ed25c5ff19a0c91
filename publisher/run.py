"""One round of publishing, and the loop around it.

    recover   (once, and after a failure) what was signed before, and the tree's right edge
    tiles     everything of the tree up to the newest index root, durable in the folder
    sign      refused if inconsistent with anything signed before; compare-and-swap in the database, then the
              file beside the keys: only then may a signature leave this process
    cosign    ask the witnesses; without a quorum nothing is published, and a later round asks again
    publish   replace `checkpoint`, then serve index proofs under it, then tell the database

Whatever fails, the next round starts with `recover` and takes the same way.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from ledger.core.checkpoint import Checkpoint
from ledger.core.entries import IndexRoot, decode_entry
from ledger.core.errors import GlassbookError
from ledger.core.merkle import check_consistency, prove_consistency
from ledger.core.note import format_note
from ledger.core.policy import Opened, Policy
from ledger.core.tiles import TileHashes
from ledger.store import Store, StoreBusy
from ledger.store.log import read_entries, read_size
from ledger.store.publication import Publication, read_publication, swap_published, swap_signed
from publisher.policy import PolicyFile, PolicyRefused
from publisher.published import Published, View
from publisher.recovery import Superseded, recover
from publisher.signing import LogSigner, Signed, SignedFile, SigningRefused, check_clock
from publisher.tiles import Edge, Folder
from publisher.witnesses import Cosignature, Witness, Witnesses

log = structlog.get_logger("publisher")

POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0
LONGEST_REFRESH_S = 480
"""An idle log's checkpoint is cosigned anew after this long at the latest: 10 minutes less the time to try
in."""

REUSE_S = 240
"""A signature or cosignature on the same checkpoint is made again when it is older than this."""

PARTIALS_KEPT_S = 600
"""How long after a full tile was published the partial ones beside it stay."""

CHUNK = 8192
"""Entries read and written in one go."""

SAY_AGAIN_SECONDS = 60
"""How often a fault that lasts is repeated in the log."""


WAITING = "waiting for witnesses"


@dataclass(frozen=True, slots=True)
class Status:
    """What the publisher is doing, for its operator, and unless all is well, why.

    `state` is one of: starting, publishing, waiting for witnesses, no policy, refusing to sign, failing,
    standing by.
    """

    state: str
    reasons: tuple[str, ...] = ()


class Publisher:
    """Publishes one log into one folder. Not safe for several threads; `status` may be read from any."""

    def __init__(
        self,
        store: Store,
        folder: Folder,
        signer: LogSigner,
        signed_file: SignedFile,
        policy_file: PolicyFile,
        published: Published,
        clock: Callable[[], float] = time.time,
        refresh_s: int = 300,
    ) -> None:
        self.status = Status("starting")
        self._store = store
        self._folder = folder
        self._signer = signer
        self._signed_file = signed_file
        self._policy_file = policy_file
        self._published = published
        self._clock = clock
        self._refresh_s = min(refresh_s, LONGEST_REFRESH_S)
        self._witnesses = Witnesses(())
        self._edge: Edge | None = None  # None: recover first
        self._row = Publication(0, b"", 0, b"", 0)
        self._signed: Signed | None = None  # what was signed last
        self._shown: Signed | None = None  # what is published
        self._current: Opened | None = None  # the published checkpoint, if the present policy accepts it
        self._cosigned: dict[str, Cosignature] = {}
        self._fulls: deque[tuple[float, int]] = deque()  # (when published, size), oldest first
        self._pruned = 0

    def round(self) -> bool:
        """Do what is due; True when a checkpoint was published.

        Raises SigningRefused, PolicyRefused, Superseded, OSError, StoreBusy, LookupError; nothing is then
        half done, and the next call goes on from what is durable.
        """
        try:
            policy = self._read_policy()
            edge = self._edge or self._recover(policy)
            with self._store.read() as db:
                size, row = read_size(db), read_publication(db)
            if row != self._row:
                raise Superseded
            if size < edge.size:
                raise SigningRefused(
                    f"the database went back from {edge.size} to {size} entries while we ran"
                )
            # Without a quorum, nothing is gained by signing more until a missing witness is asked again.
            if self.status.state == WAITING and self._witnesses.all_resting():
                return False
            if not self._due(size):
                self.say(Status("publishing"))
                return False
            edge = self._edge = self._write_tiles(edge, size)
            return self._publish(policy, self._sign(edge))
        except BaseException:
            self._edge = None
            raise

    def close(self) -> None:
        """Let go of the connections to the witnesses."""
        self._witnesses.close()

    @property
    def _published_size(self) -> int:
        return self._shown.checkpoint.size if self._shown else 0

    def _now(self) -> int:
        return int(self._clock())

    def _read_policy(self) -> Policy:
        policy, changed = self._policy_file.read()
        if changed:
            asked = [
                Witness(witness.name, witness.vkey, witness.url)
                for witness in policy.witnesses
                if witness.vkey not in self._signer.vkeys and witness.url
            ]
            earlier, self._witnesses = self._witnesses, Witnesses(asked)
            self._witnesses.keep_sizes(earlier.all)
            earlier.close()
            self._edge, self._cosigned = None, {}
        return policy

    def _due(self, size: int) -> bool:
        """New entries, or a published checkpoint that grows old, or none that the policy accepts."""
        if size < 2:  # formats §2: no checkpoint of size 0 or 1 is published
            return False
        if self._shown is None or self._current is None or size != self._shown.checkpoint.size:
            return True
        oldest = self._current.oldest
        return self._now() - (self._shown.timestamp if oldest is None else oldest) >= self._refresh_s

    def _recover(self, policy: Policy) -> Edge:
        note = self._folder.checkpoint()
        if note is not None:
            self._show(note)  # what is published is served, whether or not we may sign more
        found = recover(self._store, self._folder, self._signer, self._signed_file)
        self._row, self._signed, self._shown, self._current = found.row, found.signed, found.published, None
        edge = found.edge if found.whole else self._write_tiles(found.edge, self._published_size)
        if found.note is not None:
            self._show(found.note)
            self._current = self._open(policy, found.note)
            self._tell_database(found.note)
        check_clock(self._shown, self._now())
        self._edge = edge
        return edge

    def place(self, error: OSError) -> str:
        """Where an error of the file system happened, as far as it says so."""
        return str(error.filename or f"{self._folder.path} or {self._signed_file.path}")

    def observe(self) -> None:
        """Serve what another publisher of this log publishes. Raises OSError."""
        note = self._folder.checkpoint()
        if note is not None:
            self._show(note)

    def _show(self, note: bytes) -> None:
        """Serve index proofs under this checkpoint, unless the folder has not what that takes."""
        view = self._published.view
        if view is None or view.note != note:
            try:
                self._published.show(View.of(note, self._folder))
            except (LookupError, GlassbookError) as error:
                log.warning("no index proofs can be given yet", why=str(error))

    def _write_tiles(self, edge: Edge, size: int) -> Edge:
        """Write every tile of the tree of `size` that `edge` has not, and see that its last leaf is its
        index root."""
        while edge.size < size:
            stop = min(size, edge.size + CHUNK)
            with self._store.read() as db:
                entries = read_entries(db, edge.size, stop)
            edge = edge.copy()
            files = edge.extend(entries[:-1])
            if stop == size:
                check_last_leaf(entries[-1], edge)
            files += edge.extend(entries[-1:])
            if stop == size:
                files += edge.partials()
            self._folder.write(files)
        return edge

    def _sign(self, edge: Edge) -> Signed:
        """The log's signatures on the tree of `edge`: those made lately, or new ones after every check."""
        now, last = self._now(), self._signed
        checkpoint = Checkpoint(self._signer.origin, edge.size, edge.root())
        check_clock(self._shown, now)
        if last is not None:
            if last.checkpoint == checkpoint and 0 <= now - last.timestamp < REUSE_S:
                return last
            before = last.checkpoint
            try:
                proof = prove_consistency(before.size, edge.size, TileHashes(self._folder, edge.size))
                check_consistency(before.size, edge.size, before.root, checkpoint.root, proof)
            except GlassbookError as error:
                raise SigningRefused(f"the tree does not continue the one signed last: {error}") from None
        signed = self._signer.sign(checkpoint, now)
        with self._store.write() as db:
            if not swap_signed(db, self._row, edge.size, signed.note):
                raise Superseded
        self._row = replace(self._row, signed_size=edge.size, signed_note=signed.note)
        self._signed_file.write(signed.note)
        self._signed = signed
        return signed

    def _publish(self, policy: Policy, signed: Signed) -> bool:
        """Collect cosignatures; with a quorum replace the checkpoint, without one leave everything as it
        is."""
        checkpoint, now = signed.checkpoint, self._now()

        def note_with(found: dict[str, Cosignature]) -> bytes:
            lines = [found[witness.name].line for witness in policy.witnesses if witness.name in found]
            return format_note(checkpoint.text, [*signed.lines, *lines])

        def prove(old: int) -> list[bytes]:
            return list(prove_consistency(old, checkpoint.size, TileHashes(self._folder, checkpoint.size)))

        def enough(found: dict[str, Cosignature]) -> bool:
            return self._open(policy, note_with(found)) is not None

        have = {
            name: found
            for name, found in self._cosigned.items()
            if found.checkpoint == checkpoint and abs(now - found.timestamp) < REUSE_S
        }
        self._cosigned = self._witnesses.collect(checkpoint, signed.lines, prove, now, have, enough)
        note = note_with(self._cosigned)
        opened = self._open(policy, note)
        if opened is None:
            self.say(Status(WAITING, self._why_waiting(policy)))
            return False
        self._folder.replace_checkpoint(note)
        self._cosigned, self._current, self._shown = {}, opened, signed
        self._show(note)
        self._tell_database(note)
        self._prune(checkpoint.size)
        self.say(Status("publishing"))
        return True

    def _open(self, policy: Policy, note: bytes) -> Opened | None:
        """The checkpoint in a note of ours, None when the policy does not accept it (yet, or any more)."""
        try:
            return policy.open(note, self._now())
        except GlassbookError:
            return None

    def _why_waiting(self, policy: Policy) -> tuple[str, ...]:
        reasons = [str(missing) for missing in self._witnesses.missing()]
        reasons += [
            f"witness {witness.name} has no URL in policy.txt, so it cannot be asked"
            for witness in policy.witnesses
            if witness.vkey not in self._signer.vkeys and not witness.url
        ]
        return tuple(reasons) or ("the quorum of policy.txt is not met",)

    def _tell_database(self, note: bytes) -> None:
        """Record what stands at /checkpoint, if that is not yet what the database says."""
        if self._row.published_note == note:
            return
        newest = self._current.newest if self._current else None
        seconds = newest if newest is not None else self._shown.timestamp if self._shown else 0
        with self._store.write() as db:
            if not swap_published(db, self._row, self._published_size, note, seconds):
                raise Superseded
        self._row = replace(
            self._row, published_size=self._published_size, published_note=note, published_time=seconds
        )

    def _prune(self, size: int) -> None:
        """Remove partial tiles beside full ones that have been public for long enough."""
        now, old = time.monotonic(), self._pruned
        self._fulls.append((now, size))
        while self._fulls and now - self._fulls[0][0] >= PARTIALS_KEPT_S:
            old = self._fulls.popleft()[1]
        if old > self._pruned:
            self._folder.prune(self._pruned, old)
            self._pruned = old

    def say(self, status: Status) -> None:
        """Set the status, and log it when it changes."""
        if status != self.status:
            self.status = status
            level = log.info if status.state in ("publishing", "standing by") else log.warning
            level(status.state, why=list(status.reasons))


def check_last_leaf(entry: bytes, before: Edge) -> None:
    """Raise SigningRefused unless `entry` is the index root over exactly the tree `before` it (formats §2).

    It holds the root that the sequencer computed, and so shows whether both see one tree.
    """
    try:
        root = decode_entry(entry)
    except GlassbookError as error:
        raise SigningRefused(f"the last entry in the database is no entry: {error}") from None
    if not isinstance(root, IndexRoot) or root.covers != before.size or root.log_root != before.root():
        raise SigningRefused(
            f"the last of {before.size + 1} entries in the database is not the index root of those before"
            " it: the database or the public folder was altered; nothing is signed until they agree"
        )


def publish_until(publisher: Publisher, store: Store, stop: threading.Event) -> None:
    """Publish for as long as `stop` is not set; stands by while another process does. Never raises."""
    while not stop.is_set():
        try:
            with store.exclusive("publisher") as held:
                if held:
                    _publish_held(publisher, stop)
                else:
                    publisher.say(Status("standing by", ("another publisher of this log is running",)))
                    publisher.observe()
        except OSError as error:
            publisher.say(Status("failing", (str(error),)))
        stop.wait(RETRY_SECONDS)


def _publish_held(publisher: Publisher, stop: threading.Event) -> None:
    said = time.monotonic()
    while not stop.is_set():
        pause = RETRY_SECONDS
        try:
            publisher.round()
            pause = POLL_SECONDS
        except Superseded:
            pause = POLL_SECONDS
        except SigningRefused as error:
            publisher.say(Status("refusing to sign", (str(error),)))
        except PolicyRefused as error:
            publisher.say(Status("no policy", (str(error),)))
        except OSError as error:
            publisher.say(Status("failing", (f"{publisher.place(error)}: {error.strerror}; trying again",)))
        except (StoreBusy, LookupError, GlassbookError) as error:
            publisher.say(Status("failing", (f"{error}; trying again",)))
        except Exception as error:  # one that has stopped tells nobody why
            log.exception("unexpected fault")
            publisher.say(Status("failing", (f"unexpected fault {type(error).__name__}; trying again",)))
        status = publisher.status
        if status.state in ("publishing", "starting"):
            said = time.monotonic()
        elif time.monotonic() - said >= SAY_AGAIN_SECONDS:
            said = time.monotonic()
            log.warning(status.state, why=list(status.reasons), still=True)
        stop.wait(pause)
