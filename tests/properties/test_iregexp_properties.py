"""I-Regexp against Python's own engine, on patterns that mean the same to both."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import Malformed
from ledger.core.iregexp import IRegexp

atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "[a-c]", r"\.", "[a-]", "[^-b]", "", "é", r"\n"])
quantifiers = st.sampled_from(["", "", "*", "+", "?", "{2}", "{0}", "{1,2}", "{0,3}", "{2,}", "{0,}"])
pieces = st.builds("({}){}".format, atoms, quantifiers)
patterns = st.recursive(
    pieces,
    lambda inner: st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("{}|{}".format, inner, inner),
        st.builds("({}){}".format, inner, quantifiers),
    ),
    max_leaves=6,
)
values = st.text(st.sampled_from("abc.-é\n\r"), max_size=8)


def python_pattern(pattern: str) -> str:
    """RFC 9485 §5.3 and §5.4: an unescaped dot outside classes leaves out both line ends, groups need no capture."""
    return pattern.replace(r"\.", "\0").replace(".", "[^\n\r]").replace("\0", r"\.").replace("(", "(?:")


@given(patterns, values)
def test_both_engines_agree(pattern: str, value: str) -> None:
    expected = re.fullmatch(python_pattern(pattern), value) is not None
    regexp = IRegexp(pattern)
    assert regexp.matches(value) is expected
    assert regexp.matches(value) is expected  # again, now from what the first match left in the cache


@given(st.text(max_size=30), values)
def test_any_text_is_a_pattern_or_malformed(pattern: str, value: str) -> None:
    try:
        regexp = IRegexp(pattern)
    except Malformed:
        return
    regexp.matches(value)


@given(st.text(st.sampled_from(r"()[]{}|*+?.\^-,09azpPLu"), max_size=14), values)
def test_any_text_of_metacharacters_is_a_pattern_or_malformed(pattern: str, value: str) -> None:
    try:
        regexp = IRegexp(pattern)
    except Malformed:
        return
    regexp.matches(value)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_escaped_text_matches_itself_alone(text: str) -> None:
    pattern = "".join("\\" + c if c in r"()*+-.?[\]^{|}" else c for c in text)
    assert IRegexp(pattern).matches(text)
    assert not IRegexp(pattern).matches(text + "x")
