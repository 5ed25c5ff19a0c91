"""Promises: "I took this in and will publish it in time", signed by the ledger (docs/formats.md §6).

A `*.promise` file is a compact JWS in ASCII without newline, by the charter's `ledger` key, of the payload

    {"origin": "log.example.gov/access/2026", "leaf": "<leaf hash, base64url>", "accepted": 1782997000}

A promise that was not kept is evidence against the operator: what it accepted it has kept out of the log.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ledger.core.encoding import b64url_blocks, b64url_decode, b64url_encode, parse_decimal
from ledger.core.errors import Malformed, RuleBroken
from ledger.core.jose import MAX_INTEGER, integer, members, sign_jws, signing_input, verify_jws
from ledger.core.keys import ED25519_SIGNATURE_BYTES, SigningKey
from ledger.core.merkle import HASH_BYTES

TYP: Final = "glassbook-promise+jws"

LEAF_TEXT: Final = 43
"""Characters of a leaf hash in base64url."""
SIGNATURE_TEXT: Final = 86
"""Characters of a signature in base64url."""

_MIDDLE, _MIDDLE_TEXT = (
    45,
    60,
)  # bytes around and with a leaf hash's text that are whole blocks, and their text
_TIMES = 4096  # how many times of acceptance a form remembers the text of

Verdict = Literal["kept", "published late", "open", "broken"]


@dataclass(frozen=True, slots=True)
class Promise:
    """The leaf with hash `leaf` (32 bytes) was accepted at `accepted` (Unix seconds)."""

    origin: str
    leaf: bytes
    accepted: int


def parse_promise(data: bytes, origin: str, ledger_key: bytes, where: str = "promise") -> Promise:
    """The promise in a file, by the `ledger` key (32 bytes) of the charter of `origin`.

    Malformed when it is none, BadSignature when it is by another key, RuleBroken when it is of another log.
    """
    try:
        compact = data.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(where, "is not ASCII") from None
    payload = members(verify_jws(compact, ledger_key, TYP, where), where, ("origin", "leaf", "accepted"))
    if payload["origin"] != origin:
        raise RuleBroken(where, "was made for another log", promise=data)
    leaf = b64url_decode(payload["leaf"], f"{where} leaf") if isinstance(payload["leaf"], str) else b""
    if len(leaf) != HASH_BYTES:
        raise Malformed(f"{where} leaf", f"is not {HASH_BYTES} bytes in base64url")
    return Promise(origin, leaf, integer(payload["accepted"], f"{where} accepted"))


def sign_promise(promise: Promise, key: SigningKey) -> bytes:
    """The file's bytes: what parse_promise takes."""
    payload = {
        "origin": promise.origin,
        "leaf": b64url_encode(promise.leaf),
        "accepted": promise.accepted,
    }
    return sign_jws(payload, TYP, key).encode("ascii")


