r"""I-Regexp, the regular expressions of RFC 9485, matched against whole values in linear time.

A charter states for each scheme the pattern of its canonical form, so everyone must read one pattern
alike, and no pattern may make a reader hang. Hence an own parser for exactly the RFC's grammar, and an
automaton instead of Python's `re`, which knows a larger language and backtracks:

    i-regexp  = branch *( "|" branch )              [A-Z]{2}[0-9]{6}[A-D]
    branch    = *( atom [quantifier] )              (a|ab)*c
    atom      = character / "." / "\" escape / "\p{Lu}" / "[" class "]" / "(" i-regexp ")"

What the RFC leaves open is settled as in XSD, its source: "^" first in a class always negates, a range
or a quantifier that runs backwards is refused. "." is any character but line feed and carriage return.
Categories are those of the Unicode data that Python carries (`unicodedata.unidata_version`).

The program a pattern becomes is bounded by PROGRAM_LIMIT instructions, so (((a{999}){999}){999}) is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from unicodedata import category

from ledger.core.errors import Malformed

PROGRAM_LIMIT: Final = 4096
"""Most instructions a pattern may become; values have at most 255 bytes, so useful ones stay far below."""

_DEPTH_LIMIT: Final = 100
_CACHE_LIMIT: Final = 4096
_WHERE: Final = "I-Regexp"

_METACHARACTERS: Final = frozenset("()*+.?[\\]{|}")
_ESCAPES: Final = {c: c for c in "()*+-.?[\\]^{|}"} | {"n": "\n", "r": "\r", "t": "\t"}
_CATEGORIES: Final = frozenset(
    major + minor
    for major, minors in (
        ("L", "lmotu"),
        ("M", "cen"),
        ("N", "dlo"),
        ("P", "cdefios"),
        ("Z", "lps"),
        ("S", "ckmo"),
        ("C", "cfno"),
    )
    for minor in ("", *minors)
)


@dataclass(frozen=True, slots=True)
class _Class:
    """A set of characters: ranges of code points and categories, or all but these."""

    ranges: tuple[tuple[str, str], ...]
    categories: tuple[tuple[str, bool], ...] = ()
    negated: bool = False

    def contains(self, char: str) -> bool:
        found = any(low <= char <= high for low, high in self.ranges) or any(
            category(char).startswith(name) is wanted for name, wanted in self.categories
        )
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class _Sequence:
    items: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    branches: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    item: _Node
    least: int
    most: int | None


_Node = _Class | _Sequence | _Choice | _Repeat

_DOT: Final = _Class((("\n", "\n"), ("\r", "\r")), negated=True)


class _Parser:
    """Recursive descent over the grammar of RFC 9485 §4; positions in errors count characters from 0."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0

    def parse(self) -> _Node:
        if any("\ud800" <= c <= "\udfff" for c in self.text):
            raise Malformed(_WHERE, "a surrogate is no character")
        node = self.choice()
        if self.at < len(self.text):
            raise self.unexpected()
        return node

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise Malformed(_WHERE, f"character expected at {self.at}, the pattern ends there")
        self.at += 1
        return char

    def accept(self, char: str) -> bool:
        if self.peek() != char:
            return False
        self.at += 1
        return True

    def unexpected(self) -> Malformed:
        return Malformed(_WHERE, f"{self.peek()} at {self.at} cannot stand there; write \\ for itself")

    def choice(self) -> _Node:
        branches = [self.branch()]
        while self.accept("|"):
            branches.append(self.branch())
        return branches[0] if len(branches) == 1 else _Choice(tuple(branches))

    def branch(self) -> _Node:
        items: list[_Node] = []
        while self.peek() not in ("", "|", ")"):
            items.append(self.piece())
        return items[0] if len(items) == 1 else _Sequence(tuple(items))

    def piece(self) -> _Node:
        atom = self.atom()
        if self.accept("*"):
            return _Repeat(atom, 0, None)
        if self.accept("+"):
            return _Repeat(atom, 1, None)
        if self.accept("?"):
            return _Repeat(atom, 0, 1)
        if self.accept("{"):
            return self.range_quantifier(atom)
        return atom

    def range_quantifier(self, atom: _Node) -> _Node:
        least = self.count()
        most: int | None = least
        if self.accept(","):
            most = None if self.peek() == "}" else self.count()
        if not self.accept("}"):
            raise Malformed(_WHERE, f"}} of a quantifier expected at {self.at}")
        if most is not None and most < least:
            raise Malformed(_WHERE, f"quantifier that ends at {self.at} runs from {least} down to {most}")
        return _Repeat(atom, least, most)

    def count(self) -> int:
        start = self.at
        while "0" <= self.peek() <= "9":
            self.at += 1
        digits = self.text[start : self.at].lstrip("0")
        if self.at == start:
            raise Malformed(_WHERE, f"number of a quantifier expected at {start}")
        if len(digits) > 4 or int(digits or "0") > PROGRAM_LIMIT:
            raise Malformed(_WHERE, f"quantifier at {start} is above {PROGRAM_LIMIT}; use smaller ones")
        return int(digits or "0")

    def atom(self) -> _Node:
        char = self.peek()
        if char == "(":
            return self.group()
        if char == "[":
            return self.class_expression()
        if char == "\\":
            return self.escape()
        if char == ".":
            self.at += 1
            return _DOT
        if char in _METACHARACTERS:
            raise self.unexpected()
        self.at += 1
        return _Class(((char, char),))

    def group(self) -> _Node:
        self.at += 1
        self.depth += 1
        if self.depth > _DEPTH_LIMIT:
            raise Malformed(_WHERE, f"groups nested more than {_DEPTH_LIMIT} deep at {self.at - 1}")
        node = self.choice()
        if not self.accept(")"):
            raise Malformed(_WHERE, f") expected at {self.at}")
        self.depth -= 1
        return node

    def escape(self) -> _Class:
        """SingleCharEsc, catEsc or complEsc; a class of one character, or of one category."""
        self.at += 1
        char = self.take()
        if char in "pP":
            return _Class((), ((self.category_name(), char == "p"),))
        if char not in _ESCAPES:
            raise Malformed(_WHERE, f"unknown escape \\{char} at {self.at - 2}")
        return _Class(((_ESCAPES[char], _ESCAPES[char]),))

    def category_name(self) -> str:
        start = self.at
        end = self.text.find("}", start)
        if self.peek() != "{" or end < 0 or self.text[start + 1 : end] not in _CATEGORIES:
            raise Malformed(_WHERE, f"unknown category at {start}; they look like {{L}} or {{Lu}}")
        self.at = end + 1
        return self.text[start + 1 : end]

    def class_expression(self) -> _Class:
        start = self.at
        self.at += 1
        negated = self.accept("^")
        ranges: list[tuple[str, str]] = []
        categories: list[tuple[str, bool]] = []
        if self.accept("-"):
            ranges.append(("-", "-"))
        while self.peek() not in ("]", "-"):
            part = self.class_character()
            categories.extend(part.categories)
            if part.categories or not self.begins_range():
                ranges.extend(part.ranges)
            else:
                self.at += 1
                ranges.append(self.range_from(part))
        if self.accept("-"):
            ranges.append(("-", "-"))
        if self.peek() == "-":
            raise self.unexpected()
        if self.take() != "]":
            raise Malformed(_WHERE, f"- at {self.at - 2} is not first, last or between two characters")
        if not ranges and not categories:
            raise Malformed(_WHERE, f"empty class at {start}")
        return _Class(tuple(ranges), tuple(categories), negated)

    def begins_range(self) -> bool:
        """Whether the "-" here joins two characters, rather than being the last of its class."""
        return self.peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", "")

    def range_from(self, first: _Class) -> tuple[str, str]:
        at = self.at
        if self.peek() == "-":
            raise self.unexpected()
        last = self.class_character()
        if last.categories:
            raise Malformed(_WHERE, f"a category cannot end a range, at {at}")
        low, high = first.ranges[0][0], last.ranges[0][0]
        if high < low:
            raise Malformed(_WHERE, f"range that ends at {self.at} runs backwards")
        return low, high

    def class_character(self) -> _Class:
        if self.peek() == "\\":
            return self.escape()
        char = self.take()
        if char == "[":
            raise Malformed(_WHERE, f"[ in a class at {self.at - 1}; to mean itself it needs a \\")
        return _Class(((char, char),))


