"""A small real log, made with ledger.core alone: sources, streams, envelopes, coverage, checkpoints, a folder.

    log = LogFactory()
    health = log.add_source("Ministry of Health")
    log.access(health, "nhs:9434765919", day=DAY)
    log.publish(folder)              # tiles, bundles, checkpoint under log keys and witness W1
    keys = log.keys_file("nhs:9434765919")

Every key comes from a fixed seed, so a log made twice is the same but for the random salts, nonces and decoys.
`broken` entries can be put in with `append`; nothing is checked on the way in.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger.core import vrf
from ledger.core.checkpoint import Checkpoint
from ledger.core.encoding import b64encode, b64url_encode, format_date, year_of
from ledger.core.entries import IndexRoot, decode_entry, index_label, sign_coverage, sign_record
from ledger.core.index import MemoryRows, PrefixTree
from ledger.core.jose import jwk
from ledger.core.keys import Ed25519PrivateKey, MLDSA44PrivateKey
from ledger.core.merkle import Frontier, leaf_hash, prove_inclusion
from ledger.core.note import CosignatureSigner, Ed25519Signer, MLDSASigner, format_note
from ledger.core.policy import Policy, parse_policy
from ledger.core.registry import Register
from ledger.core.sdjwt import commitment, issue
from ledger.core.statements import SourceVersion, sign_charter, sign_source
from ledger.core.streams import StreamKey, alpha, parse_subject, seal_envelope, stream_key
from ledger.core.tiles import ENTRIES, Tile, TileHashes, encode_bundle, grow_tiles, tiles_of

ORIGIN = "log.example.gov/test/2026"
NOW = 1_783_000_000  # Unix seconds: 2 July 2026, 13:46:40 UTC
DAY = NOW // 86_400 - 10  # days since 1970-01-01
DPV = "https://w3id.org/dpv"

CLAIMS = ("subject", "actor", "event", "data", "purpose", "reason")
SCHEMES = {
    "nhs": {"pattern": "[0-9]{10}", "text": {"en": "your NHS number", "cy": "eich rhif GIG"}},
    "id": {"pattern": "[a-z0-9-]{1,40}", "text": {"en": "a number of the demo"}},
}
ACTIVITIES = {
    "1": {
        "purpose": [f"{DPV}/sector/health#ServiceProvision"],
        "legal_basis": [f"{DPV}/legal/eu/gdpr#A9-2-h"],
        "data": [f"{DPV}/pd#HealthRecord"],
        "text": {
            "en": "We read your record to care for you",
            "cy": "Rydym yn darllen eich cofnod i ofalu amdanoch",
        },
    }
}


def seed(name: str) -> bytes:
    """32 bytes that are the same for the same name; public, and so protecting nothing."""
    return sha256(b"glassbook test key " + name.encode()).digest()


@dataclass
class TestSource:
    """A source's private half: what only the department has."""

    __test__ = False  # no test class

    number: int
    key: Ed25519PrivateKey
    vrf_seeds: dict[int, bytes]
    counters: dict[tuple[int, int, str], int] = field(default_factory=dict)


