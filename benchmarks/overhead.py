"""What telemetry costs a request, beside what others cost, and what each sends for it.

Each variant (`variants.py`) is the same application in processes of its own, driven through ASGI in process
and behind uvicorn, with a local receiver in another process. Rounds are interleaved, so that a change of
the machine's speed hits all variants alike; figures are medians over the rounds. CPU is that of all threads
of the process, exporters and final flush included.

    make bench
    make bench ARGS='--write docs/overhead.md'
    python -m benchmarks.overhead --rounds 3 --requests 500 --only upstream otel-search --served-rounds 0
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from pathlib import Path

from benchmarks import instructions, serving, tables
from benchmarks.goals import verdict
from benchmarks.loads import LOADS
from benchmarks.processes import result_of
from benchmarks.receiver import Receiver
from benchmarks.results import Results
from benchmarks.variants import BARE, OURS, PLAIN, UPSTREAM, VARIANTS, chosen

SENT = ("spans", "points", "records", "bytes")


def drive(results: Results, names: list[str], loads: list[str], rounds: int) -> None:
    """The rounds in process."""
    receiver = Receiver()
    sent = {load: {name: Counter[str]() for name in names} for load in loads}
    for number in range(rounds):
        for load in loads:
            for name in tables.rotated(names, number):
                variant = VARIANTS[name]
                command = variant.command("benchmarks.driver", variant.app, load, str(results.requests))
                row = result_of(command, receiver.endpoint, variant.variables)
                results.driven.setdefault(load, {}).setdefault(name, []).append(row)
                sent[load][name] += receiver.take() + Counter(row.get("scraped", {}))
    receiver.close()
    # The warm-up sends, too.
    requests = rounds * (results.requests + max(1, results.requests // 5))
    results.sent = {
        load: {name: {key: counts[key] / requests for key in SENT} for name, counts in by_name.items()}
        for load, by_name in sent.items()
    }


def serve(results: Results, names: list[str], loads: list[str], rounds: int, seconds: float) -> None:
    """The rounds behind a server."""
    receiver = Receiver()
    for number in range(rounds):
        for name in tables.rotated(names, number):
            row = serving.measure(VARIANTS[name], receiver.endpoint, loads, seconds=seconds, rate=results.rate)
            results.served.setdefault(name, []).append(row)
            receiver.bodies.clear()
    receiver.close()


def report(results: Results) -> str:
    """The whole report in Markdown."""
    parts = [f"`{results.command}` on {results.machine}.", "### The goals", verdict(results)]
    for load, rows in results.driven.items():
        parts += [f"### In process: {LOADS[load].title}", driven_table(results, load, list(rows))]
    if results.driven:
        parts += ["### What each sent for a request", sent_table(results)]
    if results.served:
        parts += ["### Behind uvicorn, one worker", process_table(results)]
        for load in next(iter(results.served.values()))[0]["loads"]:
            parts += [f"#### {LOADS[load].title}", served_table(results, load)]
    if results.instructions:
        parts += ["### Instructions", instructions.report(results.instructions)]
    return "\n\n".join(parts)


def driven_table(results: Results, load: str, names: list[str]) -> str:
    """CPU and quantiles of one load."""
    heads = ["variant", "CPU µs", "over plain", "to upstream", "p50 ms", "p99 ms", "p99.9 ms", "p99 to bare"]
    rows = []
    for name in names:
        measured = results.driven[load][name]
        times = [tables.spread([row[key] for row in measured], 2) for key in ("p50", "p99", "p999")]
        over = f"{results.overhead(load, name):.0f}" if PLAIN in names else ""
        ratio = f"{results.to_upstream(load, name):.2f}" if {PLAIN, UPSTREAM} <= set(names) else ""
        tail = f"{results.tail(load, name):.2f}" if BARE in names else ""
        rows.append([name, tables.spread([row["cpu"] for row in measured]), over, ratio, *times, tail])
    return tables.table(heads, rows)


def sent_table(results: Results) -> str:
    """What each variant sent for what it cost."""
    rows = [
        [name, LOADS[load].title, *(f"{counts[key]:.2f}" for key in SENT[:3]), f"{counts['bytes']:.0f}"]
        for load, by_name in results.sent.items()
        for name, counts in by_name.items()
    ]
    return tables.table(["variant", "load", "spans", "metric points", "log records", "bytes"], rows)


def process_table(results: Results) -> str:
    """What concerns the process and not a request."""
    rows = []
    for name, measured in results.served.items():
        figures = [
            tables.spread([row[key] for row in measured], digits)
            for key, digits in (("start", 2), ("exit", 2), ("rss", 0))
        ]
        setup = f"{results.setup(name):.2f}" if results.driven else ""
        rows.append([name, *figures, setup])
    return tables.table(["variant", "start s", "exit s", "RSS MB under load", "import and set-up, CPU s"], rows)


def served_table(results: Results, load: str) -> str:
    """Throughput and latency of one load."""
    rows = []
    for name, measured in results.served.items():
        by_round = [row["loads"][load] for row in measured]
        paced = [tables.spread([row[key] for row in by_round], 2) for key in ("p50", "p99")]
        full = [
            tables.spread([row[key] for row in by_round], digits) if "rps" in by_round[0] else "no wrk"
            for key, digits in (("rps", 0), ("p99 saturated", 1))
        ]
        rows.append([name, *paced, *full])
    rate = f"at {results.rate * LOADS[load].share:g} a second"
    return tables.table(
        ["variant", f"p50 ms {rate}", f"p99 ms {rate}", "requests/s at saturation", "p99 ms there"], rows
    )


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = tables.parser(__doc__, rounds=7)
    parser.add_argument("--requests", type=int, default=2000, help="measured requests a round, after a warm-up")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help=f"of {', '.join(VARIANTS)}; bare and plain always")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--served-rounds", type=int, default=3, help="rounds behind uvicorn, 0 for none")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of each load behind uvicorn, paced and at saturation"
    )
    parser.add_argument("--rate", type=float, default=100.0, help="searches a second of the paced client")
    parser.add_argument("--instructions", action="store_true", help="count instructions, too: minutes a variant")
    parser.add_argument("--save", type=Path, metavar="JSON", help="keep the rows of all rounds")
    parser.add_argument("--read", type=Path, metavar="JSON", help="measure nothing, report what was saved")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="replace its generated part by the report")
    return parser.parse_args()


def run(options: argparse.Namespace) -> Results:
    """Measure what is asked for."""
    names = chosen(dict.fromkeys([BARE, PLAIN, *options.only]) if options.only else None)
    results = Results(tables.command("benchmarks.overhead"), tables.machine(), options.requests, options.rate)
    drive(results, names, options.loads, options.rounds)
    if options.served_rounds:
        if not shutil.which("wrk"):
            print("NOTICE: no `wrk` (Debian has it): throughput at saturation is left out")
        serve(results, names, options.loads, options.served_rounds, options.seconds)
    if options.instructions:
        compared = [name for name in (PLAIN, UPSTREAM, OURS) if name in names]
        results.instructions = instructions.count(compared, options.loads)
    return results


def main() -> None:
    """Run the rounds and say what came of them."""
    options = arguments()
    results = Results.load(options.read) if options.read else run(options)
    if options.save:
        results.save(options.save)
    text = report(results)
    print(text)
    if options.write:
        tables.write_part(options.write, "overhead", text)


if __name__ == "__main__":
    main()
