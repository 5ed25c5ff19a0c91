"""A request body into submissions: {"entries": [S, …]} or NDJSON of S, where S is

    {"entry": "<base64>", "envelope": "<base64>", "fetch": "<base64 of 32 bytes>"}

One bad S refuses itself and not its neighbours, so each is parsed alone.  The fast way reads S with msgspec
and then makes sure of what msgspec forgives: a member named twice (it keeps the last) and base64 with stray
bits.  What is not plainly good goes the exact way, which finds out what is wrong with it, or that nothing is.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ledger.core.encoding import b64decode
from ledger.core.errors import GlassbookError
from ledger.core.jose import members, parse_json
from ledger.service.problems import Refusal, RequestRefused

MAX_ENTRIES: Final = 10_000
MAX_BYTES: Final = 16 << 20
# Entries have at most two commas inside and one after: far more of them are not 10,000 entries.
_MAX_COMMAS: Final = 4 * MAX_ENTRIES
_MAX_TEXT: Final = 1 << 18  # the longest entry and the longest envelope take 175,000 characters of base64
_NAMES: Final = ("entry", "envelope", "fetch")
MANY: Final = 16
_LAST: Final = {1: b"AQgw", 2: b"AEIMQUYcgkosw048"}
"""By how many bytes are left over: characters whose last 4, or 2, bits are 0 (RFC 4648 §3.5)."""


class Submission(NamedTuple):
    """What a source hands in: an entry's bytes, and for a record its envelope and H(fetch_token)."""

    entry: bytes
    envelope: bytes | None
    fetch: bytes | None


class _Submission(msgspec.Struct, forbid_unknown_fields=True):
    entry: bytes
    envelope: bytes | msgspec.UnsetType = msgspec.UNSET
    fetch: bytes | msgspec.UnsetType = msgspec.UNSET


class _CompactDocument(msgspec.Struct, forbid_unknown_fields=True):
    entries: list[_Submission]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    entries: list[msgspec.Raw]


_COMPACT: Final = (b'{"entries":[', b"]}")
_HEAD: Final = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"entries"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_COMMA: Final = re.compile(r",[ \t\r\n]*")
_TAIL: Final = re.compile(r"\][ \t\r\n]*\}[ \t\r\n]*")
_element: Final = json.JSONDecoder().raw_decode
_decode_submission: Final = msgspec.json.Decoder(_Submission).decode
_decode_compact: Final = msgspec.json.Decoder(_CompactDocument).decode
_decode_document: Final = msgspec.json.Decoder(_Document).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse_document(body: bytes) -> list[Submission | Refusal]:
    """The submissions of a JSON body, in order.

    Raises RequestRefused when the body as a whole is not {"entries": […]} or has too many entries.
    """
    if _has_more_commas(body, _MAX_COMMAS):
        raise RequestRefused(Refusal("too-many", f"send at most {MAX_ENTRIES} entries in one request"))
    plain = _parse_compact(body)
    if plain is not None:
        return plain
    try:
        items = _decode_document(body).entries
    except _UNREADABLE:
        elements = _split_elements(body)
        if elements is None:
            raise RequestRefused(Refusal("malformed-body", _document_fault(body))) from None
        return [parse_submission(element) for element in elements]
    if len(items) > MAX_ENTRIES:
        raise RequestRefused(Refusal("too-many", f"send at most {MAX_ENTRIES} entries in one request"))
    texts = [bytes(item) for item in items]
    # msgspec keeps the last of several members "entries"; which of them was meant nobody can say.  Without
    # white space between the elements the length shows that there is one, else all quotes are counted.
    length = len(_COMPACT[0]) + sum(map(len, texts)) + max(0, len(texts) - 1) + len(_COMPACT[1])
    if len(body) != length or not body.startswith(_COMPACT[0]):
        inside = sum(text.count(b'"') for text in texts)
        if body.count(b'"') != inside + 2:
            raise RequestRefused(Refusal("malformed-body", "body: member entries stands twice"))
    return [parse_submission(text) for text in texts]


