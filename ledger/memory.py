"""How a process that runs for long, and makes many small objects, has its memory looked after."""

from __future__ import annotations

import ctypes
import gc
import threading
import time

NEW_OBJECTS = 200_000
"""Containers made before the youngest are looked at: a few requests' worth instead of a few entries'."""

GIVEN_BACK_S = 5.0


def settle_memory() -> None:
    """Call when start-up is over.

    Python's search for cycles walks all that lives again and again. Entries make no cycles, and what start-up made
    stays: a quarter of the work of taking entries in was that search.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)
    _give_back()


def _give_back() -> None:
    """Have glibc give back what is free, now and then: requests of megabytes leave a third of a ledger's memory behind,
    in pieces between others that are still used. Other C libraries have no such call, and nothing happens there."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return

    def run() -> None:
        while True:
            time.sleep(GIVEN_BACK_S)
            trim(0)

    threading.Thread(target=run, name="give memory back", daemon=True).start()
