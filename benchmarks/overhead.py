"""What telemetry costs a search request: the same route bare, with the upstream distribution, and with us.

Each variant is the same application (`searchapp.py`) in a process of its own, driven through ASGI
with all three signals exported to a local OTLP receiver in another process. Rounds are interleaved,
so that a change of the machine's speed hits all variants alike, and the figures are medians over
the rounds. CPU is that of all threads of the process, exporters and final flush included.

    make bench
    make bench ARGS='--rounds 3 --requests 500'
"""

from __future__ import annotations

import argparse
import gzip
import http.server
import json
import os
import statistics
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HERE = Path(__file__).parent
OURS = Path(sys.executable).parent
UPSTREAM = HERE.parent / ".venv-upstream" / "bin"

VARIANTS: dict[str, tuple[Path, bool, dict[str, str]]] = {
    # name: (environment, under the launcher, variables)
    "bare": (OURS, False, {}),
    "upstream": (
        UPSTREAM,
        True,
        # As its documentation says (`opentelemetry-bootstrap` chose the instrumentors), plus the stable
        # names, OTLP over HTTP as with us, and logs, which it has off by default.
        {
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_LOGS_EXPORTER": "otlp",
            "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true",
        },
    ),
    "otel-search": (OURS, True, {"OTEL_PYTHON_DISTRO": "otel_search"}),
    "otel-search, 1 % sampled": (
        OURS,
        True,
        {
            "OTEL_PYTHON_DISTRO": "otel_search",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        },
    ),
}

REQUESTS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Receiver:
    """Takes OTLP bodies as they are; what is in them is counted when nobody is being measured."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.bodies.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self) -> Counter[str]:
        """What came since the last call: spans, points, records, bytes."""
        counts: Counter[str] = Counter()
        for path, body in self.bodies:
            message = REQUESTS[path].FromString(body)
            counts["bytes"] += len(body)
            if path == "/v1/traces":
                counts["spans"] += sum(len(s.spans) for r in message.resource_spans for s in r.scope_spans)
            elif path == "/v1/logs":
                counts["records"] += sum(len(s.log_records) for r in message.resource_logs for s in r.scope_logs)
            else:
                counts["metrics"] += sum(len(s.metrics) for r in message.resource_metrics for s in r.scope_metrics)
        self.bodies.clear()
        return counts


def run(variant: str, endpoint: str, requests: int) -> dict[str, float]:
    """One round of one variant: CPU microseconds a request, p50 and p99 in ms."""
    binaries, launched, variables = VARIANTS[variant]
    command = [str(binaries / "python"), "-P", str(HERE / "searchapp.py"), str(requests)]
    if launched:
        command = [str(binaries / "opentelemetry-instrument"), *command]
    return result_of(command, endpoint, variables)


def result_of(command: list[str], endpoint: str, variables: dict[str, str]) -> dict[str, float]:
    """What a measuring process prints after `RESULT ` on its stderr; it exports to `endpoint`."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    env |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_SERVICE_NAME": "bench",
        # At full speed the default of 2048 would lose spans, the more the slower a variant is.
        "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
        "OTEL_BLRP_MAX_QUEUE_SIZE": "100000",
        **variables,
    }
    done = subprocess.run(
        command, cwd=HERE.parent, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False
    )
    for line in reversed(done.stderr.splitlines()):
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000, help="measured requests a round, after a warm-up")
    options = parser.parse_args()
    variants = [name for name, (binaries, _, _) in VARIANTS.items() if (binaries / "python").exists()]
    for name in VARIANTS.keys() - set(variants):
        print(f"NOTICE: {name} is left out: its environment is missing, `make bench` makes it")
    receiver = Receiver()
    results: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    sent: dict[str, Counter[str]] = {name: Counter() for name in variants}
    for number in range(options.rounds):
        for name in variants[number % len(variants) :] + variants[: number % len(variants)]:
            results[name].append(run(name, receiver.endpoint, options.requests))
            sent[name] += receiver.take()
    report(results, sent, options)


def report(
    results: dict[str, list[dict[str, float]]], sent: dict[str, Counter[str]], options: argparse.Namespace
) -> None:
    """Print medians, their spread, and the ratios."""

    def median(name: str, key: str) -> float:
        return statistics.median(row[key] for row in results[name])

    per_request = options.rounds * (options.requests + options.requests // 5)
    bare = median("bare", "cpu")
    print(
        f"\n{options.rounds} interleaved rounds of {options.requests} requests, one after the other; medians (range)\n"
    )
    print("| variant | CPU µs a request | over bare | p50 ms | p99 ms | spans | log records | bytes a request |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, rows in results.items():
        cpu = [row["cpu"] for row in rows]
        print(
            f"| {name} | {median(name, 'cpu'):.0f} ({min(cpu):.0f}-{max(cpu):.0f}) | {median(name, 'cpu') - bare:.0f} "
            f"| {median(name, 'p50'):.2f} | {median(name, 'p99'):.2f} | {sent[name]['spans'] / per_request:.2f} "
            f"| {sent[name]['records'] / per_request:.2f} | {sent[name]['bytes'] / per_request:.0f} |"
        )
    if "upstream" in results:
        upstream = median("upstream", "cpu") - bare
        print("\nRatios to upstream")
        for name in results:
            if name.startswith("otel-search"):
                ratio = (median(name, "cpu") - bare) / upstream
                print(f"- {name}: CPU overhead {ratio:.2f}, p99 {median(name, 'p99') / median('upstream', 'p99'):.2f}")
    print("\nRatios to bare")
    for name in results:
        print(
            f"- {name}: CPU {median(name, 'cpu') / bare:.2f}, p50 {median(name, 'p50') / median('bare', 'p50'):.2f}, "
            f"p99 {median(name, 'p99') / median('bare', 'p99'):.2f}"
        )


if __name__ == "__main__":
    main()
