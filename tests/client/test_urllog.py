"""A server that does anything it likes can waste a little time, and nothing else. Over real sockets."""

import gzip
import json
import time
from collections.abc import Callable, Iterator

import pytest
from logfactory import NOW, LogFactory
from logserver import (
    Handler,
    LogServer,
    cut_gzip,
    endless,
    gzip_bomb,
    huge_header,
    redirect_loop,
    slow_body,
    wrong_length,
)

from ledger.client.bounded import BoundedHttp
from ledger.client.openlog import open_log
from ledger.client.publiclog import Unreachable
from ledger.client.register import read_register
from ledger.client.urllog import UrlLog
from ledger.client.view import View
from ledger.core.encoding import b64encode
from ledger.core.errors import BadSignature, GlassbookError, Malformed, ProofRefuted, QuorumNotMet, RuleBroken
from ledger.core.keys import MLDSA44PrivateKey
from ledger.core.note import MLDSASigner
from ledger.core.tiles import ENTRIES, Tile, decode_bundle


@pytest.fixture
def log() -> LogFactory:
    log = LogFactory()
    source = log.add_source()
    for _ in range(3):
        log.access(source)
    return log


@pytest.fixture
def server(log: LogFactory) -> Iterator[LogServer]:
    with LogServer(log) as server:
        yield server


@pytest.fixture
def client(server: LogServer) -> Iterator[UrlLog]:
    client = UrlLog(server.url, answer_seconds=2.0)
    yield client
    client.close()


def _view(client: UrlLog) -> View:
    return View.open(client, LogFactory().policy(), NOW)


