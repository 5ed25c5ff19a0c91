"""Bodies over the wire: one bad entry refuses itself, what is too much is refused whole, nothing is guessed."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from livelog import NOON, LiveLedger, as_object, codes
from smallledger import envelope, record, submission

from ledger.core.encoding import b64encode
from ledger.core.errors import GlassbookError
from ledger.core.jose import parse_json
from ledger.service import body as bodies
from ledger.service.body import Submission, parse_document, parse_submission
from ledger.service.problems import Refusal, RequestRefused

NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLedger]:
    """One ledger for all of these: each test hands in entries of its own."""
    live = LiveLedger(tmp_path_factory.mktemp("bodies") / "home", lambda: NOON, wait_s=10)
    yield live
    live.close()


def good() -> dict[str, str]:
    return as_object(submission(record()))


def with_stray_bits(text: str) -> str:
    """The same bytes in base64 that is not canonical: stray bits before the padding."""
    assert text.endswith("=") and not text.endswith("==")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:-2] + alphabet[alphabet.index(text[-2]) | 1] + "="


def bad_lines() -> dict[str, bytes]:
    """Near-valid submissions of an otherwise good record."""
    item = good()
    text = json.dumps(item)
    whole = {**item}
    return {
        "half a line": text[: len(text) // 2].encode(),
        "an empty line": b"",
        "a line of zeros": bytes(100),
        "an array": b"[]",
        "a number": b"17",
        "a number too large": b'{"entry":1' + b"0" * 400 + b"}",
        "a wrong type": json.dumps(whole | {"entry": [1]}).encode(),
        "null for an absent member": json.dumps(whole | {"envelope": None}).encode(),
        "an unknown member": json.dumps(whole | {"label": "x"}).encode(),
        "a member named twice": (text[:-1] + f', "entry": "{item["entry"]}"}}').encode(),
        "a member named twice by an escape": (text[:-1] + f', "\\u0065ntry": "{item["entry"]}"}}').encode(),
        "a member in capitals": json.dumps({"Entry": item["entry"]}).encode(),
        "no entry": json.dumps({"envelope": item["envelope"], "fetch": item["fetch"]}).encode(),
        "base64 with stray bits": json.dumps(whole | {"fetch": with_stray_bits(item["fetch"])}).encode(),
        "base64 without padding": json.dumps(whole | {"fetch": item["fetch"].rstrip("=")}).encode(),
        "base64 with a newline": json.dumps(whole | {"fetch": item["fetch"] + "\n"}).encode(),
        "base64 with a space": json.dumps(whole | {"fetch": " " + item["fetch"]}).encode(),
        "base64 of the URL kind": json.dumps(
            whole | {"fetch": base64.urlsafe_b64encode(b"\xff" * 32).decode()}
        ).encode(),
        "padding in the middle": json.dumps(whole | {"fetch": "AA==" + item["fetch"]}).encode(),
        "not UTF-8": text.encode()[:-1] + b"\xff}",
        "a byte order mark": b"\xef\xbb\xbf" + text.encode(),
        "two values": text.encode() + text.encode(),
        "a comment": text.encode() + b" // good",
        "NaN": b'{"entry": NaN}',
        "minus zero": b'{"entry": -0}',
        "an unpaired surrogate": b'{"entry": "\\ud800"}',
        "deep nesting": b'{"entry":' + b"[" * 5000 + b"]" * 5000 + b"}",
    }


@pytest.mark.parametrize("name", bad_lines())
def test_one_bad_line_refuses_itself_and_not_its_neighbours(live: LiveLedger, name: str) -> None:
    bad = bad_lines()[name]
    body = b"\n".join([json.dumps(good()).encode(), bad, json.dumps(good()).encode()]) + b"\n"
    answer = live.client.post("/v1/entries", content=body, headers=NDJSON)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert codes(results) == ["accepted", "malformed-entry", "accepted"]
    assert results[1]["problem"]["detail"]


NOT_JSON_AT_ALL = {
    "half a line", "an empty line", "a line of zeros", "not UTF-8", "a byte order mark", "two values", "a comment",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(bad_lines().keys() - NOT_JSON_AT_ALL))
def test_one_bad_element_refuses_itself_and_not_its_neighbours(live: LiveLedger, name: str) -> None:
    elements = [json.dumps(good()).encode(), bad_lines()[name], json.dumps(good()).encode()]
    body = b'{"entries": [' + b",".join(elements) + b"]}"
    answer = live.client.post("/v1/entries", content=body, headers=JSON)
    if name == "deep nesting":  # then the body is no JSON that anybody should read
        assert (answer.status_code, answer.json()["type"]) == (400, "urn:glassbook:problem:malformed-body")
        return
    assert codes(answer.json()["results"]) == ["accepted", "malformed-entry", "accepted"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(64),
        b"{",
        b"[]",
        b"{}",
        b'{"entries": {}}',
        b'{"entries": [], "more": 1}',
        b'{"entries": [], "entries": []}',
        b'{"entries": [], "\\u0065ntries": []}',
        b'{"entries": [NaN}',
        b'{"entries": [NaN,]}',
        b'{"entries": [NaN], "more": 1}',
        b'{"entries": []} ',
        b'\xef\xbb\xbf{"entries": []}',
    ],
)
def test_a_document_that_is_none_is_refused_as_a_whole(live: LiveLedger, body: bytes) -> None:
    answer = live.client.post("/v1/entries", content=body, headers=JSON)
    if body.endswith(b"} "):
        assert answer.json() == {"results": []}, "white space around it is JSON"
        return
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:glassbook:problem:malformed-body"


def test_escapes_and_white_space_mean_what_json_says(live: LiveLedger) -> None:
    item = good()
    text = (
        json.dumps(item, indent=1).replace("\n", " ").replace("/", "\\/").replace('"entry"', '"\\u0065ntry"')
    )
    answer = live.client.post("/v1/entries", content=f"  {text}\t\r\n".encode(), headers=NDJSON)
    assert codes([json.loads(answer.text)]) == ["accepted"]


def test_lines_may_end_in_cr_lf_and_the_last_in_nothing(live: LiveLedger) -> None:
    body = "\r\n".join(json.dumps(good()) for _ in range(3))
    answer = live.client.post("/v1/entries", content=body.encode(), headers=NDJSON)
    assert codes([json.loads(line) for line in answer.text.splitlines()]) == ["accepted"] * 3


def test_no_entries_are_no_error(live: LiveLedger) -> None:
    assert live.post() == []
    answer = live.client.post("/v1/entries", content=b"", headers=NDJSON)
    assert (answer.status_code, answer.content) == (200, b"")


def test_too_many_entries_are_refused_whole(live: LiveLedger) -> None:
    first = json.dumps(good()).encode()
    for body, headers in (
        (first + b"\n" * 10_001, NDJSON),
        (b'{"entries":[' + first + b",1" * 10_000 + b"]}", JSON),
        (b'{"entries":[' + first + b",1" * 100_000 + b"]}", JSON),
    ):
        answer = live.client.post("/v1/entries", content=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:glassbook:problem:too-many")
    assert codes([json.loads(first)] and live.post(json.loads(first))) == ["accepted"]


def test_ten_thousand_entries_are_taken(live: LiveLedger) -> None:
    body = b"{}\n" * 10_000
    answer = live.client.post("/v1/entries", content=body, headers=NDJSON)
    assert answer.text.count("malformed-entry") == 10_000


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_16_mib_is_refused_whether_its_length_is_said_or_not(
    live: LiveLedger, declared: bool
) -> None:
    body = b" " * ((16 << 20) + 1)
    content = body if declared else iter([body[: 8 << 20], body[8 << 20 :]])
    answer = live.client.post("/v1/entries", content=content, headers=NDJSON)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:glassbook:problem:too-large")


def test_a_submission_longer_than_any_can_be_is_not_even_taken_apart(live: LiveLedger) -> None:
    long = b'{"entry":"AA==",' * 20_000 + b'"entry":"AA=="}'
    body = b'{"entries":[' + long + b"," + json.dumps(good()).encode() + b"]}"
    answer = live.client.post("/v1/entries", content=body, headers=JSON)
    assert answer.status_code == 400, "this one is no JSON"
    long = b'{"entry":"' + b"A" * (1 << 18) + b'"}'
    body = b'{"entries":[' + long + b"," + json.dumps(good()).encode() + b"]}"
    answer = live.client.post("/v1/entries", content=body, headers=JSON)
    assert codes(answer.json()["results"]) == ["malformed-entry", "accepted"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_compressed_bodies_are_refused_before_they_are_unpacked(live: LiveLedger, encoding: str) -> None:
    bomb = gzip.compress(bytes(1 << 20))
    answer = live.client.post("/v1/entries", content=bomb, headers={**JSON, "Content-Encoding": encoding})
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_other_content_types_are_refused(live: LiveLedger, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    answer = live.client.post("/v1/entries", content=b'{"entries": []}', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (
        415,
        "urn:glassbook:problem:unsupported-media-type",
    )


def test_unknown_queries_methods_and_addresses_get_problems(live: LiveLedger) -> None:
    for answer, status in (
        (live.client.post("/v1/entries?wait=sequenced", json={"entries": []}), 400),
        (live.client.post("/v1/entries?wiat=published", json={"entries": []}), 400),
        (live.client.get("/v1/entries"), 405),
        (live.client.get("/v1/nothing"), 404),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status


submissions = st.fixed_dictionaries(
    {"entry": st.binary(max_size=200)},
    optional={"envelope": st.binary(max_size=200), "fetch": st.binary(max_size=40)},
)


@given(submissions, st.integers(0, 2), st.booleans())
def test_whatever_is_written_canonically_is_read_back(
    data: dict[str, bytes], spaces: int, reverse: bool
) -> None:
    members = [(name, b64encode(value)) for name, value in data.items()]
    text = json.dumps(dict(reversed(members) if reverse else members), indent=spaces or None)
    found = parse_submission(text.encode())
    assert found == Submission(data["entry"], data.get("envelope"), data.get("fetch"))


@given(st.lists(submissions, min_size=1, max_size=4), st.data())
def test_a_document_is_read_as_its_elements_are_one_by_one(
    items: list[dict[str, bytes]], draw: st.DataObject
) -> None:
    """The short way through a whole document and the way element by element never differ."""
    texts = [{name: b64encode(value) for name, value in item.items()} for item in items]
    text = json.dumps({"entries": texts}, separators=(",", ":"))
    if draw.draw(st.booleans()):
        at = draw.draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + draw.draw(st.sampled_from(['"', ",", "=", "A", " ", "}", "{", '"entry":"",', "\\u0041"]))
            + text[at:]
        )
    try:
        expected: object = [
            parse_submission(json.dumps(element, separators=(",", ":")).encode())
            for element in parse_json(text, "body")["entries"]
        ]
    except (GlassbookError, TypeError, KeyError):
        return  # no document of which all elements can be read one by one
    try:
        found: object = parse_document(text.encode())
    except RequestRefused:
        assert list(parse_json(text, "body")) != ["entries"]
        return
    assert found == expected


def read(text: bytes) -> object:
    """What a document is read as, or why it is refused."""
    try:
        return parse_document(text)
    except RequestRefused as refused:
        return refused.refusal


@settings(max_examples=400)
@given(st.tuples(*[st.integers(0, 9)] * 3), st.integers(bodies.MANY, bodies.MANY + 3), st.data())
def test_many_submissions_of_one_size_are_read_as_each_by_itself(
    sizes: tuple[int, int, int], count: int, draw: st.DataObject
) -> None:
    """The way that looks at all of them at once never differs from the one that looks at each, whatever one byte is."""
    names = ("entry", "envelope", "fetch")
    item = {name: b64encode(os.urandom(size)) for name, size in zip(names, sizes, strict=True)}
    items = [item | {"entry": b64encode(os.urandom(sizes[0]))} for _ in range(count)]
    text = json.dumps({"entries": items}, separators=(",", ":")).encode()
    at = draw.draw(st.integers(0, len(text) - 1))
    new = draw.draw(
        st.sampled_from([b"", b'"', b",", b"=", b"A", b"B", b"x", b" ", b"}", b'{"', text[at : at + 1]])
    )
    changed = text[:at] + new + text[at + 1 :]
    found = read(changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "MANY", 10**9)
        assert found == read(changed)


@given(submissions, st.data())
@example({"entry": b""}, None)
def test_a_changed_character_is_refused_or_changes_what_is_read(
    data: dict[str, bytes], draw: st.DataObject | None
) -> None:
    """No two different texts without white space or escapes give the same submission."""
    text = json.dumps({name: b64encode(value) for name, value in data.items()}, separators=(",", ":"))
    at = draw.draw(st.integers(0, len(text) - 1)) if draw else 0
    new = draw.draw(st.sampled_from('AB/+="{}:,xZ09-_')) if draw else "["
    changed = text[:at] + new + text[at + 1 :]
    found = parse_submission(changed.encode())
    if changed != text and not isinstance(found, Refusal):
        assert found != parse_submission(text.encode())


def test_the_envelope_that_was_accepted_first_stays(live: LiveLedger) -> None:
    from ledger.store import envelopes

    raw, fetch, first = record(), os.urandom(32), envelope()
    live.post(as_object(Submission(raw, first, fetch)))
    assert codes(live.post(as_object(Submission(raw, envelope(), fetch)))) == ["accepted"]
    with live.small.store.read() as db:
        assert envelopes.find_envelopes(db, [fetch]) == [first]


@pytest.mark.parametrize(
    "body", [b'{"entries":[],"label":1}', b'{"label":[]}', b'{"entries":[],"entries":[]}']
)
def test_a_body_with_other_members_is_told_which_one_it_takes(body: bytes) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse_document(body)
    assert "entries" in refused.value.refusal.detail and "envelope" not in refused.value.refusal.detail