class LogFactory:
    """A log that grows in memory. Index roots are appended by `seal_batch`, which `note` and `publish` call."""

    def __init__(
        self,
        origin: str = ORIGIN,
        *,
        claims: Sequence[str] = CLAIMS,
        schemes: Mapping[str, Any] = SCHEMES,
        merge_delay_s: int = 86_400,
    ) -> None:
        self.origin = origin
        self.registrar = Ed25519PrivateKey.from_seed(seed("registrar"))
        self.ledger_key = Ed25519PrivateKey.from_seed(seed("ledger"))
        self.log_signer = Ed25519Signer(origin, Ed25519PrivateKey.from_seed(seed("log")))
        self.mldsa_signer = MLDSASigner(origin, MLDSA44PrivateKey.from_seed32(seed("log ML-DSA")))
        self.witness = CosignatureSigner("witness.example/w1", Ed25519PrivateKey.from_seed(seed("w1")))
        self.entries: list[bytes] = []
        self.envelopes: dict[bytes, bytes] = {}
        self.register = Register(origin)
        self.sources: list[TestSource] = []
        self.sd_jwts: dict[int, str] = {}
        self._frontier = Frontier()
        self._index = PrefixTree(MemoryRows(12), 12)
        self._notes: dict[int, bytes] = {}
        charter = sign_charter(
            self.registrar,
            origin=origin,
            ledger=self.ledger_key.public,
            log_vkeys=[self.log_signer.vkey.text, self.mldsa_signer.vkey.text],
            merge_delay_s=merge_delay_s,
            claims=list(claims),
            schemes=schemes,
        )
        self.append(charter)

    # -- trust -----------------------------------------------------------------------------------------

    def policy_text(self, auditor: bool = False) -> str:
        """Log keys and witness W1, all needed; with `auditor`, W1 is marked as one."""
        lines = [
            f"log {self.log_signer.vkey.text}",
            f"witness LOG_MLDSA {self.mldsa_signer.vkey.text}",
            *(["# auditor W1"] if auditor else []),
            f"witness W1 {self.witness.vkey.text}",
            "group q all LOG_MLDSA W1",
            "quorum q",
        ]
        return "\n".join(lines) + "\n"

    def policy(self, auditor: bool = False) -> Policy:
        return parse_policy(self.policy_text(auditor))

    # -- entries ---------------------------------------------------------------------------------------

    def append(self, raw: bytes) -> int:
        """Put any bytes in as the next entry; returns its index. What breaks no rule goes to index and register."""
        index = len(self.entries)
        self.entries.append(raw)
        self._frontier.append(leaf_hash(raw))
        try:
            entry = decode_entry(raw)
            label = index_label(entry)
            if label is not None:
                self._index.insert_many([(label, index)])
            if raw[1] == 2:
                self.register.add(index, raw)
        except Exception:
            pass
        return index

    def seal_batch(self) -> int:
        """Append the index root over everything before it; returns its index."""
        covers = len(self.entries)
        root = IndexRoot(covers, self._frontier.root(), self._index.root, self._index.labels)
        return self.append(root.encode())

    def add_source(self, department: str = "Ministry of Health", **changes: Any) -> TestSource:
        """Register the next source with VRF keys for 2025 and 2026; `changes` replace members of its statement."""
        number = len(self.sources) + 1
        key = Ed25519PrivateKey.from_seed(seed(f"source {number}"))
        seeds = {year: seed(f"vrf {number} {year}") for year in (2025, 2026)}
        statement = {
            "department": {"en": department, "cy": f"{department} (cy)"},
            "system": {"en": "Patient records"},
            "key": jwk(key.public),
            "vrf": {str(year): b64url_encode(vrf.public_key(secret)) for year, secret in seeds.items()},
            "schemes": ["nhs"],
            "activities": ACTIVITIES,
            "seal_months": 0,
            "key_service": f"https://keys.example.gov/{number}",
            "contact": f"https://example.gov/contact/{number}",
            "complaint": "https://ombudsman.example.gov/complain",
            "since": format_date(DAY - 30),
            "status": "active",
        } | changes
        source = TestSource(number, key, seeds)
        self.sources.append(source)
        self.append(sign_source(self.registrar, self.register.charter, number, statement))
        return source

    def change_source(self, source: TestSource, **changes: Any) -> int:
        """The next version of a source's statement; returns its index."""
        before = self.version(source)
        statement = {**before.statement, **changes}
        return self.append(
            sign_source(self.registrar, self.register.charter, source.number, statement, before)
        )

    def version(self, source: TestSource) -> SourceVersion:
        """The version of a source now in force."""
        found = self.register.in_force(source.number)
        assert found is not None
        return found

    def stream(self, source: TestSource, subject: str, epoch: int, seal: int = 0) -> StreamKey:
        """The key of one stream, as the department computes it."""
        return stream_key(vrf.evaluate(source.vrf_seeds[epoch], self._alpha(source, subject, epoch, seal)))

    def access(
        self,
        source: TestSource,
        person: str = "nhs:9434765919",
        *,
        day: int = DAY,
        activity: int = 1,
        seal: int = 0,
        envelope: bool = True,
        key: Ed25519PrivateKey | None = None,
        **claims: Any,
    ) -> int:
        """Record one access under the person's next number; returns the entry's index. A claim given as None is
        left out."""
        epoch = year_of(day)
        place = (epoch, seal, person)
        n = source.counters[place] = source.counters.get(place, 0) + 1
        stream = self.stream(source, person, epoch, seal)
        all_claims = default_claims(person, day, 0 if seal else activity) | claims
        opened = {name: value for name, value in all_claims.items() if value is not None}
        signing = key or source.key
        sd_jwt = issue(self.origin, source.number, epoch, opened, signing)
        raw = sign_record(
            self.origin,
            signing,
            source=source.number,
            day=day,
            seal=seal,
            activity=0 if seal else activity,
            label=stream.label(n),
            commitment=commitment(sd_jwt.partition("~")[0]),
        )
        if envelope:
            nonce = sha256(b"nonce" + raw).digest()[:12]
            self.envelopes[stream.deposited(n)] = seal_envelope(stream, n, sd_jwt, nonce)
        index = self.append(raw)
        self.sd_jwts[index] = sd_jwt
        return index

    def coverage(self, source: TestSource, day: int, records: int) -> int:
        """A coverage statement; returns its index."""
        return self.append(
            sign_coverage(self.origin, source.key, source=source.number, day=day, records=records)
        )

    # -- what is published -----------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return len(self.entries)

    def note(self, timestamp: int = NOW) -> bytes:
        """The signed checkpoint over all entries; an index root is appended first unless one stands there."""
        if len(self.entries) < 2 or self.entries[-1][:2] != b"\x01\x03":
            self.seal_batch()
        return self.sign(self.size, self._frontier.root(), timestamp)

    def sign(self, size: int, root: bytes, timestamp: int = NOW) -> bytes:
        """A checkpoint of any size and root under all keys, true or not."""
        text = Checkpoint(self.origin, size, root).text
        signers = (self.mldsa_signer, self.witness)
        return format_note(text, [self.log_signer.sign(text), *(s.sign(text, timestamp) for s in signers)])

    def files(self, timestamp: int = NOW) -> dict[str, bytes]:
        """Every file of the published log by its path."""
        note = self.note(timestamp)
        found = {
            tile.path: data for tile, data in grow_tiles(0, {}, [leaf_hash(raw) for raw in self.entries])
        }
        for tile in tiles_of(self.size):
            if tile.level == ENTRIES:
                start = tile.n * 256
                found[tile.path] = encode_bundle(self.entries[start : start + tile.width])
        return found | {"checkpoint": note}

    def publish(self, folder: Path, timestamp: int = NOW) -> Path:
        """Write the log to `folder`, checkpoint last; what an earlier call wrote stays."""
        files = self.files(timestamp)
        for path in sorted(files, key=lambda path: path == "checkpoint"):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files[path])
        return folder

    def index_answer(self, labels: Sequence[bytes], note: bytes) -> dict[str, Any]:
        """What `POST /index/proofs` answers under `note`, the newest note made."""
        tiles = dict(grow_tiles(0, {}, [leaf_hash(raw) for raw in self.entries]))
        hashes = TileHashes(lambda tile: tiles[Tile(tile.level, tile.n, tile.width)], self.size)
        path = prove_inclusion(self.size - 1, self.size, hashes)
        return {
            "checkpoint": note.decode(),
            "index_root": {"entry": b64encode(self.entries[-1]), "proof": [b64encode(node) for node in path]},
            "proofs": [b64encode(proof) for proof in self._index.prove_many(list(labels))],
        }

    def keys_file(
        self, *subjects: str, sources: Sequence[TestSource] | None = None, seals: Sequence[int] = (0,)
    ) -> bytes:
        """A `*.keys.json` with every stream of these subjects at these sources, both epochs, these seals."""
        keys = []
        for source in self.sources if sources is None else sources:
            for epoch in sorted(source.vrf_seeds):
                for seal in seals:
                    for subject in subjects:
                        if parse_subject(subject)[0] in self.version(source).schemes:
                            keys.append(self.key(source, subject, epoch, seal))
        return json.dumps({"origin": self.origin, "keys": keys}).encode()

    def key(self, source: TestSource, subject: str, epoch: int, seal: int = 0) -> dict[str, Any]:
        """One member of a keys file."""
        pi = vrf.prove(source.vrf_seeds[epoch], self._alpha(source, subject, epoch, seal))
        beta = vrf.verify(
            vrf.public_key(source.vrf_seeds[epoch]), self._alpha(source, subject, epoch, seal), pi
        )
        return {
            "source": source.number, "epoch": epoch, "seal": seal, "subject": subject,
            "beta": b64encode(beta), "pi": b64encode(pi),
        }  # fmt: skip

    def _alpha(self, source: TestSource, subject: str, epoch: int, seal: int) -> bytes:
        return alpha(self.origin, source.number, epoch, seal, subject)


def default_claims(subject: str, day: int, activity: int) -> dict[str, Any]:
    """The claims of an ordinary access; `activity` 0 is left out, as in a sealed record."""
    purpose = {"purpose": ACTIVITIES["1"]["purpose"], "legal_basis": ACTIVITIES["1"]["legal_basis"]}
    return {
        "subject": subject,
        "actor": {"id": "dr-1138", "role": "physician", "unit": "Ward 3", "automated": False},
        "event": {
            "at": f"{format_date(day)}T09:30:00Z", "action": f"{DPV}#Consult", "result": "opened",
            "system": "ehr", "outcome": "success", "trace_id": sha256(subject.encode()).hexdigest()[:32],
        },
        "data": [f"{DPV}/pd#HealthRecord"],
        "purpose": {"activity": activity, **purpose} if activity else purpose,
        "reason": "case 17: follow-up",
    }  # fmt: skip
