"""What an operator's monitoring asks the publisher: is it up, does it publish, and which witness does not cosign.

    GET /healthz     200 as long as the process runs
    GET /readyz      200 while it publishes, else 503; what it is doing, why, and how each witness stands
    GET /metrics     the same as numbers, in Prometheus' text format

All of it is public, as the policy and the checkpoint are; nothing in it says who asked for what.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ledger.core.policy import Witness
from ledger.store import Store, StoreBusy
from ledger.store.log import read_size
from ledger.store.publication import Publication, read_publication
from ledger.store.witnesses import COSIGNS, WitnessProgress
from publisher.problems import NEVER, Refused
from publisher.run import PUBLISHING, Status

Standings = Callable[[], list[tuple[Witness, WitnessProgress]]]


def health_routes(store: Store, status: Callable[[], Status], standings: Standings) -> list[Route]:
    """The three routes."""
    registry = CollectorRegistry()
    registry.register(Numbers(store, status, standings))

    async def healthz(_: Request) -> Response:
        return _json({"status": "up"}, 200)

    async def readyz(_: Request) -> Response:
        now = status()
        size, row = await run_in_threadpool(_read, store)
        about = {
            "state": now.state,
            "reasons": list(now.reasons),
            "sequenced_size": size,
            "published_size": row.published_size,
            "witnesses": [about_witness(*standing) for standing in standings()],
        }
        return _json(about, 200 if now.state == PUBLISHING else 503)

    async def metrics(_: Request) -> Response:
        return Response(await run_in_threadpool(_expose), 200, {"Cache-Control": NEVER}, CONTENT_TYPE_LATEST)

    def _expose() -> bytes:
        return generate_latest(registry)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def about_witness(witness: Witness, progress: WitnessProgress) -> dict[str, object]:
    """How one witness stands, as JSON: times in Unix seconds, null for never."""
    return {
        "witness": witness.name,
        "name": witness.vkey.name,
        "auditor": witness.auditor,
        "standing": progress.standing,
        "since": progress.since or None,
        "why": progress.why,
        "confirmed_size": progress.confirmed,
        "cosigned": progress.cosigned or None,
    }


class Numbers(Collector):
    """The figures, gathered when they are asked for and at no other time."""

    def __init__(self, store: Store, status: Callable[[], Status], standings: Standings) -> None:
        self._store, self._status, self._standings = store, status, standings

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """One value for the log, and for each witness of the policy."""
        size, row = _read(self._store)
        publishing = float(self._status().state == PUBLISHING)
        yield GaugeMetricFamily("glassbook_publishing", "1 while the log is published", value=publishing)
        yield GaugeMetricFamily(
            "glassbook_log_entries", "Entries sequenced, index roots included", value=size
        )
        yield GaugeMetricFamily("glassbook_published_entries", "Entries published", value=row.published_size)
        yield GaugeMetricFamily(
            "glassbook_checkpoint_cosigned_seconds",
            "Unix time of the published checkpoint's newest cosignature",
            value=row.published_time,
        )
        names = ["witness", "name"]
        cosigns = GaugeMetricFamily(
            "glassbook_witness_cosigns", "1 if it cosigned when last asked", labels=names
        )
        standing = GaugeMetricFamily(
            "glassbook_witness_standing", "1 for how it stands", labels=[*names, "standing"]
        )
        since = GaugeMetricFamily(
            "glassbook_witness_absent_since_seconds",
            "Unix time since when it does not cosign, 0 while it does",
            labels=names,
        )
        confirmed = GaugeMetricFamily(
            "glassbook_witness_confirmed_entries", "The size it cosigned last", labels=names
        )
        for witness, progress in self._standings():
            labels = [_label(witness.name), _label(witness.vkey.name)]
            cosigns.add_metric(labels, float(progress.standing == COSIGNS))
            standing.add_metric([*labels, progress.standing], 1.0)
            since.add_metric(labels, progress.since)
            confirmed.add_metric(labels, progress.confirmed)
        yield from (cosigns, standing, since, confirmed)


def _label(text: str) -> str:
    # A policy file may hold octets that are not UTF-8.
    return text.encode("utf-8", "backslashreplace").decode()


def _read(store: Store) -> tuple[int, Publication]:
    try:
        with store.read() as db:
            return read_size(db), read_publication(db)
    except StoreBusy as error:
        raise Refused(503, "busy", str(error), {"Retry-After": "1"}) from None


def _json(value: object, status: int) -> Response:
    return Response(json.dumps(value).encode(), status, {"Cache-Control": NEVER}, "application/json")
