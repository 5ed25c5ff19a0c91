"""An OTLP batch of 1,000 spans over HTTP, until the receiver answers that all of them are durable.

The receiver, the outbox (SQLite, fsync and all), the register and the mapping are the real ones; the spans are built
before the clock starts.  *Cold* is a batch about 1,000 people whom the agent meets first, each of whom costs a VRF
evaluation; *known* are the same people again.
"""

from __future__ import annotations

import http.client
import secrets
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, Report
from bench.logs import DAY, EPOCH, ORIGIN, POLICY, LogBuilder, bench_source, registry_entries
from ledger.core.keys import Ed25519PrivateKey, format_private_key
from ledger.department.home import Home
from ledger.files import write_atomic

SPANS = 1000
ROUNDS = 3
TARGET_S = 1.0
MAP = """\
format = "ldv"
[subject]
from = 'attributes."dpl.core.data_subject_id"'
scheme = "id"
[activity]
default = 1
[actor]
id = { field = 'attributes."enduser.id"' }
"""


def measure(report: Report, scale: float) -> None:
    """Seconds for one batch, the slowest of ROUNDS; the load does not scale, the target is for this one."""
    from ledger.department.otlp.receiver import Receiver

    with tempfile.TemporaryDirectory(prefix="glassbook-bench-") as folder:
        home_folder = _department(Path(folder))
        with Home(home_folder) as home:
            settings = home.settings.otlp
            assert settings is not None
            registration = home.registration(int(time.time()), _silent)
            with Receiver(home, settings, registration, _silent) as receiver:
                address = receiver.address.removeprefix("http://")
                cold, known = [], []
                for turn in range(ROUNDS):
                    people = [f"{turn}-{i}" for i in range(SPANS)]
                    cold.append(_send(address, _batch(people)))
                    known.append(_send(address, _batch(people)))
            counts = home.outbox.counts()
            if counts.waiting != 2 * ROUNDS * SPANS:
                raise RuntimeError(f"{counts.waiting} records are in the outbox")
    name = f"otlp: {SPANS:,} spans durable"
    report.add(Figure(f"{name}, people met first", max(cold), "s", target=TARGET_S, at_least=False))
    report.add(Figure(f"{name}, known people", max(known), "s", target=TARGET_S, at_least=False))


def _silent(_: str) -> None:
    """The figures are what is said."""


def _department(folder: Path) -> Path:
    """A department beside a published log in a folder."""
    source = bench_source(1)
    built = LogBuilder()
    for raw in registry_entries([source]):
        built.append(raw)
    built.close()
    built.publish(folder / "public")
    home = folder / "department"
    (home / "keys").mkdir(parents=True)
    vrf = Ed25519PrivateKey.from_seed(source.vrf_seed)
    for name, key in (("source", source.key), ("vrf", vrf)):
        write_atomic(home / "keys" / f"{name}.key", format_private_key(key, None), 0o600)
    (home / "policy.txt").write_text(POLICY)
    (home / "otlp.toml").write_text(MAP)
    (home / "department.toml").write_text(
        f'origin = "{ORIGIN}"\nledger = "http://ledger.invalid"\nlog = "{folder / "public"}"\n'
        f'[vrf]\n{EPOCH} = "keys/vrf.key"\n[otlp]\nlisten = "127.0.0.1:0"\nmap = "otlp.toml"\n'
    )
    return home


def _batch(people: list[str]) -> bytes:
    """An export request as an SDK serialises it, with the attributes of a usual HTTP span."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "case-files"
    spans = group.scope_spans.add().spans
    for person in people:
        span = spans.add(
            trace_id=secrets.token_bytes(16),
            span_id=secrets.token_bytes(8),
            name="GET /cases/{number}",
            start_time_unix_nano=DAY * 86_400 * 10**9,
        )
        for key, value in (
            ("dpl.core.data_subject_id", person),
            ("dpl.core.processing_activity_id", "https://register.example/activities/1"),
            ("enduser.id", "official-77"),
            ("http.request.method", "GET"),
            ("http.route", "/cases/{number}"),
            ("server.address", "cases.example"),
        ):
            span.attributes.add(key=key).value.string_value = value
    return bytes(request.SerializeToString())


def _send(address: str, body: bytes) -> float:
    """Seconds until the answer is there."""
    connection = http.client.HTTPConnection(address, timeout=60)
    started = time.perf_counter()
    connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
    response = connection.getresponse()
    answer = response.read()
    took = time.perf_counter() - started
    connection.close()
    if response.status != 200 or answer:
        raise RuntimeError(f"the receiver answered {response.status} and rejected spans")
    return took
