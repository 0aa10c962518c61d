"""`otel-search demo`: engine, service and receiver, the load, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from elastic_transport import TransportError
from elasticsearch import ApiError, AsyncElasticsearch, helpers
from elasticsearch.dsl import async_connections
from rich.console import Console

from otel_search.demo import catalogue, checks, engine, load, report
from otel_search.demo.service.config import ARCHIVE_INDEX, PRODUCTS_INDEX
from otel_search.demo.service.products import Product
from otel_search.processes import HOST, Process, Processes, free_port
from otel_search.viewer import Viewer
from otel_search.viewer.receiver import DEFAULT_PORT, Receiver
from otel_search.viewer.recording import Recording

SERVICE_NAME = "product-search"
DEFAULT_SERVICE_PORT = 8000
READY_TIMEOUT = 30.0
DEFAULT_VIEWER_PORT = 4319
TELEMETRY_TIMEOUT = 15.0

_MOST_RECORDED = 20_000
_ARCHIVED = 50

# Where the telemetry goes is the demo's business; all else that the user has set stays.
_EXPORTER_VARIABLES = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{name}"
    for signal in ("", "TRACES_", "METRICS_", "LOGS_")
    for name in ("ENDPOINT", "PROTOCOL", "HEADERS", "CERTIFICATE", "INSECURE")
)


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why."""


def run(*, once: bool, port: int | None, viewer: bool = True) -> int:
    """Run the demo.

    Args:
        once: End after the report, instead of serving until a signal comes.
        port: The service's port; 0 for any free one, `None` for 8000 if that is free.
        viewer: Show on the viewer's page what arrives, for as long as the demo serves.

    Returns:
        The status for the shell: 0 if everything was seen, 1 if not, 128 and the signal's number
        if one came before that was known.
    """
    console = _console()
    recording = Recording(limit=_MOST_RECORDED)
    status: int | None = None
    with (
        tempfile.TemporaryDirectory(prefix="otel-search-demo-") as directory,
        _receiver(recording, viewer=viewer and not once) as receiver,
        Processes(Path(directory)) as processes,
    ):
        try:
            if isinstance(receiver, Viewer):
                console.print(f"Viewer    {receiver.url}  what arrives, as it arrives")
            service, base_url = _start(console, processes, receiver, port)
            status = _load_and_show(console, service, base_url, recording)
            if not once:
                _serve(console, service, base_url, receiver)
        except KeyboardInterrupt:
            console.print("\nEnding the service and the engine.")
            if status is None:
                status = 128 + (processes.interrupted_by or 0)
        except (DemoError, engine.EngineError) as error:
            print(f"otel-search demo: {error}", file=sys.stderr)
            status = 1
    return status


def _start(
    console: Console, processes: Processes, receiver: Receiver | Viewer, port: int | None
) -> tuple[Process, str]:
    if port and free_port(port) != port:
        raise DemoError(f"port {port} of {HOST} is taken")
    began = time.monotonic()
    engine_url = engine.start_engine(processes, os.environ)
    try:
        count = asyncio.run(fill(engine_url))
    except (ApiError, TransportError, helpers.BulkIndexError) as error:
        raise DemoError(f"the catalogue cannot be imported into {PRODUCTS_INDEX!r}: {error}") from error
    took = time.monotonic() - began
    console.print(f"Engine    {engine_url}  osmem-server, {count} products in {took:.1f} s")
    console.print(f"Receiver  {receiver.endpoint}  OTLP over HTTP")

    service_port = free_port(DEFAULT_SERVICE_PORT) if port is None else port or free_port()
    command = [
        _beside_python("opentelemetry-instrument"),
        _beside_python("uvicorn"),
        "otel_search.demo.app:app",
        *("--host", HOST, "--port", str(service_port)),
    ]
    base_url = f"http://{HOST}:{service_port}"
    began = time.monotonic()
    try:
        service = processes.start("service", command, _environment(engine_url, receiver))
    except OSError as error:
        raise DemoError(f"the service cannot be started: {error}") from error
    _wait_until_ready(service, base_url)
    console.print(f"Service   {base_url}  ready in {time.monotonic() - began:.1f} s, started by")
    console.print(f"          {' '.join([Path(command[0]).name, Path(command[1]).name, *command[2:]])}")
    return service, base_url


def _receiver(recording: Recording, *, viewer: bool) -> Receiver | Viewer:
    otlp_port = free_port(DEFAULT_PORT)
    if not viewer:
        return Receiver(recording.add, port=otlp_port)
    return Viewer(port=free_port(DEFAULT_VIEWER_PORT), otlp_port=otlp_port, on_export=recording.add)