def test_a_log_read_by_url_gives_register_entries_and_envelopes(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    view = _view(client)
    whole = read_register(view)
    assert list(whole.register.sources) == [1] and not whole.broken
    assert view.entries([2]) == {2: log.entries[2]}
    stream = log.stream(log.sources[0], "nhs:9434765919", 2026)
    given = view.log.envelopes([stream.fetch_token(n) for n in (3, 4, 1)])
    assert given == [log.envelopes[stream.deposited(3)], None, log.envelopes[stream.deposited(1)]]


def test_labels_and_tokens_are_in_no_url_and_no_request_line(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    view = _view(client)
    label, token = bytes(range(32)), bytes(range(32, 64))
    view.proofs([label])
    view.log.envelopes([token])
    lines = " ".join(server.request_lines)
    for secret in (label, token):
        assert secret.hex() not in lines and b64encode(secret) not in lines
    assert "POST /index/proofs" in lines and "POST /envelopes" in lines


def test_a_partial_tile_that_is_gone_is_cut_from_the_full_one(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    partial = Tile(0, 0, 4)
    hashes = client.tile(Tile(0, 0, log.size))
    server.files["tile/0/000"] = hashes + bytes(8192 - len(hashes))
    assert client.tile(partial) == hashes[: 4 * 32]
    full = log.entries[:6] + [b"x"] * 250
    server.files["tile/entries/000"] = b"".join(len(raw).to_bytes(2, "big") + raw for raw in full)
    assert decode_bundle(client.tile(Tile(ENTRIES, 0, 4)), 4, "bundle") == log.entries[:4]


def test_a_full_tile_that_is_gone_is_unreachable(client: UrlLog, server: LogServer) -> None:
    with pytest.raises(Unreachable, match="no such file"):
        client.tile(Tile(0, 7))


def _brotli(handler: Handler) -> None:
    handler.send(b"x", Content_Encoding="br")


def _to_file(handler: Handler) -> None:
    handler.send(b"", 302, Location="file:///etc/passwd")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (slow_body, "within|in time"),
        (endless, "longer than 1048576 bytes"),
        (gzip_bomb, "longer than 1048576 bytes"),
        (redirect_loop, "redirects"),
        (cut_gzip, "breaks off"),
        (huge_header, "cannot be reached"),
        (wrong_length, "cannot be reached"),
        (_brotli, "not asked for"),
        (_to_file, "not followed"),
        (404, "no such file"),
        (403, "answered 403"),
    ],
)
def test_an_answer_without_end_or_sense_is_unreachable_and_soon(
    client: UrlLog, server: LogServer, wrong: Callable[[Handler], None] | int, said: str
) -> None:
    server.wrong["checkpoint"] = wrong
    began = time.monotonic()
    with pytest.raises(Unreachable, match=said) as caught:
        client.checkpoint()
    assert time.monotonic() - began < 15
    assert server.url in str(caught.value)


def test_a_gzipped_answer_is_read(client: UrlLog, server: LogServer) -> None:
    note = server.note
    server.wrong["checkpoint"] = lambda handler: handler.send(gzip.compress(note), Content_Encoding="gzip")
    assert client.checkpoint() == note


def test_a_redirect_is_followed_for_files_but_never_with_labels(client: UrlLog, server: LogServer) -> None:
    note = server.note
    server.files["elsewhere"] = note
    server.wrong["checkpoint"] = lambda handler: handler.send(b"", 301, Location="/elsewhere")
    assert client.checkpoint() == note
    server.wrong["index/proofs"] = lambda handler: handler.send(b"", 307, Location="/elsewhere")
    with pytest.raises(Unreachable, match="answered 307"):
        client.index_proofs([bytes(32)])


def test_busy_answers_are_asked_again_as_told() -> None:
    waits: list[float] = []
    http = BoundedHttp(attempts=3, sleep=waits.append)
    with LogServer(LogFactory()) as server:
        server.wrong["checkpoint"] = lambda handler: handler.send(b"", 503, Retry_After="2")
        with pytest.raises(Unreachable, match="503 again and again"):
            http.get(server.url + "checkpoint", 100)
    http.close()
    assert len(waits) == 2 and all(2.0 <= seconds <= 2.25 for seconds in waits)


def test_without_a_wish_the_waits_grow_and_differ() -> None:
    waits: list[float] = []
    http = BoundedHttp(attempts=4, sleep=waits.append)
    with LogServer(LogFactory()) as server:
        server.wrong["checkpoint"] = 502
        with pytest.raises(Unreachable, match="502 again and again"):
            http.get(server.url + "checkpoint", 100)
    http.close()
    assert all(
        start <= seconds <= start + 0.25 for start, seconds in zip((0.25, 0.5, 1.0), waits, strict=True)
    )


@pytest.mark.parametrize("asked", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_server_that_wants_to_be_left_alone_for_long_is_not_waited_for(asked: str) -> None:
    waits: list[float] = []
    http = BoundedHttp(sleep=waits.append)
    with LogServer(LogFactory()) as server:
        server.wrong["checkpoint"] = lambda handler: handler.send(b"", 429, Retry_After=asked)
        with pytest.raises(Unreachable, match="asks to come back in"):
            http.get(server.url + "checkpoint", 100)
    http.close()
    assert waits == []


@pytest.mark.parametrize("asked", ["soon", "-1", "1e9", "", "Fri, 31 Dec 99999999 23:59:59 GMT"])
def test_a_wish_that_is_none_is_no_wish(asked: str) -> None:
    waits: list[float] = []
    http = BoundedHttp(attempts=2, sleep=waits.append)
    with LogServer(LogFactory()) as server:
        server.wrong["checkpoint"] = lambda handler: handler.send(b"", 503, Retry_After=asked)
        with pytest.raises(Unreachable):
            http.get(server.url + "checkpoint", 100)
    http.close()
    assert [0.25 <= seconds <= 0.5 for seconds in waits] == [True]


def test_a_server_that_is_not_there_is_unreachable() -> None:
    http = BoundedHttp(attempts=2, sleep=lambda seconds: None)
    with pytest.raises(Unreachable, match="cannot be reached"):
        http.get("http://127.0.0.1:9/checkpoint", 100)
    http.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"checkpoint": 1}',
        b'{"checkpoint": "x", "index_root": {"entry": "", "proof": [1]}, "proofs": []}',
        b'{"checkpoint": "x", "index_root": {"entry": "", "proof": []}, "proofs": []}',
        b'{"checkpoint": "x", "index_root": {"entry": "=", "proof": []}, "proofs": [""]}',
        b'{"checkpoint": "x", "checkpoint": "y", "index_root": {"entry": "", "proof": []}, "proofs": [""]}',
        bytes(1000),
    ],
)
def test_an_index_answer_of_another_form_is_malformed(
    client: UrlLog, server: LogServer, answer: bytes
) -> None:
    server.wrong["index/proofs"] = answer
    with pytest.raises(Malformed) as caught:
        client.index_proofs([bytes(32)])
    assert "index/proofs" in str(caught.value)


