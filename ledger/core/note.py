"""Signed notes (C2SP signed-note): text, an empty line, and signature lines.

    log.example.gov/access/2026
    717313
    cZCLTFeaAuFqyOUuvHQ6qeblrmTuCBczMPpZqamhlrc=

    — log.example.gov/access/2026 ew/WM9weRlbEdKYt5OiO…
    — witness.example/w1 ejhdVQAAAABqRmvBF5dscVNa7HEI…

A signature line is an em dash, a key name and base64(key id[4] ‖ signature). A *verifier key* is one line,

    witness.example/w1+7a385d55+BAOymNuhbKeWTBDjds28wcKd6PGQALON+siAJKjll/qc

that is name, key id in hexadecimal and base64(type ‖ public key). Three signature types are known here:

    0x01  Ed25519 over the text
    0x04  u64 timestamp ‖ Ed25519 over "cosignature/v1", the time and the text      (C2SP tlog-cosignature)
    0x06  u64 timestamp ‖ ML-DSA-44 over name, time, origin, size and root           (C2SP tlog-cosignature)

Lines by unknown keys are ignored; one bad signature by a known key refuses the whole note.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.core.encoding import b64decode, b64encode, lp, parse_decimal, sha256, u64
from ledger.core.errors import BadSignature, Malformed
from ledger.core.keys import (
    MLDSA44_KEY_BYTES,
    Ed25519PrivateKey,
    MLDSA44PrivateKey,
    SigningKey,
    check_ed25519_key,
    verify_ed25519,
    verify_mldsa44,
)

ED25519 = 1
COSIGNATURE = 4
MLDSA44 = 6

MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 100
MAX_TIMESTAMP = 2**63 - 1
KEY_ID_BYTES = 4
_DASH = "\u2014 "
_ALLOWED = b"\n" + bytes(range(0x20, 0x100))


def check_key_name(name: str, where: str) -> None:
    """Malformed unless name may stand in a note: not empty, no Unicode space, plus or ASCII control character.

    C2SP signed-note, "Format".
    """
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise Malformed(where, "the key name is empty or has a space, a plus or a control character in it")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed(where, "the key name is not UTF-8") from None


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name and signature type: what a reader of notes has to know about a signer."""

    name: str
    kind: int
    key: bytes

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of SHA-256(name ‖ 0x0a ‖ type ‖ public key)."""
        return sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.key)[:KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The one-line form, as parse_vkey takes it."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes((self.kind,)) + self.key)}"


def parse_vkey(text: str, where: str = "vkey") -> VerifierKey:
    """A verifier key of a type known here, in its one canonical spelling and with a usable public key."""
    parts = text.split("+", 2)  # base64 has plus signs of its own
    if len(parts) != 3:
        raise Malformed(where, "is not NAME+KEYID+KEY")
    name, key_id, encoded = parts
    check_key_name(name, where)
    raw = b64decode(encoded, where)
    vkey = VerifierKey(name, raw[0] if raw else 0, raw[1:])
    if vkey.kind in (ED25519, COSIGNATURE):
        check_ed25519_key(vkey.key, where)
    elif vkey.kind != MLDSA44:
        raise Malformed(where, f"key type {vkey.kind} is not 1, 4 or 6")
    elif len(vkey.key) != MLDSA44_KEY_BYTES:
        raise Malformed(where, f"ML-DSA-44 key of {len(vkey.key)} bytes, not {MLDSA44_KEY_BYTES}")
    if vkey.kind == MLDSA44:
        _check_short(name, where)
    if vkey.key_id.hex() != key_id:
        raise Malformed(where, "the key id is not that of the name and key")
    return vkey


def _check_short(name: str, where: str) -> None:
    # The message that ML-DSA-44 signs holds the name with one length byte.
    if len(name.encode()) > 255:
        raise Malformed(where, "the key name has more than 255 bytes")


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature line: key name, key id (4 bytes) and what stands after it in the base64."""

    name: str
    key_id: bytes
    blob: bytes

    @property
    def text(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.blob)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note taken apart: text with its final newline, and the signature lines, none of them verified."""

    text: str
    lines: tuple[SignatureLine, ...]


@dataclass(frozen=True, slots=True)
class Good:
    """A verified signature: whose, and for cosignatures the Unix time that it states."""

    vkey: VerifierKey
    timestamp: int | None


def parse_note(data: bytes, where: str = "note") -> Note:
    """A note of at most 1 MiB with 1 to 100 signature lines; nothing is verified."""
    text = _plain_text(data, where)
    body, blank, signatures = text.rpartition("\n\n")
    if not blank:
        raise Malformed(where, "has no empty line before its signatures")
    return Note(body + "\n", _parse_lines(signatures, where))


def _plain_text(data: bytes, where: str) -> str:
    if len(data) > MAX_NOTE_BYTES:
        raise Malformed(where, f"has more than {MAX_NOTE_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(where, "is not UTF-8") from None
    # What is left after all allowed bytes are deleted; ten times as fast as a search for the others.
    if data.translate(None, _ALLOWED):
        raise Malformed(where, "has a control character other than newline")
    return text


def parse_lines(data: bytes, where: str = "note") -> tuple[SignatureLine, ...]:
    """1 to 100 signature lines without a text, as a witness answers (C2SP tlog-witness)."""
    return _parse_lines(_plain_text(data, where), where)


def _parse_lines(text: str, where: str) -> tuple[SignatureLine, ...]:
    if not text.endswith("\n"):
        raise Malformed(where, "does not end in a signature line with its newline")
    lines = text[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise Malformed(where, f"has more than {MAX_SIGNATURES} signatures")
    return tuple(_parse_line(line, where) for line in lines)


def _parse_line(line: str, where: str) -> SignatureLine:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2:
        raise Malformed(where, "has a line after its text that is not \u2014 NAME BASE64")
    check_key_name(parts[0], where)
    raw = b64decode(parts[1], f"{where} signature")
    if len(raw) <= KEY_ID_BYTES:
        raise Malformed(where, "has a signature too short to hold a key id and a signature")
    return SignatureLine(parts[0], raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def format_note(text: str, lines: Iterable[SignatureLine]) -> bytes:
    """The bytes of a note; Malformed when they would not parse again."""
    data = (text + "\n" + "".join([line.text for line in lines])).encode()
    if parse_note(data).text != text:
        raise Malformed("note", "the text does not end in a newline")
    return data


def cosignature_message(text: str, timestamp: int) -> bytes:
    """What a type 0x04 cosignature signs (tlog-cosignature, "Ed25519 signed message")."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def subtree_message(cosigner: str, timestamp: int, origin: str, size: int, root: bytes) -> bytes:
    """What a type 0x06 cosignature of a whole tree signs (tlog-cosignature, "ML-DSA-44 signed message").

    "subtree/v1\\n\\0" ‖ lp(cosigner) ‖ u64 timestamp ‖ lp(origin) ‖ u64 start = 0 ‖ u64 size ‖ root[32].
    """
    names = lp(cosigner.encode()) + u64(timestamp) + lp(origin.encode())
    return b"subtree/v1\n\x00" + names + u64(0) + u64(size) + root


