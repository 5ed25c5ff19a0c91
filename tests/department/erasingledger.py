"""The ledger of `smalldepartment` that keeps envelopes and takes erasures, or is killed in between on demand."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from smalldepartment import Ledger, SmallDepartment

from ledger.core.encoding import b64decode, b64url_encode
from ledger.core.erasure import Erasure, check_erasure_time, parse_erasure
from ledger.core.merkle import leaf_hash


class ErasingLedger(Ledger):
    """`mishaps` says what the next erasures meet: `busy`, `lost` (before it is read), `drop` (after it is done)."""

    def __init__(self, small: SmallDepartment) -> None:
        super().__init__(small.log, small.ledger.folder)
        self.key = small.source.key.public
        self.envelopes: dict[bytes, bytes] = {}
        self.erasures: list[Erasure] = []
        self.mishaps: list[str] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/erasures":
            return self._erase(request)
        for item in json.loads(request.content)["entries"]:
            raw = b64decode(item["entry"], "entry")
            # As the real one: what is in the log already brings no envelope again.
            if raw not in self.log.entries and "envelope" in item:
                self.envelopes[leaf_hash(raw)] = b64decode(item["envelope"], "envelope")
        return super()._answer(request)

    def _erase(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["content-type"] == "application/jose"
        mishap = self.mishaps.pop(0) if self.mishaps else ""
        if mishap == "lost":
            raise httpx.ConnectError("no route")
        if mishap == "busy":
            return httpx.Response(503, headers={"Retry-After": "7"})
        if mishap == "nonsense":
            return httpx.Response(200, json={"results": [{"leaf": 7}]})
        if mishap == "silent":
            return httpx.Response(200, json={"results": []})
        erasure = parse_erasure(request.content, self.log.origin, self.key)
        check_erasure_time(erasure, self.now)
        self.erasures.append(erasure)
        results = []
        for leaf in erasure.leaves:
            status = "erased" if self.envelopes.pop(leaf, None) else "absent"
            results.append({"leaf": b64url_encode(leaf), "status": status})
        if mishap == "drop":
            raise httpx.ReadError("gone after it was done")
        return httpx.Response(200, json={"results": results})


def small_department(folder: Path, **statement: object) -> tuple[SmallDepartment, ErasingLedger]:
    """A department, its source changed by `statement`, beside such a ledger."""
    small = SmallDepartment(folder)
    if statement:
        small.log.change_source(small.source, **statement)
    ledger = small.ledger = ErasingLedger(small)
    return small, ledger
