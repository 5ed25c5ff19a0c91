"""Promises read many at a time: those for the leaf, just as the ledger writes them and signed by it, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_bulk_signatures import AVAILABLE

from ledger.core.encoding import b64url_encode
from ledger.core.errors import GlassbookError
from ledger.core.jose import sign_jws
from ledger.core.keys import Ed25519PrivateKey
from ledger.core.promise import TYP, Promise, PromiseForm, parse_promise, sign_promise
from ledger.vectors import Bulk, OneByOne

KEY, OTHER = Ed25519PrivateKey(b"\x05" * 32), Ed25519PrivateKey(b"\x06" * 32)
NOW = 1_782_997_000
ORIGINS = ["a", "ab", "abc", 'log.example/"quoted"\\', "log.example/é", "x" * 255, "A" * 100]
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
every = pytest.mark.parametrize("bulk", AVAILABLE, ids=lambda bulk: bulk.name)


def leaf(number: int) -> bytes:
    return bytes([number]) * 32


@every
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_a_good_promise_is_not_read(bulk: Bulk, origin: str, count: int) -> None:
    times = [(0, 9, NOW, NOW + 1, 2**53 - 1)[number % 5] for number in range(count)]
    leaves = [leaf(number) for number in range(count)]
    promises = [sign_promise(Promise(origin, *one), KEY) for one in zip(leaves, times, strict=True)]
    form = PromiseForm(origin, KEY.public)
    assert form.times(promises, leaves, bulk.verify_rows) == times
    assert form.times(promises, leaves, bulk.verify_rows) == times
    assert form.times(promises, [leaf(255)] * count, bulk.verify_rows) == [None] * count


def bad_promises() -> list[bytes]:
    """For leaf 3, and each not what the ledger would have written."""
    good = sign_promise(Promise("log.example/a", leaf(3), NOW), KEY)
    text = good.decode()
    header, payload, signature = text.split(".")
    last = ALPHABET[ALPHABET.index(text[-1]) + 1]
    as_text = f'{{"origin":"log.example/a","leaf":"{b64url_encode(leaf(3))}","accepted":%s}}'
    return [
        b"",
        b".",
        b"..",
        good[:-1],
        good + b"A",
        good + b"\n",
        good + b"=",
        text.replace(".", "", 1).encode(),
        f"{header}.{payload}!{signature}".encode(),
        f"{text[:-1]}{last}".encode(),  # the same bytes, in a spelling that is not canonical
        f"{header}.{payload}.{'A' * 86}".encode(),
        f"{header}.{payload}.{'é' * 86}".encode(),
        sign_promise(Promise("log.example/b", leaf(3), NOW), KEY),
        sign_promise(Promise("log.example/a", leaf(4), NOW), KEY),
        sign_promise(Promise("log.example/a", leaf(3), NOW), OTHER),
        *(
            sign_jws((as_text % number).encode(), TYP, KEY).encode()
            for number in ("-1", "01", "1.0", "1e9", "true", str(2**53), str(NOW) + " ", str(NOW) + ',"x":1')
        ),
        sign_jws((as_text % NOW).encode(), "glassbook-receipt+jws", KEY).encode(),
    ]


@every
def test_a_promise_that_is_none_is_read_or_hides_among_good_ones(bulk: Bulk) -> None:
    form = PromiseForm("log.example/a", KEY.public)
    good = [sign_promise(Promise("log.example/a", leaf(number), NOW), KEY) for number in range(10)]
    leaves = [leaf(number) for number in range(10)]
    for bad in bad_promises():
        promises = [*good[:3], bad, *good[4:]]
        expected = [NOW if number != 3 else None for number in range(10)]
        assert form.times(promises, leaves, bulk.verify_rows) == expected, bad


def test_what_is_good_in_another_form_is_left_to_the_parser() -> None:
    spaced = f'{{"accepted": {NOW}, "leaf":"{b64url_encode(leaf(3))}","origin":"log.example/a"}}'
    promise = sign_jws(spaced.encode(), TYP, KEY).encode()
    assert parse_promise(promise, "log.example/a", KEY.public).accepted == NOW
    form = PromiseForm("log.example/a", KEY.public)
    assert form.times([promise], [leaf(3)], OneByOne().verify_rows) == [None]


@settings(deadline=None)
@given(st.sampled_from(ORIGINS), st.integers(0, 2**53 - 1), st.data())
def test_an_altered_promise_is_read(origin: str, accepted: int, data: st.DataObject) -> None:
    promise = bytearray(sign_promise(Promise(origin, leaf(3), accepted), KEY))
    for _ in range(data.draw(st.integers(0, 2))):
        promise[data.draw(st.integers(0, len(promise) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del promise[data.draw(st.integers(0, len(promise) - 1))]
    (found,) = PromiseForm(origin, KEY.public).times([bytes(promise)], [leaf(3)], OneByOne().verify_rows)
    try:
        read = parse_promise(bytes(promise), origin, KEY.public)
    except GlassbookError:
        assert found is None
    else:
        assert found == read.accepted and read.leaf == leaf(3)
