"""What the register says about this department's own system: its source number, its keys, its activities.

The number is not configured: it is found in the published register by the public key.  What was found is kept
in the outbox, so that events can be imported while the log cannot be reached.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ledger.client.register import read_register
from ledger.client.view import View
from ledger.core.encoding import Reader, u32, u64
from ledger.core.errors import Malformed
from ledger.core.statements import Charter, SourceVersion, parse_charter, parse_source
from ledger.department.outbox import Outbox
from ledger.department.settings import CannotGoOn

KEPT = "registration"
"""Where the outbox keeps it."""


@dataclass(frozen=True, slots=True)
class Registration:
    """The charter, and every version of the own source, oldest first."""

    charter: Charter
    versions: tuple[SourceVersion, ...]

    @property
    def source(self) -> int:
        return self.newest.source

    @property
    def newest(self) -> SourceVersion:
        """The version in force for whatever is logged next."""
        return self.versions[-1]


def find_registration(view: View, keys: Collection[bytes], outbox: Outbox) -> Registration:
    """The registration of the source whose newest version has one of these 32-byte keys; kept in the outbox.

    Raises CannotGoOn when there is none, and what `read_register` raises.
    """
    register = read_register(view).register
    for versions in register.sources.values():
        if versions[-1].key in keys:
            break
    else:
        for source, versions in register.sources.items():
            if any(version.key in keys for version in versions):
                raise CannotGoOn(
                    "register",
                    f"names another key for source {source} since entry {versions[-1].index}, and this department's is "
                    "an older one; put the file of the new key where department.toml says",
                )
        raise CannotGoOn(
            "register",
            "holds no source with this department's key; hand statement.json to the registrar, who runs: "
            "glassbook source add DIR statement.json",
        )
    indices = [0, *(version.index for version in versions)]
    entries = view.entries(indices)
    outbox.put(KEPT, b"".join(u64(i) + u32(len(entries[i])) + entries[i] for i in indices))
    return Registration(register.charter, tuple(versions))


def kept_registration(outbox: Outbox, origin: str) -> Registration | None:
    """What `find_registration` found last, or None; it was checked then and its signatures are checked again."""
    kept = outbox.get(KEPT)
    if kept is None:
        return None
    reader = Reader(kept, "kept registration")
    entries = []
    while reader.offset < len(kept):
        index = reader.u64()
        entries.append((index, reader.take(reader.u32())))
    (_, first), *rest = entries
    charter = parse_charter(first, origin)
    if not rest:
        raise Malformed("kept registration", "has no source")
    return Registration(charter, tuple(parse_source(raw, index, charter) for index, raw in rest))