# The program, a Thompson automaton: at each place either a class to match (then on to the next place) or a
# fork, the places to try next. The place after the last one accepts.
_Fork = tuple[int, ...]
_Instruction = _Class | _Fork


def _size(node: _Node) -> int:
    """How many instructions `node` becomes; reckoned before any is made, so that nothing grows too large."""
    match node:
        case _Class():
            return 1
        case _Sequence(items):
            total = sum(map(_size, items))
        case _Choice(branches):
            total = sum(_size(b) + 2 for b in branches) - 2
        case _Repeat(item, least, most):
            one = _size(item)
            # A repeated nothing is nothing.
            total = one and (least * one + ((most - least) * (one + 1) if most is not None else one + 2))
    if total > PROGRAM_LIMIT:
        raise Malformed(_WHERE, f"becomes more than {PROGRAM_LIMIT} instructions; use smaller quantifiers")
    return total


def _emit(node: _Node, program: list[_Instruction]) -> None:
    match node:
        case _Class():
            program.append(node)
        case _Sequence(items):
            for item in items:
                _emit(item, program)
        case _Choice(branches):
            ends = []
            for branch in branches[:-1]:
                fork = len(program)
                program.append(())
                _emit(branch, program)
                ends.append(len(program))
                program.append(())
                program[fork] = (fork + 1, len(program))
            _emit(branches[-1], program)
            for end in ends:
                program[end] = (len(program),)
        case _Repeat(item, least, most):
            if _size(item) == 0:
                return
            for _ in range(least):
                _emit(item, program)
            if most is None:
                fork = len(program)
                program.append(())
                _emit(item, program)
                program.append((fork,))
                program[fork] = (fork + 1, len(program))
                return
            forks = []
            for _ in range(most - least):
                forks.append(len(program))
                program.append(())
                _emit(item, program)
            for fork in forks:
                program[fork] = (fork + 1, len(program))


