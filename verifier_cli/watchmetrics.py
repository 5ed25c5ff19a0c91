"""What a watch knows, for Prometheus. Needs the extra `watch` (prometheus-client), and only when it is asked for.

glassbook_watch_log_size                            entries of the newest checkpoint accepted
glassbook_watch_newest_timestamp_seconds            newest time that a witness states
glassbook_watch_audited_size                        entries audited
glassbook_watch_violations                          violations found so far
glassbook_watch_silent_days{source}                 days without coverage
glassbook_watch_witness_age_seconds{witness}        since the newest cosignature seen; absent when there was none
glassbook_watch_alerts_firing{kind}                 alerts that began and have not ended
glassbook_watch_last_round_timestamp_seconds        when the log was last looked at, with whatever result
glassbook_watch_rounds_total{result}                looks at the log: checked, refuted, unreachable, fault
glassbook_watch_webhook_{delivered,failures,lost}_total{host}   events, attempts, events
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from verifier_cli.watchalerts import COUNTS_AS

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "glassbook_watch"


@dataclass(slots=True)
class Figures:
    """What is shown; a watch puts new values in, never half of them."""

    size: int = 0
    newest: int | None = None
    audited: int = 0
    violations: int = 0
    silent: dict[int, int] = field(default_factory=dict)
    cosigned: dict[str, int] = field(default_factory=dict)
    """Newest timestamp seen of each witness, by its name in the policy."""
    firing: dict[str, int] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    last_round: int = 0
    webhooks: list[tuple[str, int, int, int]] = field(default_factory=list)
    """Host, events delivered, attempts failed, events lost."""


class MetricsServer:
    """Answers `GET /metrics`, and every other path, at `address` until closed.

    Raises ModuleNotFoundError without prometheus-client, OSError when the address cannot be had.
    """

    def __init__(self, address: tuple[str, int], figures: Figures) -> None:
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry()
        registry.register(_Collector(figures))
        self._server, self._thread = start_http_server(address[1], address[0], registry)

    @property
    def port(self) -> int:
        """The port listened at, also where the system chose it."""
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Collector:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """What prometheus-client calls for each scrape."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        one = self._figures

        def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)

        yield gauge("log_size", "Entries of the newest checkpoint accepted.", one.size)
        if one.newest is not None:
            yield gauge("newest_timestamp_seconds", "Newest time that a witness states.", one.newest)
        yield gauge("audited_size", "Entries audited.", one.audited)
        yield gauge("violations", "Violations found.", one.violations)
        yield gauge("last_round_timestamp_seconds", "When the log was last looked at.", one.last_round)
        silent = GaugeMetricFamily(f"{PREFIX}_silent_days", "Days without coverage.", labels=["source"])
        for source, days in sorted(one.silent.items()):
            silent.add_metric([str(source)], days)
        yield silent
        age = GaugeMetricFamily(
            f"{PREFIX}_witness_age_seconds", "Since the newest cosignature seen.", labels=["witness"]
        )
        for witness, timestamp in sorted(one.cosigned.items()):
            age.add_metric([witness], time.time() - timestamp)
        yield age
        firing = GaugeMetricFamily(f"{PREFIX}_alerts_firing", "Alerts not yet ended.", labels=["kind"])
        for kind in COUNTS_AS:
            firing.add_metric([kind], one.firing.get(kind, 0))
        yield firing
        rounds = CounterMetricFamily(f"{PREFIX}_rounds", "Looks at the log.", labels=["result"])
        for result, count in sorted(one.rounds.items()):
            rounds.add_metric([result], count)
        yield rounds
        names = (("delivered", "Events taken."), ("failures", "Attempts failed."), ("lost", "Events lost."))
        for place, (name, text) in enumerate(names):
            family = CounterMetricFamily(f"{PREFIX}_webhook_{name}", text, labels=["host"])
            totals: dict[str, int] = {}
            for host, *numbers in one.webhooks:
                totals[host] = totals.get(host, 0) + numbers[place]
            for host, total in totals.items():
                family.add_metric([host], total)
            yield family
