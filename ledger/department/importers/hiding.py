"""Keeping a person's identifiers out of every claim but `subject`: claims are shown one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

LEFT_OUT = "…"


def folded(words: Iterable[str]) -> tuple[str, ...]:
    """Words to look for, case folded, the longest first."""
    return tuple(sorted({word.casefold() for word in words if word}, key=lambda word: (-len(word), word)))


def names(text: str, words: tuple[str, ...]) -> bool:
    """Whether one of the words, case folded, stands in the text by itself, not as part of a longer one."""
    return any(True for _ in _places(text.casefold(), words))


def without(text: str, words: tuple[str, ...]) -> str:
    """The text with `…` wherever one of the words stands by itself."""
    if not names(text, words):
        return text
    if len(text.casefold()) != len(text):
        return LEFT_OUT  # places in the folded text are not those in this one
    out, at = [], 0
    for start, end in sorted(_places(text.casefold(), words)):
        if start >= at:
            out += [text[at:start], LEFT_OUT]
        at = max(at, end)
    return "".join([*out, text[at:]])


def _places(text: str, words: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for word in words:
        at = text.find(word)
        while at >= 0:
            end = at + len(word)
            if not text[at - 1 : at].isalnum() and not text[end : end + 1].isalnum():
                yield at, end
            at = text.find(word, at + 1)