def _parse_compact(body: bytes) -> list[Submission | Refusal] | None:
    """All submissions at once when each is a record written without white space, in the order above; else None.

    What msgspec read says how long each text must be.  If the body is of exactly these parts, one after another,
    then nothing stands there twice, and no text has an escape in it.
    """
    try:
        items = _decode_compact(body).entries
    except _UNREADABLE:
        return None
    at = len(_COMPACT[0])
    found: list[Submission | Refusal] = []
    if len(items) > MAX_ENTRIES or not body.startswith(_COMPACT[0]):
        return None
    if len(items) >= MANY and _is_uniform(body, items):
        return [Submission(item.entry, item.envelope, item.fetch) for item in items]  # type: ignore[arg-type]
    for item in items:
        entry, envelope, fetch = item.entry, item.envelope, item.fetch
        if isinstance(envelope, msgspec.UnsetType) or isinstance(fetch, msgspec.UnsetType):
            return None
        first = at + 10  # {"entry":"
        second = first + (len(entry) + 2) // 3 * 4 + 14  # ","envelope":"
        third = second + (len(envelope) + 2) // 3 * 4 + 11  # ","fetch":"
        end = third + (len(fetch) + 2) // 3 * 4
        if (
            body[at:first] != b'{"entry":"'
            or body[second - 14 : second] != b'","envelope":"'
            or body[third - 11 : third] != b'","fetch":"'
            or body[end : end + 2] != b'"}'
            or not _ends(entry, body[second - 18 : second - 14])
            or not _ends(envelope, body[third - 15 : third - 11])
            or not _ends(fetch, body[end - 4 : end])
        ):
            return None
        found.append(Submission(entry, envelope, fetch))
        if body[end + 2 : end + 3] != b",":
            break
        at = end + 3
    complete = found and len(found) == len(items) and body[end + 2 :] == _COMPACT[1]
    return found if complete else None


