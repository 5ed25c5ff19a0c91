"""JSON documents cut out of a stream: a Bundle entry by entry, NDJSON line by line, or one whole document.

The cutting only counts brackets and skips strings; each piece is then parsed strictly by itself, so a
piece that is broken inside is rejected alone and those after it go on.  Memory holds one piece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ledger.core.errors import Malformed
from ledger.core.jose import parse_json
from ledger.department.importers.source import Source

LONGEST: Final = 16 << 20
"""Bytes of one event, one line, or all of a Bundle but its entries."""

_PEEK: Final = 1 << 20
_WHITE = b" \t\r\n"
# A whole string, a quotation mark whose string goes on beyond the window, or a bracket.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)
_END = re.compile(rb"[,\]}\s]")
_NOT_WHITE = re.compile(rb"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Piece:
    """One event's bytes, or the reason why there are none.

    `position` is `line 5`, `entry[12]` or `$`; `entry` says that `data` is a Bundle entry around a resource.
    """

    position: str
    data: bytes = b""
    fault: str = ""
    entry: bool = False


def read_lines(source: Source) -> Iterator[Piece]:
    """The lines of a file that are not empty; nothing but OSError is raised."""
    try:
        if fault := unreadable(source.peek(_PEEK)):
            yield Piece("$", fault=fault)
        else:
            yield from _lines(source)
    except Malformed as error:
        yield Piece("$", fault=str(error))


def read_values(source: Source) -> Iterator[Piece]:
    """The JSON values of a file: one a line, the items of one array, or one value; nothing but OSError is raised."""
    try:
        head = source.peek(_PEEK)
        if fault := unreadable(head):
            yield Piece("$", fault=fault)
        elif _is_lines(head, source.name):
            yield from _lines(source)
        else:
            yield from _values(source)
    except Malformed as error:
        yield Piece("$", fault=str(error))


def read_member_items(source: Source, member: str) -> Iterator[Piece]:
    """As `read_values`; of one object with a list of this name the list's items.  Nothing but OSError is raised."""
    try:
        head = source.peek(_PEEK)
        if fault := unreadable(head):
            yield Piece("$", fault=fault)
        elif _is_lines(head, source.name):
            yield from _lines(source)
        elif head.lstrip(_WHITE)[:1] == b"{" and f'"{member}"'.encode() in head:
            yield from _member_items(_Text(source), member)
        else:
            yield from _values(source)
    except Malformed as error:
        yield Piece("$", fault=str(error))


def _member_items(text: _Text, member: str) -> Iterator[Piece]:
    text.expect(b"{")
    number, more = 0, text.next_byte() != b"}"
    while more:
        if text.next_byte() != b'"':
            raise text.broken("a member's name expected")
        name = text.value()
        text.expect(b":")
        if name == f'"{member}"'.encode() and text.next_byte() == b"[":
            try:
                for data in _items(text):
                    yield Piece(f"{member}[{number}]", data)
                    number += 1
            except Malformed as error:
                yield Piece(f"{member}[{number}]", fault=str(error))
                return
        else:
            text.value()
        more = text.next_byte() == b","
        if more:
            text.skip()
    text.expect(b"}")
    if text.next_byte():
        raise text.broken("something after the end of the document")


def _values(source: Source) -> Iterator[Piece]:
    text = _Text(source)
    if text.next_byte() == b"[":
        number = 0
        try:
            for data in _items(text):
                yield Piece(f"[{number}]", data)
                number += 1
        except Malformed as error:
            yield Piece(f"[{number}]", fault=str(error))
            return
    else:
        yield Piece("$", text.value())
    if text.next_byte():
        raise text.broken("something after the end of the document")


