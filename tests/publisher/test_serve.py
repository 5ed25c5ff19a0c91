"""The public HTTP side: what is answered, under which checkpoint, and what is refused."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn
from smalllog import LOG_VKEYS, NOW, ORIGIN, SmallLog

from ledger.core.encoding import b64decode, b64encode, sha256
from ledger.core.entries import IndexRoot, decode_entry, index_label, registry_index_label
from ledger.core.index import check_index_proof
from ledger.core.merkle import check_inclusion, leaf_hash, root_from_inclusion
from ledger.publicfiles import Folder
from ledger.store import StoreBusy, inbox, recents
from ledger.store.log import read_entries
from publisher.run import Publisher
from publisher.serve import MAX_BODY, MAX_TOKENS, Site, public_app


class Public:
    """A log with its publisher, and a client of its public side."""

    def __init__(self, small: SmallLog) -> None:
        self.small = small
        self.publisher: Publisher = small.publisher()
        site = Site(
            small.store,
            Folder(small.public),
            small.published,
            ORIGIN,
            LOG_VKEYS,
            lambda: (small.home / "policy.txt").read_text(),
            lambda: self.publisher.status,
        )
        bound = socket.create_server(("127.0.0.1", 0))
        self.port = int(bound.getsockname()[1])
        config = uvicorn.Config(
            public_app(site),
            access_log=False,
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [bound]}, daemon=True)
        self._thread.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=60)

    def begin_to_end(self) -> None:
        """Without waiting for it, which `close` does."""
        self._server.should_exit = True

    def close(self) -> None:
        self.client.close()
        self.begin_to_end()
        self._thread.join(10)

    def labels(self, start: int, stop: int) -> list[bytes]:
        with self.small.store.read() as db:
            labels = [index_label(decode_entry(raw)) for raw in read_entries(db, start, stop)]
        return [label for label in labels if label is not None]

    def prove(self, labels: list[bytes]) -> list[int | None]:
        """Ask for index proofs and check them from the policy on, as a reader does."""
        answer = self.client.post("/index/proofs", json={"labels": [b64encode(label) for label in labels]})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert list(found) == ["checkpoint", "index_root", "proofs"]
        opened = self.small.policy().open(found["checkpoint"].encode(), int(self.small.clock()))
        assert found["checkpoint"] == self.client.get("/checkpoint").text
        size, root = opened.checkpoint.size, opened.checkpoint.root
        raw = b64decode(found["index_root"]["entry"], "entry")
        path = [b64decode(step, "path") for step in found["index_root"]["proof"]]
        check_inclusion(leaf_hash(raw), size - 1, size, root, path)
        assert root_from_inclusion(leaf_hash(raw), size - 1, size, path) == root
        index_root = decode_entry(raw)
        assert isinstance(index_root, IndexRoot) and index_root.covers == size - 1
        return [
            check_index_proof(index_root.index_root, size - 1, label, b64decode(proof, "proof"))
            for label, proof in zip(labels, found["proofs"], strict=True)
        ]


@pytest.fixture
def public(small: SmallLog) -> Iterator[Public]:
    public = Public(small)
    assert public.publisher.round()
    yield public
    public.close()


def test_proofs_stand_under_the_published_root_while_the_log_is_ahead(public: Public) -> None:
    charter = registry_index_label(0, 0)
    assert public.prove([charter]) == [0]
    for count in (1, 40, 300):
        before = public.small.append(count) - count - 1
        labels = public.labels(before, before + count)
        assert public.prove([charter, *labels]) == [0, *[None] * count], "sequenced is not published"
        assert public.publisher.round()
        assert public.prove([charter, *labels]) == [0, *range(before, before + count)]
        assert public.prove([os.urandom(32)]) == [None]


def test_proofs_are_right_after_a_restart_in_the_middle(public: Public) -> None:
    public.small.append(500)
    assert public.publisher.round()
    public.small.append(700)
    again = Public(public.small)
    assert again.publisher.round()
    labels = again.labels(2, 502)
    assert again.prove(labels) == list(range(2, 502))
    assert again.prove(again.labels(503, 1203)) == list(range(503, 1203))
    again.close()


def test_a_restart_serves_proofs_of_what_is_published_before_anything_new_is(public: Public) -> None:
    public.small.append(5)
    public.small.witnesses[0].stop()
    again = Public(public.small)
    assert not again.publisher.round()
    assert again.prove(again.labels(2, 7)) == [None] * 5
    again.close()


def test_an_index_that_is_not_the_published_one_is_never_proved_from(public: Public) -> None:
    public.small.append(5)
    assert public.publisher.round()
    with public.small.store.write() as db:
        recents.forget(db, 4)
    labels = [b64encode(label) for label in public.labels(4, 5)]
    answer = public.client.post("/index/proofs", json={"labels": labels})
    assert answer.status_code == 503 and "is not the published one" in answer.json()["detail"]


def test_before_the_first_checkpoint_nothing_is_claimed(small: SmallLog) -> None:
    public = Public(small)
    assert public.client.get("/checkpoint").status_code == 404
    answer = public.client.post("/index/proofs", json={"labels": []})
    assert answer.status_code == 503 and answer.json()["type"] == "urn:glassbook:problem:not-published"
    assert public.client.get("/readyz").status_code == 503
    public.close()


def test_envelopes_come_in_order_for_tokens_and_null_for_others(public: Public) -> None:
    tokens = [os.urandom(32) for _ in range(250)]
    with public.small.store.write() as db:
        rows = inbox.Arrivals()
        for at, token in enumerate(tokens):
            name = b"%d" % at
            rows.add(name, sha256(b"label" + token), sha256(b"leaf" + token), name, sha256(token))
        inbox.put(db, inbox.next_number(db), rows)
    stranger = os.urandom(32)
    asked = [*reversed(tokens), stranger, tokens[0], sha256(tokens[1])]
    answer = public.client.post("/envelopes", json={"tokens": [b64encode(token) for token in asked]})
    found = [None if text is None else b64decode(text, "envelope") for text in answer.json()["envelopes"]]
    assert found == [*[b"%d" % at for at in reversed(range(250))], None, b"0", None]
    assert public.client.post("/envelopes", json={"tokens": []}).json() == {"envelopes": []}
    assert answer.headers["cache-control"] == "no-store"


BAD_BODIES: list[tuple[bytes, int]] = [
    (b"", 400),
    (b"[]", 400),
    (b"{}", 400),
    (b'{"labels": 1}', 400),
    (b'{"labels": [1]}', 400),
    (b'{"labels": ["AAAA"]}', 400),
    (b'{"labels": ["' + b"A" * 42 + b'B="]}', 400),
    (b'{"labels": [], "labels": []}', 400),
    (b'{"labels": [], "more": 1}', 400),
    (b'{"labels": [' + b"[" * 5000, 400),
    (b"\xff\xfe", 400),
    (b'{"labels": [' + b",".join([b'""'] * 10_001) + b"]}", 413),
    (b" " * (MAX_BODY + 1), 413),
]


def test_a_body_that_is_not_what_the_call_takes_is_refused(public: Public) -> None:
    for body, status in BAD_BODIES:
        answer = public.client.post("/index/proofs", content=body)
        assert answer.status_code == status, body[:50]
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) == {"type", "title", "status", "detail"}
        assert len(answer.content) < 1000, "what was sent is not sent back"


def test_ten_thousand_labels_are_taken_at_once(public: Public) -> None:
    labels = [os.urandom(32) for _ in range(10_000)]
    assert public.prove(labels) == [None] * 10_000
    answer = public.client.post("/envelopes", json={"tokens": [b64encode(label) for label in labels]})
    assert len(answer.json()["envelopes"]) == MAX_TOKENS


NO_TILES = [
    "/tile/0/000",
    "/tile/0/000.p/02",
    "/tile/0/000.p/256",
    "/tile/00/000.p/2",
    "/tile/0/000.p/2/",
    "/tile/../checkpoint",
    "/tile/..%2f..%2fkeys%2fsigned",
    "/tile/%2e%2e/%2e%2e/keys/signed",
    "/tile//etc/passwd",
    "/.part/0",
    "/policy.txt",
]


def test_nothing_but_tiles_is_found_below_tile(public: Public) -> None:
    for path in NO_TILES:
        plain = http.client.HTTPConnection("127.0.0.1", public.port)  # httpx would tidy the path up
        plain.request("GET", path)
        answer = plain.getresponse()
        assert answer.status == 404, path
        assert answer.getheader("cache-control") == "no-store", "a tile that is not there yet will be"
        plain.close()


def test_files_may_be_kept_for_ever_and_the_checkpoint_not_at_all(public: Public) -> None:
    tile = public.client.get("/tile/0/000.p/2")
    assert len(tile.content) == 64 and tile.headers["content-type"] == "application/octet-stream"
    assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert public.client.get("/tile/entries/000.p/2").content[2:].startswith(public.small.charter)
    checkpoint = public.client.get("/checkpoint")
    assert checkpoint.headers["cache-control"] == "no-cache"
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"


def test_any_web_page_may_read_everything(public: Public) -> None:
    for method, path in (("GET", "/checkpoint"), ("GET", "/nothing"), ("POST", "/index/proofs")):
        assert public.client.request(method, path).headers["access-control-allow-origin"] == "*"
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    preflight = public.client.options("/index/proofs", headers=asked)
    assert preflight.status_code == 204
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "content-type"


def test_log_json_says_what_a_reader_needs_to_begin(public: Public) -> None:
    about = public.client.get("/log.json").json()
    assert about["origin"] == ORIGIN
    assert about["vkeys"] == [vkey.text for vkey in LOG_VKEYS]
    assert about["limits"] == {"labels": 10_000, "tokens": 10_000, "body_bytes": MAX_BODY}
    assert about["policy"] == (public.small.home / "policy.txt").read_text()


def test_readiness_names_the_missing_witness(public: Public) -> None:
    assert public.client.get("/readyz").json()["state"] == "publishing"
    public.small.witnesses[0].stop()
    public.small.append(1)
    public.publisher.round()
    answer = public.client.get("/readyz")
    assert answer.status_code == 503 and "witness W1 is missing since" in answer.json()["reasons"][0]
    assert public.client.get("/healthz").status_code == 200


def test_a_database_that_is_busy_is_said_so(public: Public, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy() -> None:
        raise StoreBusy("the database is locked")

    monkeypatch.setattr(public.small.store, "read", busy)
    for path, name in (("/index/proofs", "labels"), ("/envelopes", "tokens")):
        answer = public.client.post(path, content=json.dumps({name: [b64encode(bytes(32))]}))
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_what_was_asked_for_is_written_nowhere(
    public: Public, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    token = b64encode(os.urandom(32))
    caplog.set_level(0)
    public.client.post("/envelopes", json={"tokens": [token]})
    public.client.post("/envelopes", json={"tokens": [token, 1]})
    public.client.post("/index/proofs", json={"labels": [token, "x"]})
    out, err = capfd.readouterr()
    logged = "\n".join(str(record.__dict__) for record in caplog.records if record.name != "httpx")
    assert token not in out + err + logged


def test_an_idle_checkpoint_renewed_is_the_one_proofs_come_with(public: Public) -> None:
    public.small.clock.now = NOW + 301
    assert public.publisher.round()
    assert public.prove([registry_index_label(0, 0)]) == [0]


def test_a_proof_that_waits_for_a_silent_database_at_the_end_gets_a_500_or_a_traceback_is_logged(
    public: Public, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, silent = threading.Event(), threading.Event()

    def prove(*_: object) -> None:
        asked.set()
        silent.wait(30)
        raise StoreBusy("the database does not answer")

    monkeypatch.setattr(public.small.published, "prove", prove)
    with ThreadPoolExecutor(1) as pool:
        body = {"labels": [b64encode(bytes(32))]}
        waiting = pool.submit(public.client.post, "/index/proofs", json=body)
        assert asked.wait(10)
        public.begin_to_end()
        answer = waiting.result()
    silent.set()
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:glassbook:problem:busy")
    assert answer.headers["retry-after"] == "1" and answer.headers["access-control-allow-origin"] == "*"
    assert [record for record in caplog.records if record.exc_info] == []
