"""A published log over HTTP: static files, `POST /index/proofs` and `POST /envelopes`.

Labels and fetch tokens travel in request bodies only, never in a URL, an error or a log line.
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ledger.client.bounded import ANSWER_SECONDS, BoundedHttp
from ledger.client.publiclog import (
    MAX_CHECKPOINT,
    MAX_LABELS,
    IndexAnswer,
    Unreachable,
    cut,
    size_limit,
)
from ledger.core.encoding import b64decode, b64encode
from ledger.core.errors import Malformed
from ledger.core.jose import parse_json
from ledger.core.tiles import FULL_WIDTH, Tile

# A proof of depth 64 has at most 64 siblings; a deeper one needs labels that agree in 64 bits of a hash.
MAX_PROOF_TEXT = 3 << 10
ENVELOPES_AT_ONCE = 500
MAX_ENVELOPE_TEXT = 4 * ((65_536 + 29) // 3 + 1) + 3


class UrlLog:
    """The log published under `url` (`https://log.example.gov/`). Safe to use from several threads."""

    def __init__(self, url: str, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        try:
            parts = urlsplit(url)
            extra = parts.query or parts.fragment or parts.username or parts.password
            usable = bool(parts.hostname) and not extra and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise Malformed("log URL", "must be http(s)://host[:port][/path], without query and password")
        self._where = url.rstrip("/") + "/"
        self._http = BoundedHttp(answer_seconds=answer_seconds)

    @property
    def where(self) -> str:
        return self._where

    def checkpoint(self) -> bytes:
        return self._file("checkpoint", MAX_CHECKPOINT)

    def tile(self, tile: Tile) -> bytes:
        limit = size_limit(tile)
        if tile.width < FULL_WIDTH:
            body = self._http.get(self._where + tile.path, limit)
            if body is not None:
                return body
        body = self._file(tile.full.path, limit)
        return body if tile.width == FULL_WIDTH else cut(tile, body, self._where + tile.full.path)

    def index_proofs(self, labels: Sequence[bytes]) -> IndexAnswer:
        if len(labels) > MAX_LABELS:
            raise ValueError(f"{len(labels)} labels at once, at most {MAX_LABELS}")
        limit = 2 * MAX_CHECKPOINT + MAX_PROOF_TEXT * len(labels)
        answer = self._ask("index/proofs", {"labels": [b64encode(label) for label in labels]}, limit)
        where = self._where + "index/proofs"
        root = answer.get("index_root")
        if not isinstance(root, dict):
            root = {}
        checkpoint, entry = answer.get("checkpoint"), root.get("entry")
        path, proofs = _texts(root.get("proof")), _texts(answer.get("proofs"))
        if not isinstance(checkpoint, str) or not isinstance(entry, str) or path is None or proofs is None:
            raise Malformed(where, 'not {"checkpoint", "index_root": {"entry", "proof"}, "proofs"}')
        if len(proofs) != len(labels):
            raise Malformed(where, f"{len(proofs)} proofs for {len(labels)} labels")
        return IndexAnswer(
            checkpoint=checkpoint.encode(),
            index_root_entry=b64decode(entry, where),
            index_root_proof=[b64decode(text, where) for text in path],
            proofs=[b64decode(text, where) for text in proofs],
        )

    def envelopes(self, tokens: Sequence[bytes]) -> list[bytes | None]:
        where = self._where + "envelopes"
        found: list[bytes | None] = []
        for start in range(0, len(tokens), ENVELOPES_AT_ONCE):
            batch = [b64encode(token) for token in tokens[start : start + ENVELOPES_AT_ONCE]]
            answer = self._ask("envelopes", {"tokens": batch}, 1024 + MAX_ENVELOPE_TEXT * len(batch))
            texts = answer.get("envelopes")
            if not isinstance(texts, list) or not all(isinstance(text, str | None) for text in texts):
                raise Malformed(where, 'the answer is not {"envelopes": [base64 or null …]}')
            if len(texts) != len(batch):
                raise Malformed(where, f"{len(texts)} envelopes for {len(batch)} tokens")
            found.extend(None if text is None else b64decode(text, where) for text in texts)
        return found

    def close(self) -> None:
        self._http.close()

    def _file(self, path: str, limit: int) -> bytes:
        body = self._http.get(self._where + path, limit)
        if body is None:
            raise Unreachable(self._where + path, "there is no such file; check the log's address")
        return body

    def _ask(self, path: str, content: dict[str, list[str]], limit: int) -> dict[str, Any]:
        where = self._where + path
        answer = parse_json(self._http.post(where, json.dumps(content).encode(), limit), where)
        if not isinstance(answer, dict):
            raise Malformed(where, "the answer is not a JSON object")
        return answer


def _texts(value: object) -> list[str] | None:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None
