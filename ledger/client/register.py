"""The register of sources, whole: every version of every source, with the proof that there is no other.

Complete is (docs/formats.md §5), under one index root: version 0 of the sources 0 … S is present, of S+1 absent; and
for each of them the versions 0 … v are present, v+1 is absent.
"""

from dataclasses import dataclass

from ledger.client.view import View
from ledger.core.entries import Registry, decode_entry, registry_index_label
from ledger.core.errors import GlassbookError, RuleBroken
from ledger.core.registry import Register

FIRST_SOURCES = 64  # asked for at once; later rounds ask for twice as many
FIRST_VERSIONS = 2


@dataclass(frozen=True, slots=True)
class WholeRegister:
    """`broken` are the registry entries that break a rule: they never come into force, and are violations."""

    register: Register
    broken: tuple[RuleBroken, ...]


def read_register(view: View) -> WholeRegister:
    """The register under `view`.

    Raises `RuleBroken` when leaf 0 is no charter or an entry is not the one its label stands for; `BadSignature` when
    not every key of the charter has signed the checkpoint; what `View.proofs` and `View.entries` raise.
    """
    indices = _locate(view)
    entries = view.entries(indices.values())
    register = Register(view.opened.checkpoint.origin)
    broken = []
    for (source, version), index in sorted(indices.items(), key=lambda item: item[1]):
        raw = entries[index]
        entry = decode_entry(raw)
        if not isinstance(entry, Registry) or (entry.source, entry.version) != (source, version):
            raise RuleBroken(
                f"entry {index}", f"stands in the index as version {version} of source {source}, and is not",
                entry=raw, checkpoint=view.note,
            )  # fmt: skip
        try:
            register.add(index, raw)
        except GlassbookError as error:
            fault = RuleBroken(f"entry {index}", str(error), entry=raw, checkpoint=view.note)
            if index == 0 or not register.has_charter:
                raise fault from None
            broken.append(fault)
    view.check_charter_keys(register.charter)
    return WholeRegister(register, tuple(broken))


def _locate(view: View) -> dict[tuple[int, int], int]:
    """Index in the log of each version of each source; asks until the first absence behind each is proven."""
    known: dict[tuple[int, int], int | None] = {}
    wanted = {(source, version) for source in range(FIRST_SOURCES) for version in range(FIRST_VERSIONS)}
    while wanted:
        pairs = sorted(wanted)
        found = view.proofs([registry_index_label(source, version) for source, version in pairs])
        known.update({pair: located.index for pair, located in zip(pairs, found, strict=True)})
        wanted = set()
        source = 0
        while known.get((source, 0), 0) is not None:
            if (source, 0) not in known:
                wanted |= {(n, v) for n in range(source, 2 * source) for v in range(FIRST_VERSIONS)}
                break
            version = 1
            while known.get((source, version), 0) is not None:
                if (source, version) not in known:
                    wanted |= {(source, v) for v in range(version, 2 * version)}
                    break
                version += 1
            source += 1
    return {pair: index for pair, index in known.items() if index is not None}
