"""The log's public files, wherever they lie: hash tiles, entry bundles and the checkpoint (C2SP tlog-tiles).

    protocol.py      PublicFiles: what every place owes; the faults it may raise
    folder.py        a folder, synced to the disk
    bucket.py        an S3-compatible bucket, through obstore (extra `s3`)
    probe.py         whether a server keeps what the publisher relies on
    credentials.py   the file with the bucket's key
    kept.py          contents in memory of files that never change

The publisher writes them; whoever else in the ledger needs published entries reads them here, by Tile:

    read = open_public_files(settings.public)
    entries = decode_bundle(read(Tile(ENTRIES, n)), FULL_WIDTH, "entry bundle")

What is read is not checked: whoever can write there can alter it. Hold its leaf hashes against the tree before it is
believed.
"""

from __future__ import annotations

from pathlib import Path

from ledger.publicfiles.folder import Folder
from ledger.publicfiles.protocol import (
    CheckpointReplaced,
    ContentDiffers,
    File,
    PlaceRefused,
    PublicFiles,
    StoredNote,
    TileReader,
)
from ledger.settings import PublicBucket

__all__ = [
    "CheckpointReplaced",
    "ContentDiffers",
    "File",
    "Folder",
    "PlaceRefused",
    "PublicFiles",
    "StoredNote",
    "TileReader",
    "open_public_files",
]


def open_public_files(public: Path | PublicBucket) -> PublicFiles:
    """The place that the settings name as `public`. Asks it nothing yet.

    Raises PlaceRefused when the extra for it is missing or its credentials cannot be used.
    """
    if isinstance(public, Path):
        return Folder(public)
    try:
        from ledger.publicfiles.bucket import open_bucket
    except ModuleNotFoundError as error:
        raise PlaceRefused(
            f"{public.url}: a bucket needs {error.name}; run: pip install 'glassbook[s3]'"
        ) from None
    return open_bucket(public)
