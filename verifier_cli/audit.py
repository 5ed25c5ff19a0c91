"""`glassbook-verify audit`: the whole log replayed, every file of it recomputed.

What is published is compared with what was signed in both directions:

    entry bundles → leaf hashes → every hash tile → root      = the tiles published, the root signed
    entries → register, index, counts, signatures             = every rule of docs/formats.md (ledger.core.replay)

The main process replays; signatures are checked in other processes; files are read ahead by threads.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ledger.client.publiclog import PublicLog
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.errors import GlassbookError, Malformed, RuleBroken
from ledger.core.merkle import HASH_BYTES, leaf_hash
from ledger.core.policy import Policy
from ledger.core.replay import Replay, Summary, Violation
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, decode_bundle, grow_tiles
from verifier_cli.auditwords import audit_lines, audit_result
from verifier_cli.consistency import remember
from verifier_cli.outcome import Outcome, Verdict, write_refutation
from verifier_cli.report import Progress
from verifier_cli.signatures import SignaturePool

BUNDLES_AT_ONCE = 8
"""Bundles replayed together: 2,048 entries, about 0.1 s of signatures."""
CHUNKS_AHEAD = 4
SHOWN = 50
"""Violations of which the evidence file holds the entry and its inclusion proof."""


@dataclass(slots=True)
class Audit:
    """What an audit found. `summary` is None when it had to stop at a file that cannot be read as one."""

    view: View
    since: int
    replay: Replay
    violations: list[Violation] = field(default_factory=list)
    summary: Summary | None = None
    by_clock: bool = False

    @property
    def warnings(self) -> list[str]:
        """What is no violation, and no good sign: keys of witnesses that have another role in the log (§1)."""
        register = self.replay.register
        if not register.has_charter:
            return []
        roles = dict(register.charter.roles)
        for versions in register.sources.values():
            for version in versions:
                roles |= version.roles
        return [
            f"witness {witness.name} signs with the key for {roles[witness.vkey.key]}"
            for witness in self.view.policy.witnesses
            if witness.vkey.key in roles
        ]


def audit_command(
    log: PublicLog, policy: Policy, now: int, since: int, jobs: int, state: Path | None, progress: Progress
) -> Outcome:
    """Audit a log. Raises `Unreachable` for a file that is not there, `QuorumNotMet`, `BadSignature`."""
    view = View.open(log, policy, now)
    if since > view.size:
        raise Malformed("--from", f"{since} is above the log's size, {view.size}")
    if state is not None:
        remember(view, state)
    found = audit_log(view, jobs, since, progress)
    if not found.violations:
        scope = f"entries {since} to {view.size - 1}" if since else f"all {view.size} entries"
        return Outcome(
            "audit", Verdict.HOLDS, f"{scope} were checked and there is no violation",
            audit_result(found), audit_lines(found),
        )  # fmt: skip
    first = found.violations[0]
    count = len(found.violations)
    message = f"{count} violation{'s' * (count != 1)}, the first at entry {first.index}: {first.detail}"
    error = RuleBroken(
        f"log {view.opened.checkpoint.origin}", message,
        checkpoint=view.note,
        violations=[asdict(violation) for violation in found.violations],
        entries=_shown(found),
    )  # fmt: skip
    path = write_refutation("audit", error)
    return Outcome("audit", Verdict.REFUTED, message, audit_result(found), audit_lines(found), path)


def audit_log(view: View, jobs: int, since: int = 0, progress: Progress | None = None) -> Audit:
    """Replay the log under `view`, with signatures checked in `jobs` processes; those of entries below `since`
    are not checked again, and violations there not told again."""
    newest = view.opened.newest
    replay = Replay(view.opened.checkpoint.origin, view.now if newest is None else newest, view.size)
    found = Audit(view, since, replay, by_clock=newest is None)
    published = _Published(view)
    with SignaturePool(replay.origin, jobs, view.size - since) as pool:
        try:
            for entries, tiles in _chunks(view):
                published.compare(entries, tiles)
                pool.submit([job for job in replay.feed_many(entries) if job[0] >= since])
                for bad in pool.answers():
                    replay.report(bad)
                if progress is not None:
                    progress.step("auditing", replay.size, view.size)
            for bad in pool.answers(all_of_them=True):
                replay.report(bad)
            found.summary = replay.finish()
        except _Unreadable as stop:
            found.violations.append(stop.violation)
    replayed = [violation for violation in replay.violations if violation.index >= since]
    if found.summary is None or found.summary.root == view.opened.checkpoint.root:
        found.violations += published.violations + replayed
    else:
        # The entries read are not the log that was signed. Where it can be told which of them are not, the rules
        # broken by the others are of no interest: this is a false copy, and not a log that breaks rules.
        found.violations += _false_entries(view, published) or [
            Violation(
                view.size - 1,
                "root",
                "§6",
                f"the entries do not lead to the root signed for size {view.size}",
            ),
            *published.violations,
            *replayed,
        ]
    found.violations.sort()
    if replay.register.has_charter:
        view.check_charter_keys(replay.register.charter)
    return found


class _Unreadable(Exception):
    """A published file is not of its format: the replay cannot go on."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.detail)
        self.violation = violation