class PromiseForm:
    """How the promises of one log by one ledger key (its public half) are written: many at once, and what comes back.

    Of the text that is signed nearly all is the same for all. Base64 turns three bytes into four characters, so what
    lies before the leaf hash in whole blocks of three is `_head`; then come 45 bytes with the leaf hash in them, in 60
    characters; and the rest depends on the time alone.
    """

    __slots__ = ("_around", "_head", "_key", "_rest", "_times")

    def __init__(self, origin: str, ledger_key: bytes) -> None:
        self._key = ledger_key
        leaf = b64url_encode(bytes(HASH_BYTES))
        header, payload = signing_input(
            {"origin": origin, "leaf": leaf, "accepted": 0}, TYP, ledger_key
        ).split(".")
        # The last, as an origin could look like a leaf hash too.
        before, _, after = b64url_decode(payload, "promise").rpartition(leaf.encode("ascii"))
        whole = len(before) // 3 * 3
        lead = before[whole:]
        trail = after[: _MIDDLE - LEAF_TEXT - len(lead)]
        self._head = header.encode("ascii") + b"." + b64url_blocks(before[:whole])
        self._around = lead, trail
        self._rest = after[len(trail) :].removesuffix(b"0}")
        self._times: dict[bytes, int] = {}

    def rows(self, leaves: Sequence[bytes], accepted: int) -> bytes:
        """What is to be signed for each leaf hash (32 bytes), back to back and each as long as `width` says."""
        # A zero byte after each hash makes 33 bytes, 44 characters, of which the last belongs to the zero.
        texts = b64url_blocks(b"\0".join((*leaves, b"")))
        lead, trail = self._around
        each = [texts[at : at + LEAF_TEXT] for at in range(0, len(texts), LEAF_TEXT + 1)]
        middles = b64url_blocks(lead + (trail + lead).join(each) + trail)
        tail = self._tail(accepted)
        middle = [middles[at : at + _MIDDLE_TEXT] for at in range(0, len(middles), _MIDDLE_TEXT)]
        return self._head + (tail + self._head).join(middle) + tail

    def width(self, accepted: int) -> int:
        """The bytes of a row."""
        return len(self._head) + _MIDDLE_TEXT + len(self._tail(accepted))

    def _tail(self, accepted: int) -> bytes:
        return b64url_encode(b"%b%d}" % (self._rest, accepted)).encode("ascii")

    def finish(self, rows: bytes, width: int, signatures: Sequence[bytes]) -> list[bytes]:
        """The promises, of rows and the signature of each (64 bytes)."""
        # Two zero bytes after each signature make 66, 88 characters, of which the last two belong to the zeros.
        texts = b64url_blocks(b"\0\0".join((*signatures, b"")))
        ends = range(width, len(rows) + 1, width)
        starts = range(0, len(texts), SIGNATURE_TEXT + 2)
        return [
            b"%b.%b" % (rows[end - width : end], texts[at : at + SIGNATURE_TEXT])
            for end, at in zip(ends, starts, strict=True)
        ]

    def times(
        self,
        promises: Sequence[bytes],
        leaves: Sequence[bytes],
        verify_rows: Callable[[bytes, bytes, int], Sequence[int]],
    ) -> list[int | None]:
        """When each leaf was accepted, by a promise that is for just this leaf, in just this form, and well signed.

        None for every other: `parse_promise` says what is wrong with it, or that it is good and written in another way.
        `verify_rows` takes a key, rows of a message and its signature, and their width; it answers 1 for each good one.
        """
        found: list[int | None] = [None] * len(promises)
        alike: dict[int, list[int]] = {}
        for place, promise in enumerate(promises):
            accepted = self._time(promise)
            if accepted is not None:
                alike.setdefault(accepted, []).append(place)
        signed: dict[int, list[tuple[int, int, bytes]]] = {}
        for accepted, places in alike.items():
            width, rows = self.width(accepted), self.rows([leaves[place] for place in places], accepted)
            for number, place in enumerate(places):
                promise, row = promises[place], rows[number * width : (number + 1) * width]
                if promise.startswith(row) and promise[width : width + 1] == b".":
                    signature = _signature(promise[width + 1 :])
                    if signature:
                        signed.setdefault(width, []).append((place, accepted, row + signature))
        for width, items in signed.items():
            good = verify_rows(
                self._key, b"".join([row for *_, row in items]), width + ED25519_SIGNATURE_BYTES
            )
            for (place, accepted, _), one in zip(items, good, strict=True):
                found[place] = accepted if one else None
        return found

    def _time(self, promise: bytes) -> int | None:
        """What the tail of a promise says, if it is one that `_tail` writes; else any number, or None."""
        tail = promise[len(self._head) + _MIDDLE_TEXT : -SIGNATURE_TEXT - 1]
        known = self._times.get(tail)
        if known is not None:
            return known
        try:
            text = b64url_decode(tail.decode("ascii"), "promise").decode("ascii")
            accepted = parse_decimal(
                text.removeprefix(self._rest.decode("ascii")).removesuffix("}"), "promise", MAX_INTEGER + 1
            )
        except (Malformed, UnicodeDecodeError):
            return None
        if len(self._times) >= _TIMES:
            self._times.clear()
        self._times[tail] = accepted
        return accepted


def _signature(text: bytes) -> bytes:
    """The 64 bytes of its canonical text, or nothing."""
    try:
        found = b64url_decode(text.decode("ascii"), "promise")
    except (Malformed, UnicodeDecodeError):
        return b""
    return found if len(found) == ED25519_SIGNATURE_BYTES else b""


def verdict(
    accepted: int, merge_delay_s: int, in_log: bool, oldest: int | None, newest: int | None
) -> Verdict:
    """What one checkpoint says about a promise accepted then; another may show more.

    `in_log`: whether the leaf is under it. `oldest` and `newest` are the timestamps (Unix seconds) of its witnesses
    other than the log, None when it has none: then nobody but the log vouches for its time, and all is open.
    """
    due = accepted + merge_delay_s
    if oldest is None or newest is None:
        return "open"
    if in_log:
        return "kept" if oldest <= due else "published late"
    return "broken" if newest > due else "open"