def _is_uniform(body: bytes, items: Sequence[_Submission]) -> bool:
    """Whether the body is items of equal sizes, one after another, as `_parse_compact` takes them.

    The same check, for all items at once: what stands at one place of the first stands a step further in the next, and
    so on.  False also when it cannot be told so.
    """
    count = len(items)
    if not all(isinstance(item.envelope, bytes) and isinstance(item.fetch, bytes) for item in items):
        return False
    sizes = [len(getattr(items[0], name)) for name in _NAMES]
    if any(
        {len(getattr(item, name)) for item in items} != {size}
        for name, size in zip(_NAMES, sizes, strict=True)
    ):
        return False
    texts = [(size + 2) // 3 * 4 for size in sizes]
    pieces, at = [], 0
    for name, text in zip((b'{"entry":"', b'","envelope":"', b'","fetch":"'), texts, strict=True):
        pieces.append((at, name))
        at += len(name) + text
    pieces.append((at, b'"},'))
    step = at + 3
    start = len(_COMPACT[0])
    if len(body) != start + count * step - 1 + len(_COMPACT[1]) or not body.endswith(_COMPACT[1]):
        return False
    for at, piece in pieces:
        for place, char in enumerate(piece, start + at):
            column = body[place::step]
            if column[: count - 1] != bytes((char,)) * (count - 1):
                return False
    last = start + (count - 1) * step
    if any(body[last + at : last + at + len(piece)] != piece for at, piece in pieces[:-1]):
        return False
    if body[last + step - 3 : last + step - 1] != b'"}':
        return False
    # The last character but the padding has bits that no byte needs; they are 0 in the one way to write it.
    for size, (at, piece), text in zip(sizes, pieces, texts, strict=False):
        rest = size % 3
        if rest:
            column = body[start + at + len(piece) + text - 4 + rest :: step][:count]
            if column.translate(None, _LAST[rest]):
                return False
    return True


def _ends(data: bytes, last: bytes) -> bool:
    """Whether `last`, four characters, is the one way in which the base64 of `data` ends."""
    rest = len(data) % 3
    return not rest or last == binascii.b2a_base64(data[-rest:], newline=False)


def _has_more_commas(body: bytes, most: int) -> bool:
    # find() searches far faster than count() counts, and commas are rare between long texts.
    at = -1
    for _ in range(most + 1):
        at = body.find(b",", at + 1)
        if at < 0:
            return False
    return True


def parse_lines(body: bytes) -> list[Submission | Refusal]:
    """The submissions of an NDJSON body, one a line, in order; an empty line is refused like other bad ones.

    Raises RequestRefused when there are too many lines.
    """
    if body.count(b"\n") > MAX_ENTRIES:
        raise RequestRefused(Refusal("too-many", f"send at most {MAX_ENTRIES} entries in one request"))
    lines = body.split(b"\n")
    if not lines[-1]:
        lines.pop()
    if len(lines) > MAX_ENTRIES:
        raise RequestRefused(Refusal("too-many", f"send at most {MAX_ENTRIES} entries in one request"))
    return [parse_submission(line) for line in lines]


def parse_submission(text: bytes) -> Submission | Refusal:
    """One submission from its JSON text, or why it is none."""
    if len(text) > _MAX_TEXT:
        return Refusal("malformed-entry", f"submission: longer than {_MAX_TEXT} bytes, which none needs")
    try:
        read = _decode_submission(text)
    except _UNREADABLE:
        return _parse_exactly(text)
    # Between the quotes of S stand, in turn, a name, a colon, a value and a comma.
    parts = text.split(b'"')
    texts = dict(zip(parts[1::4], parts[3::4], strict=False))
    envelope = None if isinstance(read.envelope, msgspec.UnsetType) else read.envelope
    fetch = None if isinstance(read.fetch, msgspec.UnsetType) else read.fetch
    plain, named = _canonical(read.entry, texts.get(b"entry")), 1
    if envelope is not None:
        plain, named = plain and _canonical(envelope, texts.get(b"envelope")), named + 1
    if fetch is not None:
        plain, named = plain and _canonical(fetch, texts.get(b"fetch")), named + 1
    if plain and len(parts) == 4 * named + 1:
        return Submission(read.entry, envelope, fetch)
    return _parse_exactly(text)


def _canonical(data: bytes, text: bytes | None) -> bool:
    """Whether `text`, which msgspec decoded to `data`, is the one way to write it: no stray bits."""
    return text is not None and len(text) == (len(data) + 2) // 3 * 4 and _ends(data, text[-4:])


def _parse_exactly(text: bytes) -> Submission | Refusal:
    try:
        found = members(parse_json(text, "submission"), "submission", ("entry",), ("envelope", "fetch"))
        data: dict[str, bytes] = {}
        for name in _NAMES:
            if name in found:
                value = found[name]
                if not isinstance(value, str):
                    return Refusal("malformed-entry", f"submission: {name} is not a text")
                data[name] = b64decode(value, f"submission: {name}")
    except GlassbookError as error:
        return Refusal("malformed-entry", _without_names(error, _NAMES))
    return Submission(data["entry"], data.get("envelope"), data.get("fetch"))


def _without_names(error: GlassbookError, known: Sequence[str]) -> str:
    """The error in words, but for a member's name that is none of ours: whatever it is, it is not repeated."""
    words = error.what.split()
    if "member" in words[:2] and not any(word in known for word in words):
        return f"{error.where}: an unknown member, or one named twice; known: {', '.join(known)}"
    return str(error)


def _split_elements(body: bytes) -> list[bytes] | None:
    """The texts of the elements when the array around them is sound, though msgspec cannot read one of them.

    Python's decoder takes more than JSON (NaN, lone surrogates); each element is held to JSON when it is parsed.
    """
    try:
        text = body.decode()
        start = _HEAD.match(text)
        at = start.end() if start else len(text)
        elements: list[bytes] = []
        while len(elements) < MAX_ENTRIES:
            _, end = _element(text, at)
            elements.append(text[at:end].encode())
            after = _SPACE.match(text, end)
            at = after.end() if after else end
            if text[at : at + 1] == "]":
                return elements if _TAIL.fullmatch(text, at) else None
            after = _COMMA.match(text, at)
            if after is None:
                return None
            at = after.end()
    except (ValueError, RecursionError):
        pass
    return None


def _document_fault(body: bytes) -> str:
    try:
        found = members(parse_json(body, "body"), "body", ("entries",))
    except GlassbookError as error:
        return _without_names(error, ("entries",))
    if not isinstance(found["entries"], list):
        return "body: entries is not an array"
    return 'body: not {"entries": […]}'