@pytest.mark.parametrize(
    "answer", [b"{}", b'{"envelopes": []}', b'{"envelopes": [1]}', b'{"envelopes": ["%"]}']
)
def test_an_envelope_answer_of_another_form_is_malformed(
    client: UrlLog, server: LogServer, answer: bytes
) -> None:
    server.wrong["envelopes"] = answer
    with pytest.raises(Malformed):
        client.envelopes([bytes(32)])


@pytest.mark.parametrize(
    "url", ["http://", "http://a:b@host/", "http://host/?q", "http://host/#f", "http://host:99999/"]
)
def test_a_url_that_could_hide_something_is_refused(url: str) -> None:
    with pytest.raises(Malformed, match="log URL"):
        open_log(url)


# -- answers of the right form that are not true --------------------------------------------------------


def test_a_checkpoint_without_quorum_is_refuted(client: UrlLog, server: LogServer) -> None:
    lines = server.note.decode().split("\n")
    server.wrong["checkpoint"] = "\n".join(lines[:-2] + [""]).encode()
    with pytest.raises(QuorumNotMet):
        _view(client)


def test_a_checkpoint_with_another_root_is_refuted(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    server.wrong["checkpoint"] = log.sign(log.size, bytes(32))
    with pytest.raises(ProofRefuted, match="do not fold"):
        _view(client).entries([0])


def test_a_truncated_tile_is_refuted(client: UrlLog, server: LogServer, log: LogFactory) -> None:
    path = Tile(0, 0, log.size).path
    server.wrong[path] = server.files[path][:-32]
    with pytest.raises(ProofRefuted, match="bytes, not"):
        _view(client).entries([0])


def test_another_entry_in_the_bundle_is_refuted(client: UrlLog, server: LogServer, log: LogFactory) -> None:
    path = Tile(ENTRIES, 0, log.size).path
    body = bytearray(server.files[path])
    body[-10] ^= 1
    server.wrong[path] = bytes(body)
    with pytest.raises(ProofRefuted, match=f"entry {log.size - 1}"):
        _view(client).proofs([bytes(32)])


def test_an_index_proof_of_another_label_is_refuted(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    true = log.index_answer([bytes(32), bytes([255]) * 32], server.note)
    true["proofs"].reverse()
    server.wrong["index/proofs"] = json.dumps(true).encode()
    with pytest.raises((ProofRefuted, Malformed)):
        _view(client).proofs([bytes(32), bytes([255]) * 32])


def test_index_proofs_under_another_index_root_are_refuted(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    answer = log.index_answer([bytes(32)], server.note)
    other = bytearray(log.entries[-1])
    other[50] ^= 1
    answer["index_root"]["entry"] = b64encode(bytes(other))
    server.wrong["index/proofs"] = json.dumps(answer).encode()
    with pytest.raises(ProofRefuted):
        _view(client).proofs([bytes(32)])


def test_a_stale_index_answer_says_to_begin_again(client: UrlLog, server: LogServer, log: LogFactory) -> None:
    stale = json.dumps(log.index_answer([bytes(32)], server.note)).encode()
    log.access(log.sources[0])
    server.refresh()
    server.wrong["index/proofs"] = stale
    with pytest.raises(GlassbookError, match="answers under size"):
        _view(client).proofs([bytes(32)])


def test_a_view_moves_on_before_its_first_answer_and_not_after(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    view = _view(client)
    old = view.size
    log.access(log.sources[0])
    server.refresh()
    view.proofs([bytes(32)])
    assert view.size == old + 2
    log.access(log.sources[0])
    server.refresh()
    with pytest.raises(GlassbookError, match="answers under size"):
        view.proofs([bytes([1]) * 32])


def test_a_last_leaf_that_is_no_index_root_is_refuted(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    log.note()
    log.access(log.sources[0])
    log.seal_batch = lambda: 0  # type: ignore[method-assign]
    server.refresh()
    with pytest.raises(RuleBroken, match="no index root"):
        _view(client).proofs([bytes(32)])


def test_a_log_signed_by_another_key_than_the_charters_is_refuted(
    client: UrlLog, server: LogServer, log: LogFactory
) -> None:
    log.mldsa_signer = MLDSASigner(log.origin, MLDSA44PrivateKey.from_seed32(bytes(32)))
    server.refresh()
    with pytest.raises(BadSignature, match="charter's key"):
        read_register(View.open(client, log.policy(), NOW))