def read_pieces(source: Source, name: str) -> Iterator[Piece]:
    """The pieces of one file; `name` is its name, whose ending may settle that it is NDJSON.

    Every fault of the file becomes a piece with a reason: nothing but OSError is raised.
    """
    try:
        head = source.peek(_PEEK)
        if fault := unreadable(head):
            yield Piece("$", fault=fault)
        elif _is_lines(head, name):
            yield from _lines(source)
        elif fault := _no_document(head):
            yield Piece("$", fault=fault)
        else:
            yield from _whole(source)
    except Malformed as error:
        yield Piece("$", fault=str(error))


def unreadable(head: bytes) -> str:
    """Why a file that starts so is no JSON of any kind; empty when it may be."""
    text = head.lstrip(_WHITE)
    if not text:
        return "the file is empty" if len(head) < _PEEK else "the file starts with a megabyte of nothing"
    if not text.strip(b"\0"):
        return "the file holds zero bytes only; it was never written, or not to the end"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16; logs of this format are UTF-8: convert the file"
    return ""


def _no_document(head: bytes) -> str:
    """Why a file that is not NDJSON is no single document either; empty when it may be."""
    text = head.lstrip(_WHITE)
    if text[:1] == b"[":
        return "a JSON array; FHIR has single resources, Bundles and NDJSON: wrap the events in a Bundle"
    if text[:1] != b"{":
        return "not JSON: does not start with {"
    return ""


def _is_lines(head: bytes, name: str) -> bool:
    """Whether the file is NDJSON: by its name, or because one of its first two lines is a document by itself."""
    if re.search(r"\.(ndjson|jsonl)(\.gz)?$", name, re.IGNORECASE):
        return True
    lines = [line for line in head.split(b"\n", 2)[:3] if line.strip(_WHITE)]
    if len(lines) < 2:
        return False
    return _is_document(lines[0]) or (_is_document(lines[1]) and b'"resourceType"' in lines[1])


