"""Is a leaf hash in a log? Without the entry no label leads to it, so every leaf hash is looked at.

The hashes are read as tiles of level 0, 32 bytes a leaf, a few tiles at a time, and folded into one root on the way:
that none was held back is known when it is the checkpoint's.
"""

from concurrent.futures import ThreadPoolExecutor

from ledger.client.view import View
from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.merkle import HASH_BYTES, Frontier
from ledger.core.tiles import FULL_WIDTH, Tile
from verifier_cli.report import Progress

AT_ONCE = 8  # requests
TILES = 64  # in memory together: 512 KiB


def find_leaf(view: View, leaf: bytes, progress: Progress | None = None) -> int | None:
    """The index of the first leaf with this hash (32 bytes) under the view's checkpoint, or None: there is none.

    Raises `Unreachable`; `Malformed` for a tile of another length; `ProofRefuted` when the tiles are not the tree's.
    """
    size, where = view.size, view.log.where
    frontier = Frontier()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, -(-size // FULL_WIDTH), TILES):
            stop = min(start + TILES, -(-size // FULL_WIDTH))
            tiles = [Tile(0, n, min(FULL_WIDTH, size - FULL_WIDTH * n)) for n in range(start, stop)]
            for tile, data in zip(tiles, pool.map(view.log.tile, tiles), strict=True):
                if len(data) != HASH_BYTES * tile.width:
                    raise Malformed(
                        f"{where} {tile.path}", f"{len(data)} bytes, not {HASH_BYTES * tile.width}"
                    )
                hashes = [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]
                if leaf in hashes:
                    index = FULL_WIDTH * tile.n + hashes.index(leaf)
                    if view.tiles.leaf_hash(index) == leaf:
                        return index
                frontier.extend(hashes)
            if progress is not None:
                progress.step("looking through leaf hashes", frontier.size, size)
    if frontier.root() != view.opened.checkpoint.root:
        raise ProofRefuted(
            f"{where} tiles",
            "the leaf hashes do not fold to the root of the signed checkpoint",
            note=view.note,
        )
    return None
