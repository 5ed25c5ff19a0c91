"""Stream keys in a file: what a person needs to find every record about her (docs/formats.md §6).

A `*.keys.json` file:

    {"origin": "log.example.gov/access/2026",
     "keys": [{"source": 1, "epoch": 2026, "seal": 0, "subject": "nhs:9434765919",
               "beta": "<64 bytes, base64>", "pi": "<80 bytes, base64>"}, …]}

`pi` proves that `beta` is the one value this stream can have under the source's VRF key, so a source cannot hand
out another key than the one it logged under. The file is a secret of the person it is about: whoever has it can
read her list. Nothing in it ever appears in an error.
"""

from dataclasses import dataclass
from typing import Any

from ledger.core.encoding import b64encode
from ledger.core.errors import Malformed, ProofRefuted
from ledger.core.jose import integer, parse_json
from ledger.core.notices import Notices, notices_object, parse_notices
from ledger.core.streams import StreamKey, alpha, parse_subject, stream_key
from ledger.core.texts import check_origin
from ledger.core.unsigned import base64_member, format_file, member, text_member
from ledger.core.vrf import BETA_BYTES, PROOF_BYTES, verify


@dataclass(frozen=True, slots=True, repr=False)
class StreamSecret:
    """One stream with its VRF output and proof, unchecked; `seal` is 0 or months since 1970-01."""

    source: int
    epoch: int
    seal: int
    subject: str
    beta: bytes
    pi: bytes

    def check(self, origin: str, vrf_key: bytes) -> StreamKey:
        """The stream key; ProofRefuted unless `pi` proves `beta` under the source's VRF key of that epoch.

        `vrf_key` is 32 bytes from the register, never from the file. Malformed when it is no key.
        """
        proven = verify(vrf_key, alpha(origin, self.source, self.epoch, self.seal, self.subject), self.pi)
        if proven != self.beta:
            raise ProofRefuted(f"keys file, source {self.source}", "beta is not the value that pi proves")
        return stream_key(proven)


@dataclass(frozen=True, slots=True, repr=False)
class KeysFile:
    """A keys file taken apart; `notices` are what the source says beside the keys (notices.py)."""

    origin: str
    keys: tuple[StreamSecret, ...]
    notices: Notices = Notices()


def parse_keys_file(data: bytes, where: str = "keys file") -> KeysFile:
    """The keys in a file's bytes; Malformed says which member of which key is wrong, never what it holds."""
    value = parse_json(data, where)
    origin = check_origin(member(value, "origin", where), where)
    keys = member(value, "keys", where)
    if not isinstance(keys, list):
        raise Malformed(f"{where} keys", "is not a list")
    secrets = tuple(_read_secret(item, f"{where}, key {n}") for n, item in enumerate(keys, 1))
    return KeysFile(origin, secrets, parse_notices(value.get("notices")))


def _read_secret(value: Any, where: str) -> StreamSecret:
    subject = text_member(value, "subject", where)
    parse_subject(subject)
    secret = StreamSecret(
        source=integer(member(value, "source", where), f"{where} source", low=1, high=2**32 - 1),
        epoch=integer(member(value, "epoch", where), f"{where} epoch", high=2**16 - 1),
        seal=integer(member(value, "seal", where), f"{where} seal", high=2**16 - 1),
        subject=subject,
        beta=base64_member(value, "beta", where),
        pi=base64_member(value, "pi", where),
    )
    if len(secret.beta) != BETA_BYTES or len(secret.pi) != PROOF_BYTES:
        raise Malformed(where, f"beta and pi are not {BETA_BYTES} and {PROOF_BYTES} bytes")
    return secret


def format_keys_file(file: KeysFile) -> bytes:
    """The file: JSON in UTF-8, ending in a newline."""
    keys = [
        {
            "source": secret.source,
            "epoch": secret.epoch,
            "seal": secret.seal,
            "subject": secret.subject,
            "beta": b64encode(secret.beta),
            "pi": b64encode(secret.pi),
        }
        for secret in file.keys
    ]
    said = {"notices": notices_object(file.notices)} if file.notices else {}
    return format_file({"origin": file.origin, "keys": keys} | said)