def _is_document(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _lines(source: Source) -> Iterator[Piece]:
    number, rest, skipping = 1, b"", False
    chunks = source.chunks()
    while True:
        try:
            chunk = next(chunks, None)
        except Malformed as error:
            yield Piece(f"line {number}", fault=str(error))
            return
        if chunk is None:
            break
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            if skipping:
                skipping = False
            elif len(line) > LONGEST:
                yield _too_long(f"line {number}")
            elif line.strip(_WHITE):
                yield Piece(f"line {number}", line.strip(_WHITE))
            number += 1
        if skipping:
            rest = b""
        elif len(rest) > LONGEST:
            yield _too_long(f"line {number}")
            rest, skipping = b"", True
    if rest.strip(_WHITE) and not skipping:
        yield Piece(f"line {number}", rest.strip(_WHITE))


def _too_long(position: str) -> Piece:
    return Piece(position, fault=f"longer than {LONGEST} bytes; one event never is")


class _Text:
    """A window on the stream that moves forward: what lies before `_place` in it has been read."""

    def __init__(self, source: Source) -> None:
        self._chunks = source.chunks()
        self._window = b""
        self._place = 0
        self._dropped = 0

    def _more(self) -> bool:
        """Drop what has been read and lengthen the window; False at the end of the file."""
        chunk = next(self._chunks, b"")
        self._dropped += self._place
        self._window = self._window[self._place :] + chunk
        self._place = 0
        return bool(chunk)

    def next_byte(self) -> bytes:
        """The next byte that is not white space, not yet read; empty at the end."""
        while True:
            found = _NOT_WHITE.search(self._window, self._place)
            if found:
                self._place = found.start()
                return found.group()
            self._place = len(self._window)
            if not self._more():
                return b""

    def skip(self) -> None:
        """Read the byte that `next_byte` showed."""
        self._place += 1

    def expect(self, byte: bytes) -> None:
        if self.next_byte() != byte:
            raise self.broken(f"{byte.decode()} expected")
        self.skip()

    def broken(self, what: str) -> Malformed:
        at = self._dropped + self._place
        early = self._place >= len(self._window)
        return Malformed("JSON", f"ends early, at byte {at}: {what}" if early else f"{what} at byte {at}")

    def value(self) -> bytes:
        """The next JSON value, cut out by its brackets; Malformed when it has no end or is too long."""
        first = self.next_byte()
        depth, seen = 0, 0  # `seen` counts from the start of the value: the window may move under it
        while True:
            end = 0
            if first in (b"{", b"["):
                depth, seen, end = self._brackets(depth, seen)
            elif first == b'"':
                found = _TOKEN.match(self._window, self._place)
                end = len(found.group()) if found and found.group() != b'"' else 0
            else:
                found = _END.search(self._window, self._place + 1)
                end = found.start() - self._place if found else 0
            if end:
                cut = self._window[self._place : self._place + end]
                self._place += end
                return cut
            if len(self._window) - self._place > LONGEST:
                raise self.broken(f"a value longer than {LONGEST} bytes")
            if not self._more():
                raise Malformed(
                    "JSON", f"ends early: the value at byte {self._dropped + self._place} has no end"
                )

    def _brackets(self, depth: int, seen: int) -> tuple[int, int, int]:
        """Depth and place after the brackets in the window, and the length of the value when it ended there."""
        for token in _TOKEN.finditer(self._window, self._place + seen):
            mark = token.group()
            if mark == b'"':
                return depth, token.start() - self._place, 0  # a string that goes on beyond the window
            if mark in (b"{", b"["):
                depth += 1
            elif mark in (b"}", b"]"):
                depth -= 1
            seen = token.end() - self._place
            if depth == 0:
                return depth, seen, seen
        return depth, seen, 0


def _whole(source: Source) -> Iterator[Piece]:
    """One document: a Bundle's entries one by one, or the whole as one piece."""
    text = _Text(source)
    rest: list[bytes] = []  # the members that are not `entry`, as written
    entries, of_bundle = 0, False
    try:
        text.expect(b"{")
        more = text.next_byte() != b"}"
        while more:
            if text.next_byte() != b'"':
                raise text.broken("a member's name expected")
            name = text.value()
            text.expect(b":")
            # Only a Bundle's entries are cut; another resource may have a list of that name.
            if name == b'"entry"' and text.next_byte() == b"[" and _may_be_bundle(rest):
                if of_bundle:
                    raise text.broken("member entry stands twice")
                of_bundle = True
                for data in _items(text):
                    yield Piece(f"entry[{entries}]", data, entry=True)
                    entries += 1
            else:
                rest.append(name + b":" + text.value())
                if sum(map(len, rest)) > LONGEST:
                    raise Malformed("JSON", f"more than {LONGEST} bytes beside the entries")
            more = text.next_byte() == b","
            if more:
                text.skip()
        text.expect(b"}")
        if text.next_byte():
            raise text.broken("something after the end of the document")
    except Malformed as error:
        yield Piece(f"entry[{entries}]" if of_bundle else "$", fault=str(error))
        return
    document = b"{" + b",".join(rest) + b"}"
    if not of_bundle:
        yield Piece("$", document)
        return
    fault = _not_a_bundle(document)
    if fault:
        yield Piece("$", fault=fault)


def _items(text: _Text) -> Iterator[bytes]:
    text.expect(b"[")
    if text.next_byte() == b"]":
        text.skip()
        return
    while True:
        if text.next_byte() in (b"", b",", b"]", b"}", b":"):
            raise text.broken("an entry expected")
        yield text.value()
        if text.next_byte() != b",":
            break
        text.skip()
    text.expect(b"]")


def _may_be_bundle(members: list[bytes]) -> bool:
    for member in members:
        name, _, value = member.partition(b":")
        if name == b'"resourceType"':
            return value == b'"Bundle"'
    return True


def _not_a_bundle(document: bytes) -> str:
    """What is wrong with a Bundle apart from its entries, which have been read; empty when nothing is."""
    try:
        members = parse_json(document, "Bundle")
    except Malformed as error:
        return str(error)
    if members.get("resourceType") != "Bundle":
        return "has entries, and does not say that it is a Bundle"
    return ""
