"""Published logs of any size, made with core alone: what audits and look-ups are measured on.

They are real logs: charter, sources, signed records, index roots, tiles, a checkpoint under the log's two keys and
a witness. Keys are made from fixed seeds and protect nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

from bench.raw import cores_given
from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64url_encode
from ledger.core.entries import IndexRoot, decode_entry, sign_record
from ledger.core.index import TOP_BITS, MemoryRows, PrefixTree
from ledger.core.indexproof import ROW
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.merkle import Frontier, leaf_hash
from ledger.core.note import CosignatureSigner, Ed25519Signer, MLDSASigner, format_note
from ledger.core.registry import Register
from ledger.core.statements import sign_charter, sign_source
from ledger.core.tiles import ENTRIES, FULL_WIDTH, Tile, encode_bundle, grow_tiles
from ledger.core.vrf import public_key

ORIGIN = "log.example/bench"
WITNESS = "witness.example/bench"
EPOCH = 2026
DAY = 20_500  # 2026-02-16
NOW = int(time.time())

_CLAIMS = ("subject", "actor", "event", "data", "purpose")
_SCHEMES = {"id": {"pattern": "[a-z0-9-]{1,64}", "text": {"en": "A made-up number."}}}


def _seed(name: str) -> bytes:
    return hashlib.sha256(f"glassbook bench {name}".encode()).digest()


REGISTRAR = Ed25519PrivateKey.from_seed(_seed("registrar"))
LEDGER = Ed25519PrivateKey.from_seed(_seed("ledger"))
LOG = Ed25519Signer(ORIGIN, Ed25519PrivateKey.from_seed(_seed("log")))
LOG_MLDSA = MLDSASigner(ORIGIN, MLDSA44PrivateKey.from_seed32(_seed("log ML-DSA")))
WITNESS_SIGNER = CosignatureSigner(WITNESS, Ed25519PrivateKey.from_seed(_seed("witness")))

POLICY = f"""log {LOG.vkey.text}
witness LOG_MLDSA {LOG_MLDSA.vkey.text}
witness W1 {WITNESS_SIGNER.vkey.text}
group q all LOG_MLDSA W1
quorum q
"""


@dataclass(frozen=True, slots=True)
class BenchSource:
    """A registered source with its private keys."""

    number: int
    key: Ed25519PrivateKey
    vrf_seed: bytes

    def record(self, label: bytes, commitment: bytes) -> bytes:
        """A signed record of 146 bytes."""
        return sign_record(
            ORIGIN,
            self.key,
            source=self.number,
            day=DAY,
            seal=0,
            activity=1,
            label=label,
            commitment=commitment,
        )


def bench_source(number: int) -> BenchSource:
    """Source `number`, the same each time."""
    return BenchSource(number, Ed25519PrivateKey.from_seed(_seed(f"source {number}")), _seed(f"vrf {number}"))


def statement(source: BenchSource) -> dict[str, object]:
    """What the register says of a source: the payload of a registry entry but its first members."""
    url = "https://department.example/"
    return {
        "department": {"en": f"Department {source.number}"},
        "system": {"en": "Case files"},
        "key": jwk(source.key.public),
        "vrf": {str(EPOCH): b64url_encode(public_key(source.vrf_seed))},
        "schemes": ["id"],
        "activities": {
            "1": {
                "purpose": ["https://w3id.org/dpv#ServiceProvision"],
                "legal_basis": ["https://w3id.org/dpv#PublicInterest"],
                "data": ["https://w3id.org/dpv#PersonalData"],
                "text": {"en": "Answering a request you made."},
            }
        },
        "seal_months": 0,
        "key_service": url,
        "contact": url,
        "complaint": url,
        "since": "2026-01-01",
        "status": "active",
    }


def charter_entry() -> bytes:
    """The charter as leaf 0."""
    return sign_charter(
        REGISTRAR,
        origin=ORIGIN,
        ledger=LEDGER.public,
        log_vkeys=[LOG.vkey.text, LOG_MLDSA.vkey.text],
        merge_delay_s=3600,
        claims=_CLAIMS,
        schemes=_SCHEMES,
    )


def registry_entries(sources: Sequence[BenchSource]) -> Iterator[bytes]:
    """The charter, then version 0 of each source."""
    register = Register(ORIGIN)
    raw = charter_entry()
    register.add(0, raw)
    yield raw
    for source in sources:
        yield sign_source(REGISTRAR, register.charter, source.number, statement(source))


class LogBuilder:
    """A log as it grows: entries in, index roots where `close` is called, files out at the end."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self._labels: list[bytes] = []
        self._leaves: list[bytes] = []
        self._frontier = Frontier()
        self._rows = MemoryRows(TOP_BITS)
        self.index = PrefixTree(self._rows)

    def append(self, raw: bytes) -> int:
        """Append an entry and return its index."""
        label = decode_entry(raw).index_label
        if label is not None:
            self._labels.append(ROW.pack(label, len(self.entries)))
        self._push(raw)
        return len(self.entries) - 1

    def close(self) -> None:
        """Append the index root over everything so far."""
        self.index.insert_packed(self._rows, self._labels)
        self._labels = []
        covers = len(self.entries)
        self._push(IndexRoot(covers, self._frontier.root(), self.index.root, self.index.labels).encode())

    def _push(self, raw: bytes) -> None:
        leaf = leaf_hash(raw)
        self.entries.append(raw)
        self._leaves.append(leaf)
        self._frontier.append(leaf)

    def checkpoint(self) -> bytes:
        """The signed note over all entries; the last must be an index root."""
        text = Checkpoint(ORIGIN, len(self.entries), self._frontier.root()).text
        lines = [LOG.sign(text), LOG_MLDSA.sign(text, NOW), WITNESS_SIGNER.sign(text, NOW)]
        return format_note(text, lines)

    def publish(self, folder: Path) -> None:
        """Write checkpoint, tiles and bundles."""
        for tile, content in grow_tiles(0, {}, self._leaves):
            _write(folder, tile, content)
        for start in range(0, len(self.entries), FULL_WIDTH):
            part = self.entries[start : start + FULL_WIDTH]
            _write(folder, Tile(ENTRIES, start // FULL_WIDTH, len(part)), encode_bundle(part))
        (folder / "checkpoint").write_bytes(self.checkpoint())


def publish_records(folder: Path, count: int, root_every: int, sources: int = 4) -> int:
    """Publish a log of so many records with an index root after every `root_every`; how many entries it has.

    Records are signed in as many processes as there are cores: a million takes about half a minute on two.
    """
    built = LogBuilder()
    for raw in registry_entries([bench_source(number) for number in range(1, sources + 1)]):
        built.append(raw)
    batches = [min(root_every, count - start) for start in range(0, count, root_every)]
    with ProcessPoolExecutor(cores_given(), mp_context=get_context("spawn")) as pool:
        for signed in pool.map(_signed_records, batches, repeat(sources)):
            for raw in signed:
                built.append(raw)
            built.close()
    built.publish(folder)
    return len(built.entries)


def _signed_records(count: int, sources: int) -> list[bytes]:
    """Records with random labels, in turn by each of the sources."""
    by = [bench_source(number) for number in range(1, sources + 1)]
    return [
        by[number % sources].record(secrets.token_bytes(32), secrets.token_bytes(32))
        for number in range(count)
    ]


def _write(folder: Path, tile: Tile, content: bytes) -> None:
    path = folder / tile.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
