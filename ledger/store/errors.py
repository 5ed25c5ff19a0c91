"""What the store raises.

StoreUnusable            not a database this version can work with
StoreBusy                cannot take this now: nothing was written
  StoreContended         another transaction was in the way: the same again will do (`Store.change` does that)
  OutcomeUnknown         the connection was lost while it committed: all of it was written, or nothing
LeadershipLost           another process leads now: nothing was written, and this one has to stand by
"""

from __future__ import annotations


class StoreBusy(Exception):
    """The database cannot take this now (locked, disk full, unreachable). Try again.

    Nothing was written, unless it is an OutcomeUnknown.
    """


class StoreContended(StoreBusy):
    """The database chose another transaction over this one (SQLSTATE 40001, 40P01); nothing was written."""


class OutcomeUnknown(StoreBusy):
    """The answer to the commit never came: the transaction was written whole, or not at all.

    Whoever catches StoreBusy and tries again must therefore do so in a way that is right after both.
    """


class StoreUnusable(Exception):
    """The database is not one this version can work with; the message says why and what to do."""


class LeadershipLost(Exception):
    """Another process has taken over the role: nothing was written, and nothing more may be."""