class IRegexp:
    """A compiled pattern; Malformed if `pattern` is none of RFC 9485, or too large to follow."""

    __slots__ = ("_accept", "_next", "_program", "_start", "_states", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        node = _Parser(pattern).parse()
        _size(node)
        self._program: list[_Instruction] = []
        _emit(node, self._program)
        self._accept = len(self._program)
        # States seen so far, each the set of places that stand before a class, and the steps between them.
        self._states: dict[frozenset[int], frozenset[int]] = {}
        self._next: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._start = self._closure([0])

    def matches(self, value: str) -> bool:
        """Whether the whole of `value` is in the language; at most PROGRAM_LIMIT steps for each character."""
        state = self._start
        for char in value:
            step = self._next.get((state, char))
            if step is None:
                step = self._step(state, char)
            if not step:
                return False
            state = step
        return self._accept in state

    def _step(self, state: frozenset[int], char: str) -> frozenset[int]:
        following = []
        for place in state:
            instruction = self._program[place] if place < self._accept else None
            if isinstance(instruction, _Class) and instruction.contains(char):
                following.append(place + 1)
        step = self._closure(following)
        if len(self._next) >= _CACHE_LIMIT:  # values are a stranger's: what is kept of them is bounded
            self._next.clear()
            self._states.clear()
        self._next[state, char] = step
        return step

    def _closure(self, places: list[int]) -> frozenset[int]:
        """Where one stands after all forks reachable from `places` have been followed."""
        seen = set(places)
        stack = list(places)
        standing = []
        while stack:
            place = stack.pop()
            instruction = self._program[place] if place < self._accept else None
            if isinstance(instruction, tuple):
                fresh = [p for p in instruction if p not in seen]
                seen.update(fresh)
                stack.extend(fresh)
            else:
                standing.append(place)
        state = frozenset(standing)
        # One object per state, so that looking up a step compares identities and reuses the cached hash.
        return self._states.setdefault(state, state)
