"""`otel-search stack`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.description = (
        "Write what runs Elasticsearch, the Collector, Jaeger, Prometheus, Alertmanager, Grafana and your service on one "
        "machine with `docker compose`. Nothing that exists is overwritten."
    )
    parser.epilog = "example:\n  otel-search stack init . && docker compose --profile full up -d"
    actions = parser.add_subparsers(title="actions", dest="action", required=True, metavar="ACTION")
    for action, summary in {
        "init": "write docker-compose.yml, collector/, a Dockerfile and .env into a directory",
        "env": "write .env alone, with new passwords",
    }.items():
        sub = actions.add_parser(action, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        sub.add_argument("directory", metavar="DIR", type=Path, nargs="?" if action == "env" else None, default=Path())
        sub.add_argument("--append", action="store_true", help="add to the .env that there is what it lacks")


def run(parsed: argparse.Namespace) -> int:
    """Write what was asked for."""
    from otel_search import stack

    directory = parsed.directory
    try:
        written = {"init": stack.init, "env": stack.env}[parsed.action](directory, append=parsed.append)
    except OSError as error:
        print(f"otel-search stack: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    for path in written.kept:
        print(f"kept   {path}")
    for path in written.made:
        print(f"wrote  {path}")
    for note in written.notes:
        print(f"note   {note}")
    if parsed.action == "init":
        print(f"\nNext: cd {directory}; docker compose --profile full up -d")
    return 0
