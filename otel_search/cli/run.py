"""`otel-search run`."""

from __future__ import annotations

import argparse

EXTRA = "viewer"
TAKES_COMMAND = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Start a service under `opentelemetry-instrument`, with the viewer beside it. Both end together: by Ctrl-C, by "
        "SIGTERM, or when the service ends; the status is that of the service. If another receiver listens on the port "
        "already, its telemetry goes there. For development: production has the launcher alone."
    )
    parser.usage = "otel-search run [options] -- COMMAND ..."
    parser.epilog = """\
examples:
  otel-search run -- uvicorn app:app --reload
  otel-search run --port 0 -- gunicorn app:app -k uvicorn.workers.UvicornWorker
"""
    parser.add_argument("--port", type=_port, help="port of the page, 0 for any free one (default: 4319, or any)")
    parser.add_argument(
        "--otlp-port", type=_port, help="port of the receiver, 0 for any free one (default: 4318, or any)"
    )


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; accepted: 0 to 65535")


def run(parsed: argparse.Namespace) -> int:
    """Run the service and the viewer."""
    import sys

    from otel_search.cli.beside import StartError, run_beside

    try:
        return run_beside(parsed.argv, port=parsed.port, otlp_port=parsed.otlp_port)
    except StartError as error:
        print(f"otel-search run: {error}", file=sys.stderr)
        return error.status