def tree_head(text: str) -> tuple[str, int, bytes]:
    """Origin, size and root from the first three lines of a checkpoint's text (C2SP tlog-checkpoint)."""
    lines = text.split("\n")
    if len(lines) < 4:
        raise Malformed("checkpoint", "has not the three lines origin, size and root")
    root = b64decode(lines[2], "checkpoint root")
    if len(root) != 32:
        raise Malformed("checkpoint root", f"has {len(root)} bytes, not 32")
    return lines[0], parse_decimal(lines[1], "checkpoint size"), root


def verify_line(vkey: VerifierKey, text: str, line: SignatureLine) -> int | None:
    """The timestamp that line states (None for type 0x01); BadSignature unless it is by vkey over text.

    Whether a timestamp is believable is for the policy to say.
    """
    timestamp = int.from_bytes(line.blob[:8], "big")
    if vkey.kind == ED25519:
        good = verify_ed25519(vkey.key, line.blob, text.encode())
    elif timestamp > MAX_TIMESTAMP:
        good = False
    elif vkey.kind == COSIGNATURE:
        good = verify_ed25519(vkey.key, line.blob[8:], cosignature_message(text, timestamp))
    else:
        message = subtree_message(vkey.name, timestamp, *tree_head(text))
        good = verify_mldsa44(vkey.key, line.blob[8:], message)
    if not good:
        raise BadSignature("note", f"bad signature by {vkey.name} {vkey.key_id.hex()}", text=text, line=line)
    return None if vkey.kind == ED25519 else timestamp


def good_signatures(note: Note, vkeys: Iterable[VerifierKey]) -> list[Good]:
    """The signatures by vkeys, in the order of the note; BadSignature if one is bad or there is none."""
    known = {(vkey.name, vkey.key_id): vkey for vkey in vkeys}
    good = []
    for line in note.lines:
        vkey = known.get((line.name, line.key_id))
        if vkey is not None:
            good.append(Good(vkey, verify_line(vkey, note.text, line)))
    if not good:
        raise BadSignature("note", "carries no signature by a known key", text=note.text)
    return good


def open_note(data: bytes, vkeys: Iterable[VerifierKey]) -> tuple[str, list[Good]]:
    """The text of a note that at least one of vkeys signed, and their signatures."""
    note = parse_note(data)
    return note.text, good_signatures(note, vkeys)


class Ed25519Signer:
    """Signs the text itself: type 0x01."""

    def __init__(self, name: str, key: SigningKey) -> None:
        check_key_name(name, "signer")
        self.vkey = VerifierKey(name, ED25519, key.public)
        self._key = key

    def sign(self, text: str) -> SignatureLine:
        return SignatureLine(self.vkey.name, self.vkey.key_id, self._key.sign(text.encode()))


class CosignatureSigner:
    """Cosigns a checkpoint at a time in Unix seconds: type 0x04."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        check_key_name(name, "signer")
        self.vkey = VerifierKey(name, COSIGNATURE, key.public)
        self._key = key

    def sign(self, text: str, timestamp: int) -> SignatureLine:
        signature = self._key.sign(cosignature_message(text, timestamp))
        return SignatureLine(self.vkey.name, self.vkey.key_id, u64(timestamp) + signature)


class MLDSASigner:
    """Cosigns origin, size and root of a checkpoint at a time in Unix seconds: type 0x06."""

    def __init__(self, name: str, key: MLDSA44PrivateKey) -> None:
        check_key_name(name, "signer")
        _check_short(name, "signer")
        self.vkey = VerifierKey(name, MLDSA44, key.public)
        self._key = key

    def sign(self, text: str, timestamp: int) -> SignatureLine:
        signature = self._key.sign(subtree_message(self.vkey.name, timestamp, *tree_head(text)))
        return SignatureLine(self.vkey.name, self.vkey.key_id, u64(timestamp) + signature)
