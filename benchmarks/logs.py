"""What a log line costs: plain structlog with orjson, python-json-logger, upstream's bridges, and ours with everything.

Each variant is a process of its own that logs the same events inside a span, in bursts with pauses, as requests do;
stdout is a pipe that is read. `call` is the CPU time of the thread that logs, `all` that of all threads with the
export to a local OTLP receiver; rounds are interleaved, figures are medians over the rounds.

    python -m benchmarks.logs [--rounds 7] [--lines 20000]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Run as a file, this directory comes first, and this file would be found as somebody's package.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE]

BURST = 10
PAUSE = 0.002

OURS = {"OTEL_PYTHON_DISTRO": "otel_search", "OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "none"}
VARIANTS: dict[str, tuple[str, dict[str, str] | None]] = {
    # name: (how it logs, variables if under the launcher)
    "structlog + orjson": ("structlog", None),
    "structlog + orjson, with trace ids": ("structlog-ids", None),
    "logging + python-json-logger": ("json-logger", None),
    "structlog + upstream's LoggingHandler": ("upstream", None),
    "otel-search, stdout": ("structlog", {**OURS, "OTEL_LOGS_EXPORTER": "none"}),
    "otel-search, stdout and OTLP": ("structlog", OURS),
    "otel-search, stdout, OTLP and file": ("structlog", {**OURS, "OTEL_SEARCH_LOG_FILE": "{file}"}),
    "otel-search, logging, with everything": ("logging", {**OURS, "OTEL_SEARCH_LOG_FILE": "{file}"}),
    "otel-search, with everything, in no server": ("structlog-at-once", {**OURS, "OTEL_SEARCH_LOG_FILE": "{file}"}),
}
REFERENCE = "structlog + orjson"


def logger_of(kind: str) -> Any:
    """What each variant logs with: a function of event and fields."""
    import orjson
    import structlog

    if kind in ("logging", "json-logger"):
        handler = logging.StreamHandler(sys.stdout)
        if kind == "json-logger":
            from pythonjsonlogger.orjson import OrjsonFormatter

            handler.setFormatter(OrjsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        standard = logging.getLogger("shop.search")
        return lambda event, **fields: standard.info(event, extra=fields)  # noqa: PLW0108 - `extra` is one argument

    def ids(_logger: Any, _name: str, event: dict[str, Any]) -> dict[str, Any]:
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            event["trace_id"] = trace.format_trace_id(context.trace_id)
            event["span_id"] = trace.format_span_id(context.span_id)
        return event

    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        *([ids] if kind in ("structlog-ids", "upstream") else []),
        structlog.processors.JSONRenderer(serializer=orjson.dumps),
    ]
    if kind == "upstream":
        from opentelemetry import _logs
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

        provider = LoggerProvider()
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
        _logs.set_logger_provider(provider)
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler, LoggingHandler(logger_provider=provider)])
        processors[-1] = structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event).decode())
        structlog.configure(
            processors=processors,
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=True,
        )
    else:
        structlog.configure(
            processors=processors,
            logger_factory=structlog.BytesLoggerFactory(),
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            cache_logger_on_first_use=True,
        )
    return structlog.get_logger("shop.search").info


def as_a_server_does() -> Callable[[], None]:
    """Let otel-search, if it is in charge, behave as it does in a server; what ends that."""
    from otel_search import logs

    logs.begin_serving()
    return logs.end_serving


def measure(kind: str, lines: int) -> dict[str, float]:
    """CPU microseconds a line of the calling thread and of the process, and lines a second."""
    from opentelemetry import _logs
    from opentelemetry.sdk.trace import TracerProvider

    log = logger_of(kind)
    drain = as_a_server_does() if kind != "structlog-at-once" else lambda: None
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("bench")

    def burst(first: int) -> None:
        with tracer.start_as_current_span("GET /search"):
            began = time.thread_time_ns()
            for number in range(first, first + BURST):
                log("products searched", query_type="match", index="products", hits=number, took=0.0125, cached=False)
            calling.append(time.thread_time_ns() - began)

    calling: list[int] = []
    for number in range(0, lines // 10, BURST):
        burst(number)
    calling.clear()
    cpu, wall = time.process_time(), 0.0
    for number in range(0, lines, BURST):
        began = time.perf_counter()
        burst(number)
        wall += time.perf_counter() - began
        time.sleep(PAUSE)
    drain()
    flush = getattr(_logs.get_logger_provider(), "force_flush", None)
    if flush is not None:
        flush()
    cpu = time.process_time() - cpu
    return {"call": sum(calling) / lines / 1000, "all": cpu / lines * 1e6, "rate": lines / wall}


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lines", type=int, default=20_000, help="measured lines a round, after a warm-up")
    parser.add_argument("--only", default="", help="variants whose names hold this, beside the first")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print("RESULT " + json.dumps(measure(options.measure, options.lines)), file=sys.stderr)
        return
    from benchmarks.receiver import Receiver

    receiver = Receiver()
    names = [name for name in VARIANTS if name == REFERENCE or options.only in name]
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                results[name].append(run(name, receiver.endpoint, options.lines, folder))
                check(name, receiver.take()["records"], options.lines)
    report(results, options)


def check(name: str, records: int, lines: int) -> None:
    """Fail if a variant did not do what its name says."""
    is_exporting = "upstream" in name or "OTLP" in name or "everything" in name
    expected = lines + lines // 10 if is_exporting else 0
    if not expected <= records <= expected + 5:
        raise SystemExit(f"{name}: {records} log records have arrived in place of {expected}")


def run(name: str, endpoint: str, lines: int, folder: str) -> dict[str, float]:
    """One round of one variant."""
    kind, variables = VARIANTS[name]
    binaries = Path(sys.executable).parent
    command = [str(binaries / "python"), "-m", "benchmarks.logs", "--measure", kind, "--lines", str(lines)]
    if variables is not None:
        command = [str(binaries / "opentelemetry-instrument"), *command]
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_SERVICE_NAME": "bench",
        "OTEL_BLRP_MAX_QUEUE_SIZE": "100000",
        **{key: value.replace("{file}", f"{folder}/app.log") for key, value in (variables or {}).items()},
    }
    with subprocess.Popen(
        command, cwd=HERE.parent, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        _, errors = process.communicate()
    for line in reversed(errors.splitlines()):
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    raise SystemExit(f"{' '.join(command)} failed:\n{errors}")


def report(results: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print medians, their spread, and the ratios."""

    def median(name: str, key: str) -> float:
        return statistics.median(row[key] for row in results[name])

    print(f"\n{options.rounds} interleaved rounds of {options.lines} lines; medians (range)\n")
    print("| variant | CPU µs a line, calling thread | ratio | CPU µs a line, all threads | lines a second |")
    print("| --- | --- | --- | --- | --- |")
    for name, rows in results.items():
        calls = [row["call"] for row in rows]
        print(
            f"| {name} | {median(name, 'call'):.1f} ({min(calls):.1f}-{max(calls):.1f}) "
            f"| {median(name, 'call') / median(REFERENCE, 'call'):.2f} | {median(name, 'all'):.1f} "
            f"| {median(name, 'rate'):,.0f} |"
        )


if __name__ == "__main__":
    main()
