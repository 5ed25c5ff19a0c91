"""I-Regexp: one reading for every pattern, and no pattern that makes a reader hang."""

import re

import pytest

from ledger.core.errors import Malformed
from ledger.core.iregexp import PROGRAM_LIMIT, IRegexp

MATCHES = [
    # pattern, matched, not matched
    ("", [""], ["a"]),
    ("a|", ["", "a"], ["b"]),
    ("()", [""], ["a"]),
    ("(a|b|)c", ["ac", "bc", "c"], ["", "abc"]),
    ("a{0}", [""], ["a"]),
    ("a{2}", ["aa"], ["a", "aaa"]),
    ("a{002}", ["aa"], ["a"]),
    ("a{1,}", ["a", "aaaa"], [""]),
    ("a{0,2}", ["", "a", "aa"], ["aaa"]),
    ("(ab){2,3}", ["abab", "ababab"], ["ab", "abababab", "aba"]),
    ("(a*)*", ["", "aaa"], ["b"]),
    ("(a?){3}", ["", "a", "aaa"], ["aaaa"]),
    ("(a*b?)*c", ["c", "aabac"], ["", "ab"]),
    (".", ["x", "é", "𝔘", "\t"], ["\n", "\r", "", "xy"]),
    ("[.]", ["."], ["x"]),
    ("[^a]", ["b", "\n"], ["a", ""]),
    ("[-]", ["-"], ["a"]),
    ("[--]", ["-"], ["a"]),
    ("[^-]", ["a"], ["-"]),
    ("[a-c-]", ["b", "-"], ["d"]),
    ("[a^]", ["a", "^"], ["b"]),
    ("[^^]", ["a"], ["^"]),
    ("[(|)*+?{}.$]", list("(|)*+?{}.$"), ["a"]),
    (r"[\[\]\\\-\^]", list("[]\\-^"), ["a"]),
    (r"[\n-\r]", ["\n", "\r", "\x0b"], ["\t"]),
    (r"\n\r\t", ["\n\r\t"], ["nrt"]),
    (r"\(\)\*\+\-\.\?\[\\\]\^\{\|\}", ["()*+-.?[\\]^{|}"], [""]),
    ("^$", ["^$"], [""]),
    ("a-b,c/:;<=>@_`~!\"#%&'", ["a-b,c/:;<=>@_`~!\"#%&'"], ["a"]),
    (r"\p{L}", ["a", "é", "中"], ["1", " "]),
    (r"\P{L}", ["1", " "], ["a"]),
    (r"\p{Cn}", ["\u0378"], ["a"]),
    (r"[\p{Lu}\p{Nd}]", ["A", "7"], ["a"]),
    (r"[^\p{L}x]", ["1"], ["a", "x"]),
    (r"[\P{L}a]", ["1", "a"], ["b"]),
    (r"[\p{L}-]", ["a", "-"], ["1"]),
    ("[À-ÿ]", ["é"], ["e"]),
]

REFUSED = [
    # pattern, what the message says, where
    ("a{", "number of a quantifier", "2"),
    ("a{}", "number of a quantifier", "2"),
    ("a{,3}", "number of a quantifier", "2"),
    ("a{1", "}", "3"),
    ("a{1,", "number of a quantifier", "4"),
    ("a{1;2}", "}", "3"),
    ("a{-1}", "number of a quantifier", "2"),
    ("a{1}{2}", "{", "4"),
    ("a{3,2}", "from 3 down to 2", "6"),
    ("{1}", "{", "0"),
    ("}", "}", "0"),
    ("]", "]", "0"),
    ("a??", "?", "2"),
    ("|*", "*", "1"),
    ("(*)", "*", "1"),
    ("((a)", ")", "4"),
    ("(a))", ")", "3"),
    ("[^]", "empty class", "0"),
    ("[]a]", "empty class", "0"),
    ("[z-a]", "backwards", "4"),
    ("[a--]", "-", "3"),
    ("[---]", "-", "3"),
    ("[a-b-c]", "-", "4"),
    (r"[\p{L}-z]", "-", "6"),
    (r"[a-\p{L}]", "category", "3"),
    ("[a[b]", "[", "2"),
    ("[a", "ends there", "2"),
    ("[a-", "ends there", "3"),
    ("[", "ends there", "1"),
    ("[\\", "ends there", "2"),
    (r"[\d]", r"\d", "1"),
    (r"\s", r"\s", "0"),
    (r"\$", r"\$", "0"),
    (r"\/", r"\/", "0"),
    (r"\p", "category", "2"),
    (r"\p{", "category", "2"),
    (r"\p{L", "category", "2"),
    (r"\pL", "category", "2"),
    (r"\p{}", "category", "2"),
    (r"\p{l}", "category", "2"),
    (r"\p{Cs}", "category", "2"),
    (r"\p{LU}", "category", "2"),
    (r"\p{IsLu}", "category", "2"),
    (r"\p{^Lu}", "category", "2"),
    ("(?=a)", "?", "1"),
    ("(?P<n>a)", "?", "1"),
    ("\ud800", "surrogate", ""),
]


@pytest.mark.parametrize(("pattern", "matched", "not_matched"), MATCHES)
def test_pattern_means_what_rfc_9485_says(pattern: str, matched: list[str], not_matched: list[str]) -> None:
    regexp = IRegexp(pattern)
    assert [value for value in matched if not regexp.matches(value)] == []
    assert [value for value in not_matched if regexp.matches(value)] == []


@pytest.mark.parametrize(("pattern", "what", "at"), REFUSED)
def test_near_miss_is_refused_with_its_place(pattern: str, what: str, at: str) -> None:
    with pytest.raises(Malformed) as caught:
        IRegexp(pattern)
    assert what in caught.value.what
    assert re.search(rf"\b{at}\b", caught.value.what) or not at


@pytest.mark.parametrize(
    "pattern",
    [
        "(((a{99}){99}){99}){99}",
        "(((a{0,99}){0,99}){0,99}){0,99}",
        f"a{{{PROGRAM_LIMIT + 1}}}",
        "a{" + "9" * 10_000 + "}",
        "a" * (PROGRAM_LIMIT + 1),
        "(" * 10_000 + ")" * 10_000,
        "(" * 101 + ")" * 101,
    ],
)
def test_pattern_that_would_grow_without_bound_is_refused(pattern: str) -> None:
    with pytest.raises(Malformed):
        IRegexp(pattern)


@pytest.mark.parametrize("pattern", ["((){4000}){4000}", "((|){1000}|)*", "(((((a*)*)*)*)*)*"])
def test_repeated_nothing_stays_small(pattern: str) -> None:
    regexp = IRegexp(pattern)
    assert regexp.matches("")
    assert not regexp.matches("b")


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+b", "(.*)(.*)(.*)(.*)(.*)b", "(a?){60}a{60}b"]
)
def test_pattern_that_makes_backtracking_explode_is_matched_in_linear_time(pattern: str) -> None:
    # A backtracking matcher needs longer than the test's time limit for any of these.
    regexp = IRegexp(pattern)
    assert not regexp.matches("a" * 5_000)
    assert regexp.matches("a" * 100 + "b")


def test_memory_of_values_seen_is_bounded() -> None:
    regexp = IRegexp(".*")
    for code in range(0x4E00, 0x4E00 + 3 * 4096):
        assert regexp.matches(chr(code))
    assert len(regexp._next) <= 4096
