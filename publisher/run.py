"""One round of publishing.

    recover   (once, and after a failure) what was signed before, and the tree's right edge
    tiles     everything of the tree up to the newest index root, durable in the public files
    sign      refused if inconsistent with anything signed before; compare-and-swap in the database, then the
              file beside the keys: only then may a signature leave this process
    cosign    ask the witnesses; without a quorum nothing is published, and a later round asks again
    publish   replace `checkpoint`, then serve index proofs under it, then tell the database
    complete  a cosignature that came too late for that is added to the published checkpoint

Whatever fails, the next round starts with `recover` and takes the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import structlog

from ledger.core.checkpoint import Checkpoint
from ledger.core.errors import GlassbookError
from ledger.core.merkle import check_consistency, prove_consistency
from ledger.core.note import SignatureLine, VerifierKey, format_note, parse_note
from ledger.core.policy import Opened, Policy, Witness
from ledger.core.tiles import TileHashes
from ledger.publicfiles import CheckpointReplaced, PublicFiles
from ledger.store import Connection, Leadership, Store, Writer
from ledger.store.charter import read_charter
from ledger.store.log import read_size
from ledger.store.publication import Publication, read_publication, swap_published, swap_signed
from ledger.store.witnesses import COSIGNS, WitnessProgress, keep_witnesses, read_witnesses, write_witnesses
from publisher.addcheckpoint import Submission
from publisher.growing import Pruning, mend_tiles, write_tiles
from publisher.policy import PolicyFile
from publisher.published import Published, View
from publisher.recovery import Superseded, recover
from publisher.signing import LogSigner, Signed, SignedFile, SigningRefused, check_clock
from publisher.tiles import Edge
from publisher.witnesses import Witnesses, describe

log = structlog.get_logger("publisher")

LONGEST_REFRESH_S = 480
"""An idle log's checkpoint is cosigned anew after this long at the latest: 10 minutes less the time to try
in."""

LEAST_REFRESH_S = 5
"""However little delay a charter promises."""

REUSE_S = 240
"""What was signed and could not be published is signed again when its signature is older than this."""

PUBLISHING, WAITING, STANDING_BY = "publishing", "waiting for witnesses", "standing by"


@dataclass(frozen=True, slots=True)
class Status:
    """What the publisher is doing, for its operator, and why it is not doing more.

    `state` is one of: starting, publishing, waiting for witnesses, no policy, refusing to sign, failing,
    standing by.
    """

    state: str
    reasons: tuple[str, ...] = ()


class Publisher:
    """Publishes one log into one place. Not safe for several threads; `status` and `standings` may be read from any.

    An idle log's checkpoint is renewed after `refresh_s` seconds, or half of the charter's merge delay where that is
    shorter; witnesses beyond the quorum are waited for `witness_wait_s` seconds more.
    """

    def __init__(
        self,
        store: Store,
        files: PublicFiles,
        signer: LogSigner,
        signed_file: SignedFile,
        policy_file: PolicyFile,
        published: Published,
        clock: Callable[[], float] = time.time,
        refresh_s: int = 300,
        witness_wait_s: float = 0.2,
    ) -> None:
        self.status = Status("starting")
        self._store = store
        self._leadership: Leadership | None = None
        self._writer: Writer = store
        self._files = files
        self._signer = signer
        self._signed_file = signed_file
        self._policy_file = policy_file
        self._published = published
        self._clock = clock
        self._refresh_s = min(refresh_s, LONGEST_REFRESH_S)
        self._witness_wait_s = witness_wait_s
        self._witnesses = Witnesses()
        self._pruning = Pruning(files)
        self._policy: Policy | None = None  # whose witnesses are asked
        self._edge: Edge | None = None  # None: recover first
        self._row = Publication(0, b"", 0, b"", 0)
        self._signed: Signed | None = None  # what was signed last
        self._shown: Signed | None = None  # what is published
        self._version: str | None = None  # of the published checkpoint as it was last seen or written
        self._current: Opened | None = None  # the published checkpoint, if the present policy accepts it
        self._renewed = 0  # when its cosignatures were collected, Unix seconds
        self.moved_at = time.monotonic()  # when something was got done, or nothing was left to do

    def lead(self, leadership: Leadership) -> None:
        """From here on each write is one of this leader, and what was known before is learned anew."""
        self._leadership = self._writer = leadership
        self._edge = None
        self._moved()

    def round(self) -> bool:
        """Do what is due; True when a checkpoint was published.

        Raises SigningRefused, PolicyRefused, Superseded, LeadershipLost, OSError, StoreBusy, LookupError; nothing is
        then half done, and the next call goes on from what is durable (also when a commit was not answered).
        """
        try:
            policy = self._read_policy()
            anew = self._edge is None
            edge = self._edge or self._recover(policy)
            with self._store.read() as db:
                size, row = read_size(db), read_publication(db)
            if row != self._row:
                raise Superseded
            if size < edge.size:
                raise SigningRefused(
                    f"the database went back from {edge.size} to {size} entries while we ran"
                )
            if not self._due(size):
                completed = self._complete(policy)
                self._moved()
                return completed
            # Without a quorum, nothing is gained by signing more until a missing witness is asked again,
            # unless the policy is another one now.
            if self.status.state == WAITING and not anew and self._witnesses.all_resting():
                return False
            edge = self._edge = write_tiles(self._store, self._files, edge, size, self._moved)
            return self._publish(policy, self._sign(edge))
        except BaseException:
            self._edge = None
            raise

    def close(self) -> None:
        """Let go of the witnesses; a round that waits for them ends."""
        self._witnesses.close()

    def standings(self) -> list[tuple[Witness, WitnessProgress]]:
        """Each witness that is asked, and how it stands."""
        return self._witnesses.standings()

    @property
    def _published_size(self) -> int:
        return self._shown.checkpoint.size if self._shown else 0

    def _moved(self) -> None:
        self.moved_at = time.monotonic()

    def _now(self) -> int:
        return int(self._clock())

    def _read_policy(self) -> Policy:
        policy, _ = self._policy_file.read()
        if policy is not self._policy:
            asked = [witness for witness in self._others(policy) if witness.url]
            vkeys = {witness.vkey.text for witness in asked}
            with self._store.read() as db:
                stored = read_witnesses(db)
            if stored.keys() - vkeys:
                self._writer.change(lambda db: keep_witnesses(db, vkeys))
            self._witnesses.use(asked, stored)
            self._edge, self._policy = None, policy
        return policy

    def _others(self, policy: Policy) -> list[Witness]:
        """The policy's witnesses but the log itself."""
        return [witness for witness in policy.witnesses if witness.vkey not in self._signer.vkeys]

    def _due(self, size: int) -> bool:
        """New entries, or a published checkpoint that grows old, or none that the policy accepts."""
        if size < 2:  # formats §2: no checkpoint of size 0 or 1 is published
            return False
        if self._shown is None or self._current is None or size != self._shown.checkpoint.size:
            return True
        return self._now() - self._renewed >= self._refresh_s

    def _recover(self, policy: Policy) -> Edge:
        # What is older than the promised delay is stale to whoever watches, also where nothing was promised.
        charter = read_charter(self._store, self._signer.vkeys[0].name)
        self._refresh_s = min(self._refresh_s, max(LEAST_REFRESH_S, charter.merge_delay_s // 2))
        stored = self._files.checkpoint()
        if stored is not None:
            self._show(stored.note)  # what is published is served, whether or not we may sign more
        found = recover(self._store, self._writer, self._files, self._signer, self._signed_file)
        self._row, self._signed, self._shown, self._current = found.row, found.signed, found.published, None
        edge = found.edge
        if not found.whole and found.published is not None:
            published = found.published.checkpoint
            edge = mend_tiles(self._store, self._files, published.size, published.root, self._moved)
        self._version = found.stored.version if found.stored else None
        if found.stored is not None and found.published is not None:
            self._show(found.stored.note)
            self._current = self._open(policy, found.stored.note)
            oldest = self._current.oldest if self._current else None
            # A witness whose clock is slow would otherwise have it renewed all the time.
            self._renewed = max(self._renewed, oldest or found.published.timestamp)
            self._tell_database(found.stored.note)
        check_clock(self._shown, self._now())
        self._edge = edge
        return edge

    def place(self, error: OSError) -> str:
        """Where an error of the file system or the bucket happened, as far as it says so."""
        return str(error.filename or f"{self._files.where} or {self._signed_file.path}")

    def observe(self) -> None:
        """Serve what another publisher of this log publishes. Raises OSError."""
        stored = self._files.checkpoint()
        if stored is not None:
            self._show(stored.note)

    def _show(self, note: bytes) -> None:
        """Serve index proofs under this checkpoint, unless a file that it takes is missing."""
        view = self._published.view
        if view is None or view.note != note:
            try:
                self._published.show(View.of(note, self._files))
            except (LookupError, GlassbookError) as error:
                log.warning("no index proofs can be given yet", why=str(error))

    def _sign(self, edge: Edge) -> Signed:
        """The log's signatures on the tree of `edge`: those made lately and not yet published, or new ones
        after every check."""
        now, last = self._now(), self._signed
        checkpoint = Checkpoint(self._signer.origin, edge.size, edge.root())
        check_clock(self._shown, now)
        if last is not None:
            published = self._shown is not None and self._shown.note == last.note
            if not published and last.checkpoint == checkpoint and 0 <= now - last.timestamp < REUSE_S:
                return last
            before = last.checkpoint
            try:
                proof = prove_consistency(before.size, edge.size, TileHashes(self._files, edge.size))
                check_consistency(before.size, edge.size, before.root, checkpoint.root, proof)
            except GlassbookError as error:
                raise SigningRefused(f"the tree does not continue the one signed last: {error}") from None
        signed = self._signer.sign(checkpoint, now)

        def swap(db: Connection) -> None:
            if not swap_signed(db, self._row, edge.size, signed.note):
                raise Superseded

        self._writer.change(swap)
        self._row = replace(self._row, signed_size=edge.size, signed_note=signed.note)
        self._signed_file.write(signed.note)
        self._signed = signed
        return signed

    def _submission(self, signed: Signed) -> Submission:
        size = signed.checkpoint.size

        def prove(old: int) -> list[bytes]:
            return list(prove_consistency(old, size, TileHashes(self._files, size)))

        return Submission(signed.checkpoint, signed.note, prove, self._now())

    def _publish(self, policy: Policy, signed: Signed) -> bool:
        """Collect cosignatures; with a quorum replace the checkpoint, without one leave everything as it
        is."""
        own = {witness.name for witness in policy.witnesses if witness.vkey in self._signer.vkeys}

        def enough(names: Collection[str]) -> bool:
            return policy.quorum_met(own | set(names))

        found = self._witnesses.collect(self._submission(signed), enough, self._witness_wait_s)
        note = format_note(
            signed.checkpoint.text, [*signed.lines, *(cosigned.line for cosigned in found.values())]
        )
        opened = self._open(policy, note)
        if opened is None:
            self._save_progress()
            self.say(Status(WAITING, self._why_waiting(policy)))
            return False
        self._shown, now = signed, self._now()
        self._replace(note, opened)
        self._renewed = now  # not before: one that could not be put in place has to be renewed still
        self._pruning.published(signed.checkpoint.size)
        self.say(Status(PUBLISHING, self._absent()))
        self._moved()
        return True

    def _complete(self, policy: Policy) -> bool:
        """Add cosignatures that came after the checkpoint was published, and ask again who has not given one. Never
        waits."""
        shown, current = self._shown, self._current
        self.say(Status(PUBLISHING, self._absent()))
        if shown is None or current is None:
            return False
        given = {signature.vkey for signature in current.good}
        lacking = {
            witness.name: witness.vkey for witness in self._others(policy) if witness.vkey not in given
        }
        if not lacking:
            return False
        what = self._submission(shown)
        self._witnesses.ask(what, lacking)
        self._save_progress()
        found = self._witnesses.cosignatures(what.note)
        late = [found[name].line for name in lacking if name in found]
        if not late:
            return False
        note = format_note(shown.checkpoint.text, [*lines_by(given, current.note), *late])
        opened = self._open(policy, note)
        if opened is None:
            return False
        self._replace(note, opened)
        return True

    def _replace(self, note: bytes, opened: Opened) -> None:
        """From here on readers see this note.

        Only a leader's: one that was stopped while it waited for witnesses would put an older note in place.
        """
        if self._leadership is not None:
            self._leadership.confirm()
        try:
            self._version = self._files.replace_checkpoint(note, self._version)
        except CheckpointReplaced:
            raise Superseded from None
        self._current = opened
        self._show(note)
        self._tell_database(note)

    def _open(self, policy: Policy, note: bytes) -> Opened | None:
        """The checkpoint in a note of ours, None when the policy does not accept it (yet, or any more)."""
        try:
            return policy.open(note, self._now())
        except GlassbookError:
            return None

    def _absent(self) -> tuple[str, ...]:
        return tuple(
            describe(witness, progress)
            for witness, progress in self._witnesses.standings()
            if progress.standing != COSIGNS
        )

    def _why_waiting(self, policy: Policy) -> tuple[str, ...]:
        reasons = self._absent() + tuple(
            f"witness {witness.name} has no URL in policy.txt, so it cannot be asked"
            for witness in self._others(policy)
            if not witness.url
        )
        return reasons or ("the quorum of policy.txt is not met",)

    def _tell_database(self, note: bytes) -> None:
        """Record what stands at /checkpoint, if that is not yet what the database says, and who cosigned."""
        if self._row.published_note == note:
            return
        newest = self._current.newest if self._current else None
        seconds = newest if newest is not None else self._shown.timestamp if self._shown else 0
        changed = self._witnesses.changed()

        def swap(db: Connection) -> None:
            if not swap_published(db, self._row, self._published_size, note, seconds):
                raise Superseded
            write_witnesses(db, changed)

        self._writer.change(swap)
        self._witnesses.saved(changed)
        self._row = replace(
            self._row, published_size=self._published_size, published_note=note, published_time=seconds
        )

    def _save_progress(self) -> None:
        """Record how the witnesses stand, if that has changed."""
        if changed := self._witnesses.changed():
            self._writer.change(lambda db: write_witnesses(db, changed))
            self._witnesses.saved(changed)

    def say(self, status: Status) -> None:
        """Set the status, and log it when it changes. Who cosigns and who does not is logged where it is noticed."""
        before, self.status = self.status, status
        if status.state == before.state and (status.state in (PUBLISHING, WAITING) or status == before):
            return
        level = log.info if status.state in (PUBLISHING, STANDING_BY) else log.warning
        level(status.state, why=list(status.reasons))


def lines_by(vkeys: Collection[VerifierKey], note: bytes) -> list[SignatureLine]:
    """The signature lines of a note that are by these keys."""
    known = {(vkey.name, vkey.key_id) for vkey in vkeys}
    return [line for line in parse_note(note).lines if (line.name, line.key_id) in known]
