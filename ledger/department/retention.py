"""How long details are kept: the rules in department.toml, and when a record falls under them.

    [retention]
    days = 3650                 # the operator keeps the details of an access so long; without it, for ever
    notice_days = 90            # the destruction of a year's key is announced at least so long before

    [retention.activities]
    1 = 730                     # activity 1, which its department keeps for two years

Days are counted from the day of the access, or from the day on which the record opens, if that is later: nobody loses
details before she could see them.  The activity of a sealed record is known to those alone who open it, so `days`
decides for sealed ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from ledger.core.encoding import parse_decimal
from ledger.department.strict_toml import Table

NOTICE_DAYS: Final = 90
_LONGEST: Final = 36_525
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which details are kept: by activity, and for all others (None: for ever)."""

    days: int | None = None
    activities: Mapping[int, int] = field(default_factory=dict)
    notice_days: int = NOTICE_DAYS

    @property
    def shortest(self) -> int | None:
        """The fewest days that any rule says; None without a rule."""
        return min([*self.activities.values(), *([] if self.days is None else [self.days])], default=None)

    def is_due(self, day: int, seal: int, activity: int, today: int) -> bool:
        """Whether details of an access on `day` are not kept any longer `today` (days since 1970-01-01)."""
        kept = self.days if seal else self.activities.get(activity, self.days)
        return kept is not None and today - open_since(day, seal) > kept


def open_since(day: int, seal: int) -> int:
    """The first day on which the subject can see a record of `day` sealed until `seal` (0: not sealed)."""
    return max(day, first_day_of(seal)) if seal else day


def first_day_of(month: int) -> int:
    """The first day, since 1970-01-01, of a month counted since 1970-01."""
    return date(1970 + month // 12, month % 12 + 1, 1).toordinal() - _EPOCH_DAY


def read_retention(table: Table) -> Retention:
    """The table `[retention]`; an empty one keeps everything for ever.  Raises Malformed."""
    activities = table.table("activities")
    rules = {}
    for name in activities.names():
        number = parse_decimal(name, f"{activities.where} number", 2**32)
        if number == 0:
            raise activities.wrong(name, "is that of sealed records; [retention] days decides for them")
        rules[number] = activities.integer(name, 1, _LONGEST) or 0
    retention = Retention(
        days=table.integer("days", 1, _LONGEST),
        activities=rules,
        notice_days=table.integer("notice_days", 1, _LONGEST, NOTICE_DAYS) or NOTICE_DAYS,
    )
    activities.finish()
    table.finish()
    return retention
