"""A recount of a log's entries for `stats`, straight from docs/formats.md §2, sharing no code with ledger.core.

It walks the list again and again, slowly, and shares with the program only the bytes and the Ed25519 of cryptography.
"""

import base64
import datetime
import json
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MEMBERS = (
    "source", "period", "activity", "opens", "records", "open", "sealed", "late", "suspect", "silent_days",
)  # fmt: skip
EPOCH = datetime.date(1970, 1, 1)
Takes = Callable[[int, int], bool]


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def days_of(text: str) -> int:
    return (datetime.date.fromisoformat(text) - EPOCH).days


def statements(entries: list[bytes]) -> dict[int, list[tuple[int, dict[str, Any]]]]:
    """Of each source its statements with their leaf, in order; those of the log factory keep every rule."""
    found: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    for index, raw in enumerate(entries):
        if raw[:2] == b"\x01\x02" and number(raw[2:6]):
            payload = raw[10:].split(b".")[1]
            statement = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))
            found.setdefault(number(raw[2:6]), []).append((index, statement))
    return found


def signed(raw: bytes, title: bytes, origin: bytes, key: bytes) -> bool:
    message = b"glassbook/v1/" + title + b"\n" + bytes([len(origin)]) + origin + raw[:-64]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(raw[-64:], message)
    except InvalidSignature:
        return False
    return True


def table(
    entries: list[bytes], newest: int, by: str, takes: Takes = lambda source, day: True
) -> list[dict[str, Any]]:
    """The rows of `stats --by`, but for their names."""
    charter = entries[0][10:].split(b".")[1]
    origin = json.loads(base64.urlsafe_b64decode(charter + b"=" * (-len(charter) % 4)))["origin"].encode()
    sources = statements(entries)
    counted: list[dict[str, Any]] = []
    covered: dict[tuple[int, int], int] = {}
    taken: set[tuple[int, int]] = set()
    for index, raw in enumerate(entries):
        if raw[1] not in (1, 4):
            continue
        source, day = number(raw[2:6]), number(raw[8:12])
        key = [s["key"]["x"] for leaf, s in sources[source] if leaf < index][-1]
        good = signed(
            raw, b"record" if raw[1] == 1 else b"coverage", origin, base64.urlsafe_b64decode(key + "=")
        )
        if raw[1] == 4:
            if (source, day) not in taken and good:
                covered[source, day] = index
            taken.add((source, day))
        elif good:
            revoked = [
                (leaf, days_of(s["revoked"])) for leaf, s in sources[source] if s.get("revoked") is not None
            ]
            counted.append(
                {
                    "source": source, "day": day, "index": index,
                    "seal": number(raw[12:14]), "activity": number(raw[14:18]),
                    "suspect": any(leaf > index and day >= date for leaf, date in revoked),
                }
            )  # fmt: skip
    counted = [one for one in counted if takes(one["source"], one["day"])]
    for one in counted:
        place = (one["source"], one["day"])
        one["late"] = place in covered and one["index"] > covered[place]
    silent = [
        (source, day)
        for source in sources
        for day in owed(sources[source], newest)
        if (source, day) not in covered and takes(source, day)
    ]
    return tabulate(counted, silent, by, [source for source in sources if any_day(takes, source)])


def any_day(takes: Takes, source: int) -> bool:
    return any(takes(source, day) for day in range(20_000, 22_000))


def owed(versions: list[tuple[int, dict[str, Any]]], newest: int) -> range:
    """Days for which a source owes coverage, up to two days before the newest witness timestamp."""
    last = newest // 86_400 - 2
    newest_statement = versions[-1][1]
    for statement in [s for _, s in versions if s.get("retired") is not None][-1:]:
        last = min(last, days_of(statement["retired"]))
    if newest_statement.get("revoked") is not None:
        last = min(last, days_of(newest_statement["revoked"]))
    return range(days_of(newest_statement["since"]), last + 1)


def tabulate(
    counted: list[dict[str, Any]], silent: list[tuple[int, int]], by: str, sources: list[int]
) -> list[dict[str, Any]]:
    """Rows in the order of the program: by period or month, then source, then activity."""
    keys: set[tuple[Any, ...]] = set()
    ways: dict[str, Callable[[dict[str, Any]], tuple[Any, ...]]] = {
        "source": lambda one: ("", one["source"]),
        "day": lambda one: (date(one["day"]), one["source"]),
        "month": lambda one: (date(one["day"])[:7], one["source"]),
        "activity": lambda one: (one["source"], one["activity"]),
        "seal": lambda one: (opens(one["seal"]), one["source"]),
    }
    of = ways[by]
    if by == "seal":
        counted = [one for one in counted if one["seal"]]
    keys |= {of(one) for one in counted}
    if by in ("source", "day", "month"):
        keys |= {of({"source": source, "day": day}) for source, day in silent}
    if by == "source":
        keys |= {("", source) for source in sources}
    rows = []
    for key in sorted(keys):
        mine = [one for one in counted if of(one) == key]
        row: dict[str, Any] = {
            "source": key[0] if by == "activity" else key[1],
            "period": key[0] if by in ("day", "month") else "",
            "activity": key[1] if by == "activity" else None,
            "opens": key[0] if by == "seal" else "",
            "records": len(mine),
            "open": len([one for one in mine if not one["seal"]]),
            "sealed": len([one for one in mine if one["seal"]]),
            "late": None, "suspect": None, "silent_days": None,
        }  # fmt: skip
        if by in ("source", "day", "month"):
            row["late"] = len([one for one in mine if one["late"]])
            row["suspect"] = len([one for one in mine if one["suspect"]])
            row["silent_days"] = len(
                [1 for source, day in silent if of({"source": source, "day": day}) == key]
            )
        rows.append(row)
    return rows


def date(day: int) -> str:
    return (EPOCH + datetime.timedelta(days=day)).isoformat()


def opens(month: int) -> str:
    return f"{1970 + month // 12}-{month % 12 + 1:02}"
