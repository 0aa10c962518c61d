"""The command `otel-search`.

A command is a module beside this one with `add_arguments(parser)` and `run(parsed) -> int`, and a
row in `COMMANDS`. Its module is imported only when it is asked for, and imports what it works with
only when it runs: `otel-search --help` answers at once, whatever is installed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from otel_search import __version__

COMMANDS = {
    "demo": "a sample search service with its engine, real requests, and what came of them",
    "viewer": "receive OTLP on this machine, and look at it on a web page",
}
"""Each command with what it is, in the order of `--help`."""

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
    arguments = sys.argv[1:] if arguments is None else arguments
    parsed = _parser(arguments).parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "otel_search":
            raise
        print(
            f"otel-search {parsed.command} needs {error.name}: pip install 'otel-search[{parsed.extra}]'",
            file=sys.stderr,
        )
        return 1
    return status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otel-search",
        description="The OpenTelemetry distribution for Python search services.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"otel-search {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in arguments:
            module = importlib.import_module(f"otel_search.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run, extra=getattr(module, "EXTRA", name))
    return parser
