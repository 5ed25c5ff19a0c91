"""What /metrics shows: counts by outcome, durations, how much waits.  No label tells one person from another."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ledger.service.acceptance import Accepted, Duplicate, Outcome


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self._entries = Counter(
            "glassbook_entries", "Entries handed in, by what became of them", ["outcome"], registry=registry
        )
        self._erasures = Counter(
            "glassbook_erasures",
            "Envelopes to be deleted, by what became of them",
            ["outcome"],
            registry=registry,
        )
        self.seconds = Histogram(
            "glassbook_entries_request_seconds", "Time to answer POST /v1/entries", registry=registry
        )
        self.backlog = Gauge("glassbook_inbox_entries", "Entries waiting to be sequenced", registry=registry)
        self.size = Gauge(
            "glassbook_log_entries", "Entries sequenced, index roots included", registry=registry
        )
        self.published = Gauge(
            "glassbook_published_entries", "Entries published, index roots included", registry=registry
        )

        self.refused = Counter(
            "glassbook_refused_requests",
            "Requests answered 429 or 503, by why",
            ["reason"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "glassbook_in_flight_bytes",
            "What is let in and not answered, as bytes of bodies it costs as much as",
            registry=registry,
        )
        self.limit = Gauge(
            "glassbook_in_flight_limit_bytes", "How much is let in just now", registry=registry
        )
        self.rate = Gauge(
            "glassbook_accepting_bytes_per_second",
            "How fast it was last done under load, in the same bytes",
            registry=registry,
        )
        self.to_write = Gauge(
            "glassbook_entries_to_write", "Entries checked that wait for their transaction", registry=registry
        )
        self.waiters = Gauge(
            "glassbook_waiting_requests", "Requests that wait until they are published", registry=registry
        )

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Count a request's outcomes; a refusal under its code."""
        if set(map(type, outcomes)) == {Accepted}:
            self._entries.labels("accepted").inc(len(outcomes))
            return
        for name, count in Tally(map(_name, outcomes)).items():
            self._entries.labels(name).inc(count)

    def count_erasures(self, outcomes: Sequence[str]) -> None:
        """Count what became of the leaves of an erasure."""
        for name, count in Tally(outcomes).items():
            self._erasures.labels(name).inc(count)

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self._registry)


def _name(outcome: Outcome) -> str:
    if isinstance(outcome, Accepted):
        return "accepted"
    return "duplicate" if isinstance(outcome, Duplicate) else outcome.code