class _Published:
    """The tree recomputed from the entries, compared with every hash tile published."""

    def __init__(self, view: View) -> None:
        self._size = view.size
        self._done = 0
        self._edge: dict[int, bytes] = {}
        self._log = view.log
        self.suspects: list[int] = []
        """Numbers of level-0 tiles that do not hold what the bundle over them does."""
        self.violations: list[Violation] = []

    def compare(self, entries: list[bytes], level0: dict[Tile, bytes]) -> None:
        """Take the next entries; `level0` are the published tiles over them, the others are fetched here."""
        hashes = [leaf_hash(raw) for raw in entries]
        for tile, content in grow_tiles(self._done, self._edge, hashes):
            if tile.width < FULL_WIDTH:
                # Still growing: compared when all entries are in.
                self._edge[tile.level] = content
            else:
                self._edge.pop(tile.level, None)
                self._check(tile, content, level0)
        self._done += len(entries)
        if self._done == self._size:
            for level, content in self._edge.items():
                last = ((self._size >> 8 * level) - 1) // FULL_WIDTH
                self._check(Tile(level, last, len(content) // HASH_BYTES), content, level0)

    def _check(self, tile: Tile, content: bytes, level0: dict[Tile, bytes]) -> None:
        given = level0[tile] if tile.level == 0 else self._log.tile(tile)
        if given != content:
            self._differs(tile, content, given)

    def _differs(self, tile: Tile, content: bytes, given: bytes) -> None:
        slots = range(0, max(len(content), len(given)), 32)
        slot = next(at // 32 for at in slots if content[at : at + 32] != given[at : at + 32])
        index = (tile.n * FULL_WIDTH + slot) << 8 * tile.level
        what = f"{tile.path} does not hold the hashes of the entry bundles, from its hash {slot} on"
        self.violations.append(Violation(index, "tile", "§6", what))
        if tile.level == 0:
            self.suspects.append(tile.n)


def _false_entries(view: View, published: _Published) -> list[Violation]:
    """Entries of bundles that are not those of the tree signed; none when the tiles published are not its either."""
    found = []
    try:
        for n in published.suspects:
            width = min(FULL_WIDTH, view.size - n * FULL_WIDTH)
            bundle = Tile(ENTRIES, n, width)
            for slot, raw in enumerate(decode_bundle(view.log.tile(bundle), width, bundle.path)):
                index = n * FULL_WIDTH + slot
                if leaf_hash(raw) != view.tiles.leaf_hash(index):
                    what = f"{bundle.path} holds another entry here than the tree signed"
                    found.append(Violation(index, "bundle", "§6", what))
    except GlassbookError:
        return []
    return found


def _chunks(view: View) -> Iterator[tuple[list[bytes], dict[Tile, bytes]]]:
    """Entries in order with the level-0 tiles over them, read ahead by threads."""
    numbers = range(0, (view.size + FULL_WIDTH - 1) // FULL_WIDTH, BUNDLES_AT_ONCE)
    with ThreadPoolExecutor(CHUNKS_AHEAD) as threads:
        waiting: deque[Future[tuple[list[bytes], dict[Tile, bytes]]]] = deque()
        for number in numbers:
            waiting.append(threads.submit(_read_chunk, view, number))
            if len(waiting) > CHUNKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _read_chunk(view: View, first: int) -> tuple[list[bytes], dict[Tile, bytes]]:
    entries: list[bytes] = []
    tiles = {}
    for n in range(first, min(first + BUNDLES_AT_ONCE, (view.size + FULL_WIDTH - 1) // FULL_WIDTH)):
        width = min(FULL_WIDTH, view.size - n * FULL_WIDTH)
        bundle = Tile(ENTRIES, n, width)
        try:
            entries += decode_bundle(view.log.tile(bundle), width, bundle.path)
        except Malformed as error:
            raise _Unreadable(Violation(n * FULL_WIDTH, "bundle", "§6", str(error))) from None
        tile = Tile(0, n, width)
        tiles[tile] = view.log.tile(tile)
    return entries, tiles


def _shown(found: Audit) -> list[dict[str, Any]]:
    """The entries of the first violations with their inclusion proofs, where the published tree gives them."""
    shown = []
    for index in sorted({violation.index for violation in found.violations})[:SHOWN]:
        try:
            raw = found.view.entries([index])[index]
            proof = [b64encode(hash_) for hash_ in found.view.inclusion(index)]
        except GlassbookError:
            continue
        shown.append({"index": index, "entry": b64encode(raw), "inclusion_proof": proof})
    return shown