async def fill(engine_url: str) -> int:
    """Put the catalogue into the engine's index and say how many products it has."""
    async with AsyncElasticsearch(engine_url, node_class=engine.EmbeddedNode) as client:
        async_connections.add_connection("default", client)
        await Product.init()
        actions = (
            {"_index": PRODUCTS_INDEX, "_id": product.pop("id"), "_source": product} for product in catalogue.products()
        )
        count, _ = await helpers.async_bulk(client, actions, refresh=True)
        async_connections.remove_connection("default")
        archived = [
            {"_index": ARCHIVE_INDEX, "_source": {"name": product["name"], "brand": product["brand"]}}
            for product in catalogue.products(_ARCHIVED)
        ]
        await helpers.async_bulk(client, archived, refresh=True)
    return count


def _environment(engine_url: str, receiver: Receiver | Viewer) -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if name not in _EXPORTER_VARIABLES}
    environ |= {
        "ELASTICSEARCH_URL": engine_url,
        "ELASTICSEARCH_NODE_CLASS": engine.NODE_CLASS,
        "OTEL_SERVICE_NAME": SERVICE_NAME,
        "OTEL_PYTHON_DISTRO": "otel_search",  # another distribution may be installed here, too
        "OTEL_SEARCH_LOG_FORMAT": "json",  # the report reads them
        # The defaults, a minute for metrics and five seconds for spans, are for production.
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_SCHEDULE_DELAY": "500",
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), HOST, "localhost"))),
    }
    if receiver.endpoint != f"http://{HOST}:{DEFAULT_PORT}":
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.endpoint
    return environ


def _beside_python(name: str) -> str:
    program = Path(sys.executable).with_name(name)
    if not program.exists():
        raise DemoError(f"{name} is not installed beside {sys.executable}: pip install 'otel-search[demo]'")
    return str(program)


def _wait_until_ready(service: Process, base_url: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        if service.popen.poll() is not None:
            raise DemoError(
                f"the service ended with status {service.popen.returncode} before it was ready; its last words:\n"
                f"{service.last_lines()}"
            )
        try:
            if httpx.get(f"{base_url}/health", timeout=2.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise DemoError(f"the service was not ready in {READY_TIMEOUT:.0f} s; its last words:\n{service.last_lines()}")


def _load_and_show(console: Console, service: Process, base_url: str, recording: Recording) -> int:
    began = time.monotonic()
    try:
        outcomes = load.send(base_url)
    except httpx.TransportError as error:
        raise DemoError(f"the service stopped to answer: {error}; its last words:\n{service.last_lines()}") from error
    console.print(f"Load      {len(outcomes)} requests in {time.monotonic() - began:.1f} s")

    def missing(seen: Recording) -> list[str]:
        return checks.missing(outcomes, seen, log_lines(service.output), SERVICE_NAME)

    if all(outcome.trace_id for outcome in outcomes):  # else there is nothing to wait for
        with contextlib.suppress(TimeoutError):
            recording.wait_for(lambda seen: not missing(seen), TELEMETRY_TIMEOUT)
    faults = missing(recording)

    lines = log_lines(service.output)
    report.traces(console, outcomes, recording)
    for outcome in outcomes:
        if outcome.request.kind == load.LOGGED_KIND and outcome.trace_id:
            report.log_lines(console, outcome.trace_id, lines)
            break
    report.metrics(console, recording, SERVICE_NAME)
    report.verdict(console, outcomes, faults)
    if faults:
        report.complaints(console, lines)
    return 1 if faults else 0


def log_lines(output: Path) -> list[Mapping[str, Any]]:
    """The JSON objects among the lines of a file; a line that is still being written is left out."""
    lines: list[Mapping[str, Any]] = []
    for text in output.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _serve(console: Console, service: Process, base_url: str, receiver: Receiver | Viewer) -> None:
    report.to_try(console, base_url, service.output, receiver.url if isinstance(receiver, Viewer) else None)
    ended = threading.Event()
    # The page shows a service at work: some requests go on.
    going_on = threading.Thread(target=load.go_on, args=(base_url, ended), name="load", daemon=True)
    going_on.start()
    try:
        status = service.popen.wait()
    finally:
        ended.set()
        going_on.join()
    raise DemoError(f"the service ended by itself with status {status}; its last words:\n{service.last_lines()}")


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a letter shows ?
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 140  # nobody has said how wide a file or pipe is; rich would take 80
    return console
