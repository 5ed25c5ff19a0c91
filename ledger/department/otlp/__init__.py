"""A receiver of OpenTelemetry's own protocol, OTLP over HTTP: spans and log records become accesses.

    POST /v1/traces, /v1/logs    protobuf or JSON, plain or gzip
        → requests.py            the request taken apart, by the mapping file into outcomes
        → recording.py           into the outbox, durable
        → answers.py             only then an answer, with partial success as OTLP has it

`glassbook department run` starts it when department.toml has `[otlp]` (docs/otlp.md).  Attributes are never logged, nor
is anything else of a request.

Source: OTLP specification 1.x, "OTLP/HTTP"; opentelemetry-proto.
"""
