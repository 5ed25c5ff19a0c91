"""A process that leads a role for as long as it can, for tests that stop it: python leaderprocess.py URL [--inside]

Prints a line for what happens to it: `leads`, `wrote` (once a pass), `lost`, `stands by`, `busy`. Ends cleanly at
SIGTERM.  With --inside it stops itself (SIGSTOP) in its first transaction, after its check and its write.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from ledger.store import Connection, LeadershipLost, Store, StoreBusy
from ledger.store.engine import run


def main(url: str, inside: bool) -> None:
    ended, stopped = False, False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)

    def write(db: Connection) -> None:
        nonlocal stopped
        run(db, "UPDATE state SET labels = labels + 1 WHERE id = 1")
        if inside and not stopped:
            stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)

    store = Store.open(url)
    while not ended:
        try:
            with store.lead("sequencer") as leadership:
                if leadership is None:
                    print("stands by", flush=True)
                    time.sleep(0.2)
                    continue
                print("leads", flush=True)
                while not ended:
                    leadership.change(write)
                    print("wrote", flush=True)
                    time.sleep(0.05)
        except LeadershipLost:
            print("lost", flush=True)
        except StoreBusy as error:
            print(f"busy {error}", flush=True)
            time.sleep(0.2)
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], "--inside" in sys.argv)
