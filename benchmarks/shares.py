"""What each part of otel-search takes of a request's CPU time: what is saved by leaving that part out, by its setting.

And what is saved at most by writing its pure functions in another language: they work once and give that answer
ever after. Interleaved rounds, one process for each; the figure is the difference of medians, so it is as uncertain as both. Parts
work together, and what each saves need not add up to the whole.

    python -m benchmarks.shares --write docs/overhead.md
"""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks import tables
from benchmarks.loads import LOADS
from benchmarks.processes import result_of
from benchmarks.receiver import Receiver
from benchmarks.variants import OURS, PLAIN, VARIANTS

EVERYTHING = "everything"
PARTS: dict[str, dict[str, str]] = {
    "spans that are sampled": {"OTEL_TRACES_SAMPLER": "always_off"},
    "Elasticsearch calls: spans, metrics, what request and reply say": {
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "elasticsearch"
    },
    "the text and the shape of their queries": {"OTEL_SEARCH_QUERY_TEXT": "off"},
    "metrics": {"OTEL_METRICS_EXPORTER": "none", "OTEL_SEARCH_ROUTES": "health"},
    "log records, beside the lines": {"OTEL_LOGS_EXPORTER": "none"},
    "the access line": {"OTEL_SEARCH_ACCESS_LOG": "off"},
    "redaction": {"OTEL_SEARCH_REDACT": "off"},
    "all that it does": {"OTEL_SDK_DISABLED": "true"},
}

_ENCODING = "otel_search.encoding:_span,otel_search.encoding:_event_record"
_QUERIES = ",".join(
    f"otel_search.elasticsearch.request:{name}" for name in ("sanitize", "shape_of", "query_type", "query_hash")
)
FREE: dict[str, str] = {
    "spans and log records were encoded in no time": _ENCODING,
    "texts, shapes and hashes of queries were made in no time": _QUERIES,
    "both were": f"{_ENCODING},{_QUERIES}",
}


def measure(load: str, parts: list[str], rounds: int, requests: int) -> dict[str, list[float]]:
    """CPU microseconds a request with plain JSON logging, with everything, and without each of these parts.

    Args:
        load: The name of the load.
        parts: Names in `PARTS`, and in `FREE`.
        rounds: How often each is measured.
        requests: Of each round.

    Returns:
        The rounds' figures by name.
    """
    receiver = Receiver()
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in (PLAIN, EVERYTHING, *parts):
            variables = PARTS.get(name, {})
            variant = VARIANTS[PLAIN if name == PLAIN else OURS]
            module = ["benchmarks.constant", FREE[name]] if name in FREE else ["benchmarks.driver"]
            command = variant.command(*module, variant.app, load, str(requests))
            result = result_of(command, receiver.endpoint, {**variant.variables, **variables})
            found.setdefault(name, []).append(result["cpu"])
            receiver.take()
    receiver.close()
    return found


def report(found: dict[str, dict[str, list[float]]]) -> str:
    """A table: a row for each part, and for each load what is left without it and what that saves."""
    rows = []
    names = next(iter(found.values()))
    for name in (EVERYTHING, *(name for name in names if name in PARTS or name in FREE), PLAIN):
        row = [f"without {name}" if name in PARTS else f"if {name}" if name in FREE else name]
        for values in found.values():
            saved = statistics.median(values[EVERYTHING]) - statistics.median(values[name])
            row += [tables.spread(values[name]), "" if name == EVERYTHING else f"{saved:.0f}"]
        rows.append(row)
    heads = ["CPU µs a request", *(cell for load in found for cell in (LOADS[load].title, "saved"))]
    return f"`{tables.command('benchmarks.shares')}` on {tables.machine()}.\n\n{tables.table(heads, rows)}"


def main() -> None:
    """Measure, and print or write what came of it."""
    parser = tables.parser(__doc__, rounds=5)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=["search", "categories"])
    parser.add_argument("--only", nargs="+", choices=[*PARTS, *FREE], default=[*PARTS, *FREE], metavar="PART")
    parser.add_argument("--requests", type=int, default=2000, help="of each load and round")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="replace its generated part by the report")
    options = parser.parse_args()
    text = report({load: measure(load, options.only, options.rounds, options.requests) for load in options.loads})
    print(text)
    if options.write:
        tables.write_part(options.write, "shares", text)


if __name__ == "__main__":
    main()
