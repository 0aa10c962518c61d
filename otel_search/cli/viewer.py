"""`otel-search viewer`."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import threading
from pathlib import Path

EXTRA = "viewer"

_SIZES = {"KB": 1024, "MB": 1024**2, "GB": 1024**3}
_AGES = {"m": 60, "h": 3600, "d": 86400}
_VARIABLES = {
    "otlp_port": ("--otlp-port", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:PORT"),
    "grpc_port": ("--grpc-port", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:PORT"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Receive OTLP on 127.0.0.1, keep it in a bounded file, and show it on a web page: traces, searches, "
        "log lines, metrics, health. For a developer's machine; production has Jaeger, Grafana and Kibana."
    )
    parser.epilog = (
        "examples:\n"
        "  otel-search viewer                    then, in another terminal:\n"
        "  opentelemetry-instrument uvicorn app:app\n"
        "  otel-search viewer --db telemetry.db  keep what was received"
    )
    parser.add_argument("--port", type=_port, default=4319, help="port of the page, 0 for any free one (default: 4319)")
    parser.add_argument(
        "--otlp-port", type=_port, default=4318, help="port for OTLP over HTTP, 0 for any free one (default: 4318)"
    )
    parser.add_argument(
        "--grpc-port",
        type=_port_or_off,
        help="port for OTLP over gRPC, 0 for any free one, or off (default: 4317, if grpcio is installed and it is free)",
    )
    parser.add_argument("--db", type=Path, help="file to keep telemetry in (default: a temporary one)")
    parser.add_argument("--max-size", type=_size, default="512MB", help="how much to keep (default: 512MB)")
    parser.add_argument("--max-age", type=_age, default="24h", help="how long to keep it: 30m, 24h, 7d (default: 24h)")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; accepted: 0 to 65535")


def _port_or_off(text: str) -> int | str:
    return text if text == "off" else _port(text)


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})(KB|MB|GB)", text.upper())
    if match and (size := int(match[1]) * _SIZES[match[2]]) >= 1024**2:
        return size
    raise argparse.ArgumentTypeError(f"{text!r} is not a size; accepted: at least 1MB, as in 512MB or 2GB")


def _age(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([mhd])", text.lower())
    if match and int(match[1]):
        return float(match[1]) * _AGES[match[2]]
    raise argparse.ArgumentTypeError(f"{text!r} is not a time; accepted: as in 30m, 24h or 7d")


def run(parsed: argparse.Namespace) -> int:
    """Run the viewer until a signal comes."""
    from otel_search.viewer import PortTakenError, Viewer
    from otel_search.viewer.store import StoreError

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        viewer = Viewer(
            port=parsed.port,
            otlp_port=parsed.otlp_port,
            grpc_port=_grpc_port(parsed.grpc_port),
            database=parsed.db,
            max_size=parsed.max_size,
            max_age=parsed.max_age,
        )
    except PortTakenError as error:
        option, variable = _VARIABLES.get(error.option, ("--port", ""))
        told = f", and tell the application {variable}" if variable else ""
        print(
            f"otel-search viewer: {error}: end what listens there, or take another one with {option} PORT{told}",
            file=sys.stderr,
        )
        return 1
    except StoreError as error:
        print(f"otel-search viewer: {error}", file=sys.stderr)
        return 1
    with viewer:
        print(f"Viewer    {viewer.url}")
        print(f"Receiver  {viewer.endpoint}  OTLP over HTTP")
        if viewer.grpc_endpoint:
            print(f"Receiver  {viewer.grpc_endpoint}  OTLP over gRPC")
        print("Ctrl-C ends it.", flush=True)
        ended.wait()
    return 0


def _grpc_port(wanted: int | str | None) -> int | None:
    """The port for gRPC; by default its registered one, if it can be had."""
    if wanted == "off":
        return None
    if isinstance(wanted, int):
        return wanted
    import importlib.util

    from otel_search.viewer.loopback import listen
    from otel_search.viewer.viewer import DEFAULT_GRPC_PORT

    if importlib.util.find_spec("grpc") is None:
        return None
    try:
        listen(DEFAULT_GRPC_PORT, "receive OTLP over gRPC").close()
    except OSError as error:
        print(f"No OTLP over gRPC: {error.strerror}", file=sys.stderr)
        return None
    return DEFAULT_GRPC_PORT
