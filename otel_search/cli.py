"""The command `otel-search`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from otel_search import __version__

_EXAMPLES = """\
examples:
  otel-search demo            start the demo, show what its telemetry says, serve until Ctrl-C
  otel-search demo --once     the same, but end with status 0 if everything was seen

A service of your own needs no command of ours:
  opentelemetry-instrument uvicorn app:app
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments after the program's name; those of the process by default.

    Returns:
        The status for the shell.
    """
    parsed = _parser().parse_args(arguments)
    try:
        return _demo(parsed)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-search",
        description="The OpenTelemetry distribution for Python search services.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"otel-search {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="a sample search service with its engine, real requests, and what came of them",
        description="Start an embedded search engine and a sample search service under `opentelemetry-instrument`, "
        "send it a short load, and show the traces, log lines and metrics that arrive. Everything stays on 127.0.0.1.",
        epilog="example:\n  otel-search demo --port 8080",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--once", action="store_true", help="end after the report: status 0 if everything was seen")
    demo.add_argument(
        "--port", type=_port, help="port of the service, 0 for any free one (default: 8000, or any if that is taken)"
    )
    return parser


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; accepted: 0 to 65535")


def _demo(parsed: argparse.Namespace) -> int:
    try:
        from otel_search.demo.run import run
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "otel_search":
            raise
        print(f"otel-search demo needs {error.name}: pip install 'otel-search[demo]'", file=sys.stderr)
        return 1
    return run(once=parsed.once, port=parsed.port)


if __name__ == "__main__":
    sys.exit(main())
