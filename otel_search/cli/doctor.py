"""`otel-search doctor`."""

from __future__ import annotations

import argparse
import json
import signal
import sys

TAKES_COMMAND = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Why do I see nothing? Looks at what is installed, at the variables, at the endpoints that telemetry goes to, "
        "and, if there is a command, at the application while it serves one request. Secrets are masked."
    )
    parser.usage = "otel-search doctor [options] [-- COMMAND ...]"
    parser.epilog = """\
examples:
  otel-search doctor                            the environment and its endpoints
  otel-search doctor -- uvicorn app:app         and the application: start it, ask once, follow the trace, end it
  otel-search doctor --path /search?q=a -- uvicorn app:app --port 8080
  otel-search doctor --ignore signal-off        in CI, where that is as it should be
  otel-search doctor --json | jq .findings      for programs; the status is 0 fine, 1 findings, 2 wrong usage

what it can find, and what to do: docs/doctor.md
"""
    parser.add_argument("--json", action="store_true", help="all of it, as JSON")
    parser.add_argument("--all", action="store_true", help="settings at their defaults, too, and all packages")
    parser.add_argument("--path", default="/", help="what to ask the application for (default: /)")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="NAME", help="leave out a finding, for a status that counts"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, help="seconds in which it has to serve, and to answer (default: 30)"
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} are no seconds; accepted: above 0, up to 3600")
    return value


def run(parsed: argparse.Namespace) -> int:
    """Examine, and report."""
    from otel_search import settings
    from otel_search.cli.terminal import Progress, may_use_color
    from otel_search.doctor import report
    from otel_search.doctor.examination import examine
    from otel_search.doctor.finding import CHECKS

    unknown = [name for name in parsed.ignore if name not in CHECKS]
    if unknown:
        print(f"otel-search doctor: --ignore {unknown[0]} is no finding; see docs/doctor.md", file=sys.stderr)
        return 2
    # What was started is ended, and what was written for it is deleted.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    path = parsed.path if parsed.path.startswith("/") else f"/{parsed.path}"
    with Progress(sys.stderr) as progress:
        found = examine(
            dict(settings.environment()),
            parsed.argv,
            ignored=parsed.ignore,
            path=path,
            timeout=parsed.timeout,
            progress=progress.say,
        )
    if parsed.json:
        print(json.dumps(found.facts(), indent=2))
    else:
        report.write(found, sys.stdout, everything=parsed.all, color=may_use_color(sys.stdout))
    return found.status
