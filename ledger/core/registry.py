"""The register of sources, read from the registry entries of a log in order (formats.md §2).

    register = Register()
    register.add(0, charter_entry)
    register.add(2, source_entry)
    register.signer(record).check_record(record)

A version of a source is in force for the leaves after its own until the next. An entry that breaks a rule is
never in force: `add` raises and leaves the register as it was.
"""

from __future__ import annotations

from bisect import bisect_left

from ledger.core.entries import Coverage, Record, Registry, decode_entry
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.statements import Charter, SourceVersion, parse_charter, parse_source

_NEXT_STATUSES = {
    "active": ("active", "retired", "revoked"),
    "retired": ("retired", "revoked"),
    "revoked": ("revoked",),
}


class Register:
    """All that registry entries have said, up to some leaf; with `origin`, of no other log than that."""

    __slots__ = ("_charter", "_newest", "_origin", "_roles", "_sources")

    def __init__(self, origin: str | None = None) -> None:
        self._origin = origin
        self._charter: Charter | None = None
        self._sources: dict[int, list[SourceVersion]] = {}
        self._newest: dict[int, SourceVersion] = {}
        self._roles: dict[bytes, str] = {}

    def copy(self) -> Register:
        """Another register that starts with all that this one knows; versions are shared, being immutable."""
        other = Register(self._origin)
        other._charter = self._charter
        other._sources = {source: list(versions) for source, versions in self._sources.items()}
        other._newest = dict(self._newest)
        other._roles = dict(self._roles)
        return other

    @property
    def charter(self) -> Charter:
        if self._charter is None:
            raise RuleBroken("register", "no charter at leaf 0", rule="charter")
        return self._charter

    @property
    def has_charter(self) -> bool:
        return self._charter is not None

    @property
    def origin(self) -> str:
        return self.charter.origin

    @property
    def sources(self) -> dict[int, list[SourceVersion]]:
        """Every version of every source, both in order; not to be changed by the caller."""
        return self._sources

    def in_force(self, source: int) -> SourceVersion | None:
        """The newest version of `source`, in force for whatever comes next; None if it is not registered."""
        return self._newest.get(source)

    def version_at(self, source: int, index: int) -> SourceVersion | None:
        """The version in force for leaf `index`: the one with the highest index below it."""
        versions = self._sources.get(source, [])
        place = bisect_left(versions, index, key=lambda version: version.index)
        return versions[place - 1] if place else None

    def signer(self, entry: Record | Coverage) -> SourceVersion:
        """The version whose key must have signed `entry`, coming next; RuleBroken if none may."""
        version = self._newest.get(entry.source)
        if version is None:
            kind = "record" if isinstance(entry, Record) else "coverage"
            if entry.source == 0:
                raise RuleBroken(kind, "source 0 is the log itself", rule="source-unknown")
            raise RuleBroken(kind, f"source {entry.source} is not registered", rule="source-unknown")
        version.check_signer(entry)
        return version

    def is_suspect(self, record: Record, index: int) -> bool:
        """Whether a revocation after leaf `index` reaches back to the day of the `record` there."""
        return any(
            version.revoked is not None and version.index > index and record.day >= version.revoked
            for version in self._sources.get(record.source, ())
        )

    def role_of(self, key: bytes) -> str | None:
        """What any statement so far says a 32-byte key is for, like "source 1"; None if it is in none.

        Keys have one role each (formats §1). Two roles within the register are refused; a witness's key, which only
        a policy names, is for its reader to look up here and to warn of.
        """
        return self._roles.get(key)

    def owes_coverage(self, source: int) -> tuple[int, int | None]:
        """The first and the last day (or None) for which `source` owes coverage, both included.

        `since` of the newest version; up to its retirement or its revocation, whichever is earlier.
        """
        versions = self._sources[source]
        newest = versions[-1]
        retired = next((v.retired for v in reversed(versions) if v.retired is not None), None)
        ends = [day for day in (retired, newest.revoked) if day is not None]
        return newest.since, min(ends, default=None)

    def check(self, index: int, raw: bytes) -> Charter | SourceVersion:
        """What the registry entry `raw` would state at leaf `index`, coming next.

        Malformed, BadSignature or RuleBroken if it may not stand there. That its index label is free is
        for the caller to see to.
        """
        if self._charter is None:
            if index != 0:
                raise RuleBroken("register", "no charter at leaf 0", rule="charter")
            return parse_charter(raw, self._origin)
        entry = decode_entry(raw)
        if not isinstance(entry, Registry):
            raise Malformed("register", "the entry is of another kind")
        self._check_order(entry)
        version = parse_source(raw, index, self._charter)
        before = self._newest.get(version.source)
        if before is not None:
            check_succession(before, version)
        self._check_roles(version)
        return version

    def add(self, index: int, raw: bytes) -> Charter | SourceVersion:
        """As `check`, and then takes the statement in; index must be above all before."""
        stated = self.check(index, raw)
        self._roles.update(stated.roles)
        if isinstance(stated, Charter):
            self._charter = stated
        else:
            self._sources.setdefault(stated.source, []).append(stated)
            self._newest[stated.source] = stated
        return stated

    def _check_order(self, entry: Registry) -> None:
        where = f"source {entry.source} version {entry.version}"
        if entry.source == 0:
            raise RuleBroken(where, "source 0 stands at leaf 0 alone, in version 0", rule="charter")
        if entry.source > len(self._sources) + 1:
            raise RuleBroken(where, f"comes before source {len(self._sources) + 1}", rule="source-order")
        expected = len(self._sources.get(entry.source, ()))
        if entry.version != expected:
            raise RuleBroken(where, f"version {expected} is the next one", rule="version-order")

    def _check_roles(self, version: SourceVersion) -> None:
        for key, role in version.roles.items():
            if self._roles.get(key, role) != role:
                where = f"source {version.source} version {version.version}"
                what = f"a key cannot be that of {role}, being that of {self._roles[key]}"
                raise RuleBroken(where, what, rule="key-role")


def check_succession(before: SourceVersion, version: SourceVersion) -> None:
    """RuleBroken if `version` may not follow `before`, the version of the same source that is one lower."""
    where = f"source {version.source} version {version.version}"
    if version.prev != before.entry_hash:
        raise RuleBroken(where, "prev is not the hash of the version before", rule="prev")
    for epoch, key in before.vrf.items():
        if version.vrf.get(epoch) != key:
            raise RuleBroken(where, f"VRF key of epoch {epoch} was changed or left out", rule="vrf-key")
    if version.status not in _NEXT_STATUSES[before.status]:
        what = f"is {version.status}, but the source was {before.status} before"
        raise RuleBroken(where, what, rule="status")
    if version.since > before.since:
        raise RuleBroken(where, "since was moved later", rule="since")
