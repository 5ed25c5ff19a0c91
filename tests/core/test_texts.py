"""Language tags, language maps, URLs, IRIs and origins: the table of near misses."""

from typing import Any

import pytest

from ledger.core.errors import Malformed
from ledger.core.texts import check_iris, check_language_map, check_origin, check_url, is_language_tag

# RFC 5646, appendix A, and what the ABNF allows beyond.
TAGS = [
    "de",
    "fr",
    "ja",
    "i-enochian",
    "zh-Hant",
    "zh-Hans",
    "sr-Cyrl",
    "sr-Latn",
    "zh-cmn-Hans-CN",
    "cmn-Hans-CN",
    "zh-yue-HK",
    "yue-HK",
    "sr-Latn-RS",
    "sl-rozaj",
    "sl-rozaj-biske",
    "sl-nedis",
    "de-CH-1901",
    "sl-IT-nedis",
    "hy-Latn-IT-arevela",
    "de-DE",
    "en-US",
    "es-419",
    "de-CH-x-phonebk",
    "az-Arab-x-AZE-derbend",
    "x-whatever",
    "qaa-Qaaa-QM-x-southern",
    "de-Qaaa",
    "sr-Latn-QM",
    "sr-Qaaa-RS",
    "en-US-u-islamcal",
    "zh-CN-a-myext-x-private",
    "en-a-myext-b-another",
    "EN",
    "en-GB-oed",
    "SGN-BE-FR",
    "art-lojban",
    "zh-min-nan",
    "zh-aaa-bbb-ccc",
    "root",
    "abcdefgh",
    "en-0-ab",
    "x-1",
    "cy",
    "en-a-xx-b-yy-x-a-a",
    "x-a-a",
]
NO_TAGS = [
    "", "e", "a-DE", "de-419-DE", "en_GB", "english_", "abcdefghi", "en-", "-en", "en--GB", "en-a", "en-x", "x", "x-",
    "x-123456789", "en-a-b", "zh-aaa-bbb-ccc-ddd", "1en", "en-GB-GB", "de-1", "i-unknown", "en GB", " en", "en\n",
    "ſl", "e\u212a", "è", "en-a-xx-b-yy-a-zz", "en-a-xx-A-yy", "de-u-co-u-nu-x-u",
]  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
def test_language_tag_is_well_formed(tag: str) -> None:
    assert is_language_tag(tag)


@pytest.mark.parametrize("tag", NO_TAGS)
def test_near_language_tag_is_refused(tag: str) -> None:
    assert not is_language_tag(tag)


@pytest.mark.parametrize(
    "value", [{}, [], None, "text", {"en": ""}, {"en": None}, {"en": ["x"]}, {"": "x"}, {"en_GB": "x"}]
)
def test_language_map_without_language_or_text_is_refused(value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        check_language_map(value, "source 1 version 0 system")
    assert caught.value.where == "source 1 version 0 system"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/",
        "mailto:a@b.example",
        "tel:+44",
        "https://[::1]/%7e?a=b#c",
        "HTTPS://A",
        "https://größe.example/é",
        "https://a.example/{id}",
        "https://a.example/100%",
        "urn:x",
    ],
)
def test_url_is_accepted(url: str) -> None:
    assert check_url(url, "contact") == url


@pytest.mark.parametrize(
    "url",
    ["", "a.example", "//a.example/", "/path", "https:", ":a", "1a:b", "a b:c", "https://a b", "https://a\n", "https://a\x00",
     "https://a\u00a0b", "https://a\u2028", "é://a", "\u212a:a", None, 5, ["https://a"]],
)  # fmt: skip
def test_near_url_is_refused(url: Any) -> None:
    with pytest.raises(Malformed, match="URL"):
        check_url(url, "contact")


def test_iris_may_hold_letters_beyond_ascii() -> None:
    assert check_iris(["https://w3id.org/dpv#é"], "data") == ("https://w3id.org/dpv#é",)
    assert check_iris([], "data") == ()


@pytest.mark.parametrize(
    "value",
    [None, "https://a", {}, [1], [None], ["no scheme"], ["a:"], ["https://a b"], ["https://a\u00a0b"]],
)
def test_near_list_of_iris_is_refused(value: Any) -> None:
    with pytest.raises(Malformed, match="IRI"):
        check_iris(value, "data")


@pytest.mark.parametrize(
    "origin",
    ["", "a b", "a+b", "a\n", "a\x7f", "a\u00a0b", "a" * 256, "é" * 128, "https://a", "a\udc80", None, 7],
)
def test_near_origin_is_refused(origin: Any) -> None:
    with pytest.raises(Malformed, match="origin"):
        check_origin(origin, "charter")


@pytest.mark.parametrize(
    "origin", ["a", "log.example.gov/access/2026", "localhost:8080/x?y=z", "größe.example/é", "a" * 255]
)
def test_origin_may_be_any_url_without_scheme_of_at_most_255_bytes(origin: str) -> None:
    assert check_origin(origin, "charter") == origin
