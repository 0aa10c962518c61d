"""The command `otel-search`.

A command is a module beside this one with `add_arguments(parser)` and `run(parsed) -> int`, and a
row in `COMMANDS`. Its module is imported only when it is asked for, and imports what it works with
only when it runs: `otel-search --help` answers at once, whatever is installed. A module may say more:
`EXTRA` is the extra that has its libraries, if it is not called as the command; `TAKES_COMMAND` that
`parsed.argv` gets what stands after `--`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from otel_search import __version__

COMMANDS = {
    "alerts": "the alert rules: list them, write them for Prometheus and Alertmanager, check a file, send a test mail",
    "demo": "a sample search service with its engine, real requests, and what came of them",
    "run": "a service under the launcher, with the viewer beside it, for development",
    "doctor": "why do I see nothing? look at the environment, the endpoints, and one request of a service",
    "viewer": "receive OTLP on this machine, and look at it on a web page",
    "stack": "write what runs Elasticsearch, the Collector, Jaeger, Prometheus and Grafana beside a service",
}
"""Each command with what it is, in the order of `--help`."""

SHELLS = ("bash", "zsh", "tcsh")

_EXAMPLES = """\
examples:
  otel-search demo                        see it: a sample service, its requests, and what came of them
  otel-search run -- uvicorn app:app      your service under the launcher, with the viewer beside it
  otel-search doctor                      why do I see nothing?
  otel-search COMMAND --help              options and examples of a command

completion by the shell, with the extra `cli`:
  otel-search --print-completion bash > ~/.local/share/bash-completion/completions/otel-search

A service of your own needs no command of ours:
  opentelemetry-instrument uvicorn app:app
"""

_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments after the program's name; those of the process by default.

    Returns:
        The status for the shell: 2 for wrong usage, 130 after Ctrl-C, 141 if nobody reads the output.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a letter shows ?
    try:
        status = _run(arguments)
        if sys.stdout is not None:  # closed before we were started
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # As `head` leaves it. What is in the buffer has nowhere to go when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    return status


def _run(arguments: list[str]) -> int:
    own, separator, argv = _split(arguments)
    name = next((word for word in own if not word.startswith("-")), "")
    parser = _parser([*COMMANDS] if any(word.startswith("--print-completion") for word in own) else [name])
    if name and name not in COMMANDS and own[0] == name:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(COMMANDS)}"
        parser.error(f"{name!r} is no command{meant}")
    parsed = parser.parse_args(own)
    if separator and not parsed.takes_command:
        parser.error(f"otel-search {parsed.command} takes no command after --")
    parsed.argv = argv
    try:
        status: int = parsed.run(parsed)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "otel_search":
            raise
        print(
            f"otel-search {parsed.command} needs {error.name}: pip install 'otel-search[{parsed.extra}]'",
            file=sys.stderr,
        )
        return 1
    return status


def _split(arguments: list[str]) -> tuple[list[str], bool, list[str]]:
    """Our own arguments, and the command after `--` if there is one."""
    if "--" not in arguments:
        return arguments, False, []
    at = arguments.index("--")
    return arguments[:at], True, arguments[at + 1 :]


def _parser(loaded: Sequence[str]) -> argparse.ArgumentParser:
    """The parser, with the arguments of the commands that are asked for."""
    parser = argparse.ArgumentParser(
        prog="otel-search",
        description="The OpenTelemetry distribution for Python search services.",
        epilog=_EXAMPLES,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"otel-search {__version__}")
    parser.add_argument(
        "--print-completion", choices=SHELLS, action=_PrintCompletion, help="print the completion script of a shell"
    )
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=_Help)
        if name in loaded:
            module: Any = importlib.import_module(f"otel_search.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(
                run=module.run,
                extra=getattr(module, "EXTRA", name),
                takes_command=getattr(module, "TAKES_COMMAND", False),
            )
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Paragraphs are wrapped to the terminal's width, and examples stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text.strip():
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _namespace: object, values: Any, *_: object) -> None:
        try:
            import shtab
        except ModuleNotFoundError:
            parser.exit(1, "otel-search --print-completion needs shtab: pip install 'otel-search[cli]'\n")
        print(shtab.complete(parser, values))
        parser.exit()
