"""What `glassbook doctor` asks of the publisher's side: policy, what was signed, public files, each witness."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.checkup import (
    Finding,
    Place,
    about_age,
    about_clock,
    about_policy,
    good,
    look,
    mend,
)
from ledger.core.checkpoint import parse_checkpoint
from ledger.core.errors import GlassbookError
from ledger.core.note import parse_note
from ledger.core.policy import Opened, Policy, Witness
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile
from ledger.files import FileRefused
from ledger.publicfiles import PlaceRefused, PublicFiles, open_public_files
from ledger.settings import PublicBucket, Settings, SettingsRefused, read_settings
from ledger.store import StoreBusy, StoreUnusable
from ledger.store.charter import read_charter
from ledger.store.log import read_size
from ledger.store.publication import Publication, read_publication
from ledger.store.unchanged import open_store_unchanged
from ledger.store.witnesses import BEHIND, COSIGNS, WitnessProgress, read_witnesses
from publisher.cli import log_vkeys
from publisher.policy import PolicyFile, PolicyRefused
from publisher.signing import SignedFile
from publisher.tiles import partial_tiles
from publisher.witnesses import describe

OLD_S = 600
"""The newest cosignature of a published log is at most this old, also when nothing is handed in."""


def checks(place: Place) -> Iterator[Finding]:
    """Nothing when settings or database cannot be used: the ledger's checks have said so then."""
    try:
        settings = read_settings(place.folder)
        store = open_store_unchanged(settings.database)
    except (SettingsRefused, StoreUnusable, StoreBusy):
        return
    try:
        charter = read_charter(store, settings.origin)
        with store.read() as db:
            size, row, known = read_size(db), read_publication(db), read_witnesses(db)
    except (StoreUnusable, StoreBusy):
        return
    finally:
        store.close()
    yield _about_signed(settings, size, row)
    try:
        files = open_public_files(settings.public)
    except PlaceRefused as error:
        yield mend("bucket", str(error), "the publisher does not start without it")
        return
    bucket = isinstance(settings.public, PublicBucket)
    if bucket:
        yield _about_bucket(files)
    try:
        policy, _ = PolicyFile(settings.policy, *log_vkeys(charter)).read()
    except (PolicyRefused, FileRefused, OSError) as error:
        yield mend("policy.txt", str(error), "without a policy nothing is published")
        return
    yield from about_policy(policy)
    opened = None
    if row.published_size:
        found, opened = _about_public(files, policy, row, place.now)
        yield found
        if opened is not None:
            if bucket:
                yield _about_headers(files, opened)
            yield about_age("checkpoint", opened.newest, place.now, max(OLD_S, 2 * settings.refresh_s))
        yield from about_clock("publisher", f"{settings.public_url}/checkpoint", (200,))
    else:
        yield look("public files", "nothing is published yet", "run: glassbook up")
    for witness in policy.witnesses:
        if witness.vkey != policy.log_mldsa:
            yield from _about_witness(witness, known.get(witness.vkey.text), opened, place.now)


def _about_signed(settings: Settings, size: int, row: Publication) -> Finding:
    """Database and keys/signed: a restored database is older than what was signed with it."""
    path = settings.keys / "signed"
    try:
        note = SignedFile(path).read()
        signed = parse_checkpoint(parse_note(note).text).size if note is not None else 0
    except (GlassbookError, FileRefused, OSError):
        return mend(
            "keys/signed",
            "is no checkpoint that can be read",
            "move it away; two other places remember what was signed",
        )
    most = max(signed, row.signed_size, row.published_size)
    if most > size:
        return mend(
            "signed checkpoint",
            f"one of {most:,} entries was signed, and the database holds {size:,}",
            "bring the newer database back; this log can never be signed without those entries",
        )
    return good("signed checkpoint", f"the newest signed one has {most:,} of {size:,} entries")


def _about_bucket(files: PublicFiles) -> Finding:
    """Whether it is reached, and keeps what the publisher relies on: an object is put under .probe/, and removed."""
    try:
        files.probe()
    except PlaceRefused as error:
        return mend("bucket", str(error), "mend that, or name another; the publisher does not start with it")
    except OSError as error:
        what = f"{files.where}: {error.strerror}"
        return mend("bucket", what, "is it running, and is [bucket] endpoint its address?")
    return good("bucket", f"{files.where} is reached, and overwrites nothing that it must not")


def _about_headers(files: PublicFiles, opened: Opened) -> Finding:
    size = opened.checkpoint.size
    tile = partial_tiles(size)[0] if size % FULL_WIDTH else Tile(ENTRIES, size // FULL_WIDTH - 1)
    try:
        for name in ("checkpoint", tile.path):
            if wrong := files.wrong_headers(name):
                says = f"{name} is given with {', '.join(wrong)}"
                return mend("bucket, headers", says, "does something rewrite them? Caches go by them")
    except (OSError, LookupError):
        return mend("bucket, headers", "cannot be read", "the publisher writes its files again: glassbook up")
    return good("bucket, headers", "tiles may be kept for ever, the checkpoint is asked for anew")


def _about_public(
    files: PublicFiles, policy: Policy, row: Publication, now: int
) -> tuple[Finding, Opened | None]:
    try:
        stored = files.checkpoint()
        note = stored.note if stored else None
    except (OSError, FileRefused):
        note = None
    if note is None:
        return mend(
            "public files", "their checkpoint cannot be read", "the publisher writes it again: glassbook up"
        ), None
    try:
        opened = policy.open(note, now)
    except GlassbookError as error:
        what = f"their checkpoint does not fulfil the policy: {error.what}"
        return mend("public files", what, "look at each witness below, and at this machine's clock"), None
    if opened.checkpoint.size < row.published_size:
        what = f"hold {opened.checkpoint.size:,} entries, and {row.published_size:,} were published"
        return mend(
            "public files", what, "were they restored? The publisher writes them again: glassbook up"
        ), opened
    return good(
        "public files", f"{opened.checkpoint.size:,} entries, under a checkpoint that fulfils the policy"
    ), opened


def _about_witness(
    witness: Witness, progress: WitnessProgress | None, opened: Opened | None, now: int
) -> Iterator[Finding]:
    kind = "auditor" if witness.auditor else "witness"
    name = f"{kind} {witness.name}"
    if witness.url is None:
        yield look(name, "has no URL in policy.txt, so it cannot be asked", "write its URL there")
        return
    # No C2SP witness has a page of its own: any answer shows that it is there.
    yield from about_clock(name, witness.url)
    if progress is not None and progress.standing != COSIGNS:
        does = describe(witness, progress)
        if progress.standing == BEHIND:
            yield look(f"{name}, cosignature", does, "wait; it audits on")
        else:
            yield mend(
                f"{name}, cosignature", does, "docs/operating.md, Its witnesses, says what each answer means"
            )
    elif progress is None or not progress.cosigned:
        yield look(
            f"{name}, cosignature",
            "none was ever made with the key in policy.txt",
            "compare that key with what its operator's --init printed",
        )
    elif opened is not None and witness.vkey in opened.counted:
        yield good(f"{name}, cosignature", "is on the published checkpoint, with the key in policy.txt")
    else:
        age = f"{(now - progress.cosigned) // 60} minutes ago"
        yield look(
            f"{name}, cosignature",
            f"was last made {age}",
            "it comes with the next checkpoint, if it is there",
        )
