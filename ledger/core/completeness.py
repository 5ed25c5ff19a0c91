"""Completeness: nothing is missing between number 1 and the number that is provably absent (docs/formats.md §5).

    a stream     label(1) … label(N) present, label(N + 1) absent
    a source     versions 0 … v present, v + 1 absent
    the register version 0 of sources 0 … S present, of S + 1 absent

all under one index root. Which streams there can be follows from the register: every epoch of a source's newest
version, every scheme that any of its versions stated, and the seals of `seals_to_ask_for`.

`completeness_of_stream` and `completeness_of_register` are the rule itself, judged over all proofs at once: what
the vectors are held against, and for whoever has all proofs in hand. `glassbook-verify mine` asks for them a few at a
time until the end shows itself, and so states the same rule step by step (verifier_cli.lookup, ledger.client.register).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ledger.core.entries import Record, decode_entry, record_index_label, registry_index_label
from ledger.core.errors import ProofRefuted, RuleBroken
from ledger.core.indexproof import check_index_proof
from ledger.core.streams import StreamKey

LAST_SEAL = 2**16 - 1
"""A seal is a u16."""


class StatesStreams(Protocol):
    """What of a version of a source decides which streams it can have."""

    @property
    def seal_months(self) -> int: ...

    @property
    def schemes(self) -> Sequence[str]: ...


def completeness_of_stream(
    index_root: bytes,
    covers: int,
    source: int,
    epoch: int,
    seal: int,
    key: StreamKey,
    proofs: Sequence[bytes],
) -> list[int]:
    """The indices of records 1 … N of a stream, shown to be all of them by N + 1 index proofs.

    `index_root` (32 bytes) and `covers` come from a checked index root. Each entry must then be read and be what
    `check_stream_record` asks. Malformed or ProofRefuted.
    """

    def label(n: int) -> bytes:
        return record_index_label(source, epoch, seal, key.label(n))

    return _up_to_the_end(
        f"stream of source {source}, {epoch}, seal {seal}", index_root, covers, label, 1, proofs
    )


def completeness_of_register(
    index_root: bytes, covers: int, sources: Sequence[Sequence[bytes]], after: bytes
) -> list[list[int]]:
    """The indices of all versions of sources 0 … S: the whole register, shown to be that.

    `sources[s]` are the index proofs of versions 0 … v of source s and of the absent v + 1; `after` is that of
    the absent version 0 of source S + 1. Malformed, ProofRefuted, or RuleBroken when the charter is not leaf 0.
    """
    if not sources:
        raise ProofRefuted("register", "no proofs, not even of the charter")
    found = []
    for source, proofs in enumerate(sources):

        def label(version: int, source: int = source) -> bytes:
            return registry_index_label(source, version)

        indices = _up_to_the_end(f"source {source}", index_root, covers, label, 0, proofs)
        if not indices:
            raise ProofRefuted("register", f"source {source} is absent, yet the list goes on")
        found.append(indices)
    if found[0][0] != 0:
        raise RuleBroken("register", f"the charter stands at leaf {found[0][0]}, not 0")
    beyond = check_index_proof(index_root, covers, registry_index_label(len(sources), 0), after)
    if beyond is not None:
        raise ProofRefuted("register", f"source {len(sources)} is present, the list is not at its end")
    return found


def _up_to_the_end(
    where: str,
    index_root: bytes,
    covers: int,
    label: Callable[[int], bytes],
    first: int,
    proofs: Sequence[bytes],
) -> list[int]:
    """The indices under label(first), label(first + 1) …; only the last proof is of an absent one."""
    if not proofs:
        raise ProofRefuted(where, "no proofs, so nothing shows where the list ends")
    last = first + len(proofs) - 1
    indices: list[int] = []
    for number, proof in enumerate(proofs, first):
        index = check_index_proof(index_root, covers, label(number), proof)
        if number == last:
            if index is not None:
                raise ProofRefuted(where, f"number {number} is present, the list is not at its end")
        elif index is None:
            raise ProofRefuted(where, f"number {number} is absent before the end of the list")
        else:
            indices.append(index)
    return indices


def check_stream_record(raw: bytes, source: int, epoch: int, seal: int, label: bytes) -> Record:
    """The record that the index led to, if it is of exactly this source, epoch, seal and label.

    RuleBroken if not: then the index points to the wrong entry. Its signature and the rules of the version in force
    are checked apart (`Register.version_at`, `SourceVersion.check_record`).
    """
    entry = decode_entry(raw)
    if not isinstance(entry, Record) or (entry.source, entry.epoch, entry.seal, entry.label) != (
        source,
        epoch,
        seal,
        label,
    ):
        raise RuleBroken(
            "index", "leads from a record's label to an entry that is not that record", entry=raw
        )
    return entry


def seals_to_ask_for(versions: Iterable[StatesStreams], epoch: int, present_month: int) -> list[int]:
    """Every seal a stream of `epoch` can have that is open in `present_month` (months since 1970-01), ascending.

    0, and from January + 1 to December + the most months that any of the source's versions allowed, the present
    month included. A seal that may not be used by the newest version may have been used before it.
    """
    most = max((version.seal_months for version in versions), default=0)
    if not most:
        return [0]
    january = (epoch - 1970) * 12
    last = min(january + 11 + most, present_month, LAST_SEAL)
    return [0, *range(max(january + 1, 1), last + 1)]


def schemes_to_ask_for(versions: Iterable[StatesStreams]) -> list[str]:
    """Every scheme that any of the source's versions stated, sorted."""
    return sorted({scheme for version in versions for scheme in version.schemes})
