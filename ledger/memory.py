"""How a process that runs for long, and makes many small objects, has its memory looked after."""

from __future__ import annotations

import gc

NEW_OBJECTS = 200_000
"""Containers made before the youngest are looked at: a few requests' worth instead of a few entries'."""


def settle_memory() -> None:
    """Call when start-up is over.

    Python's search for cycles walks all that lives again and again. Entries make no cycles, and what start-up made
    stays: a quarter of the work of taking entries in was that search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)
