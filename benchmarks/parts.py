"""What the SDK's single steps take by upstream's way and by ours: the gain of each patch in docs/upstream.md.

Microseconds of wall time in one thread, best of several runs, both ways in turn in one process.

    python -m benchmarks.parts
    python -m benchmarks.parts --write docs/upstream.md
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from benchmarks import tables
from otel_search import encoding, lean

BATCH = 512
ATTRIBUTES = {
    "http.request.method": "GET",
    "http.route": "/products/search",
    "url.scheme": "http",
    "server.address": "shop.example",
    "server.port": 8000,
    "http.response.status_code": 200,
}

Step = Callable[[], object]


def steps() -> dict[str, tuple[Step, Step, int]]:
    """Each step by upstream's way and by ours, and how many items it handles; where both are one, `lean` decides."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")
    unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("bench")
    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    histogram = meter.create_histogram("http.server.request.duration", unit="s")

    def span() -> None:
        tracer.start_span("GET /products/search", attributes=ATTRIBUTES).end()

    def no_span() -> None:
        unsampled.start_span("GET /products/search", attributes=ATTRIBUTES).end()

    def measurement() -> None:
        histogram.record(0.0125, ATTRIBUTES)

    spans = [tracer.start_span(f"span {number}", attributes=ATTRIBUTES) for number in range(BATCH)]
    for one in spans:
        one.end()
    exporter = InMemoryLogRecordExporter()
    logs = LoggerProvider(shutdown_on_exit=False)
    logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = logs.get_logger("bench")
    for number in range(BATCH):
        logger.emit(body=f"products searched {number}", attributes=ATTRIBUTES, severity_text="INFO")
    records = exporter.get_finished_logs()
    return {
        "a span, begun and ended": (span, span, 1),
        "a span that is not sampled": (no_span, no_span, 1),
        "a measurement": (measurement, measurement, 1),
        "encoding a span": (lambda: encode_spans(spans).SerializeToString(), lambda: encoding.spans(spans), BATCH),
        "encoding a log record": (
            lambda: encode_logs(records).SerializeToString(),
            lambda: encoding.log_records(records),
            BATCH,
        ),
    }


def timed(step: Step, items: int, seconds: float) -> float:
    """Microseconds an item."""
    count, steps_at_once = 0, max(1, 100 // items)
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or not count:
        for _ in range(steps_at_once):
            step()
        count += items * steps_at_once
    return passed / count * 1e6


def measure(rounds: int, seconds: float) -> dict[str, tuple[float, float]]:
    """Upstream's and ours, for each step."""
    found = {}
    for name, (upstream, ours, items) in steps().items():
        times = [float("inf"), float("inf")]
        for _ in range(rounds):
            lean.uninstall()
            times[0] = min(times[0], timed(upstream, items, seconds))
            lean.install()
            times[1] = min(times[1], timed(ours, items, seconds))
        lean.uninstall()
        found[name] = (times[0], times[1])
    return found


def main() -> None:
    """Measure each step both ways and print the table."""
    parser = tables.parser(__doc__, rounds=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each step and way a round")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="replace its generated part")
    options = parser.parse_args()
    found = measure(options.rounds, options.seconds)
    rows = [[name, f"{theirs:.1f}", f"{ours:.1f}", f"{ours / theirs:.2f}"] for name, (theirs, ours) in found.items()]
    text = tables.table(["step", "upstream µs", "ours µs", "ratio"], rows)
    text = f"`{tables.command('benchmarks.parts')}` on {tables.machine()}, best of {options.rounds}.\n\n{text}"
    print(text)
    if options.write:
        tables.write_part(options.write, "parts", text)


if __name__ == "__main__":
    main()
