"""`otel-search demo`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Start an embedded search engine and a sample search service under `opentelemetry-instrument`, "
        "send it a short load, and show the traces, log lines and metrics that arrive, here and on the viewer's page. "
        "Everything stays on 127.0.0.1."
    )
    parser.epilog = "example:\n  otel-search demo --port 8080"
    parser.add_argument("--once", action="store_true", help="end after the report: status 0 if everything was seen")
    parser.add_argument("--no-viewer", action="store_true", help="only report here, without the viewer's page")
    parser.add_argument(
        "--port", type=_port, help="port of the service, 0 for any free one (default: 8000, or any if that is taken)"
    )


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; accepted: 0 to 65535")


def run(parsed: argparse.Namespace) -> int:
    """Run the demo."""
    from otel_search.demo.run import run as run_demo

    return run_demo(once=parsed.once, port=parsed.port, viewer=not parsed.no_viewer)
