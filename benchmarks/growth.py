"""How the cost of telemetry grows with what a request can grow by: flat, or as documented.

For each size of each dimension (`growing.py`) the same requests are made with plain JSON logging and with
otel-search, in processes of their own; telemetry's cost is the difference of their CPU time a request.

    make bench-growth
    make bench-growth ARGS='--write docs/overhead.md'
    python -m benchmarks.growth --only routes bulk --seconds 0.5 --rounds 3
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import chart, serving, tables
from benchmarks.growing import DIMENSIONS
from benchmarks.loads import LOADS
from benchmarks.processes import result_of
from benchmarks.receiver import Receiver
from benchmarks.variants import OURS, PLAIN, VARIANTS

COMPARED = (PLAIN, OURS)
CHART = "growth.svg"
WORKERS_RATE = 50.0
"""Requests a second for each worker: no more than four workers and the client can have on two cores."""

Figures = dict[str, dict[Any, dict[str, list[dict[str, float]]]]]
"""The rows of all rounds, by dimension, size and variant."""


@contextlib.contextmanager
def collector(state: Any) -> Iterator[str]:
    """Where to export to: a Collector that is well, or is not."""
    if state == "down":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # and never listens
            yield f"http://127.0.0.1:{unused.getsockname()[1]}"
        return
    receiver = Receiver(status=503 if state == "refuses" else 200, seconds=2.0 if state == "slow" else 0.0)
    try:
        yield receiver.endpoint
    finally:
        receiver.close()


def row_of(name: str, size: Any, variant: str, seconds: float) -> dict[str, float]:
    """One round of one size with one variant."""
    with collector(size) as endpoint:
        made = VARIANTS[variant]
        if DIMENSIONS[name].prepare is None:
            return with_workers(variant, endpoint, size, seconds)
        return result_of(made.command("benchmarks.growing", name, str(size), str(seconds)), endpoint, made.variables)


def with_workers(variant: str, endpoint: str, workers: int, seconds: float) -> dict[str, float]:
    """CPU microseconds a request of all processes of a server, at an even rate for each worker."""
    load = LOADS["search"]

    def paced(seconds: float) -> list[float]:
        return asyncio.run(serving.paced(served.url, load, seconds=seconds, rate=WORKERS_RATE * workers))

    with serving.serving(VARIANTS[variant], endpoint, workers) as served:
        paced(seconds)
        cpu = served.cpu()
        # Longer than elsewhere, since the system tells a process's CPU time in hundredths of a second.
        times = paced(4 * seconds)
        return {
            "cpu": (served.cpu() - cpu) / len(times) * 1e6,
            "p50": serving.quantile(times, 0.5),
            "p99": serving.quantile(times, 0.99),
        }


def measure(names: list[str], rounds: int, seconds: float, sizes: int | None) -> Figures:
    """All rounds, interleaved; of each dimension the first `sizes`."""
    figures: Figures = {}
    for number in range(rounds):
        for name in names:
            for size in DIMENSIONS[name].sizes[:sizes]:
                for variant in tables.rotated(list(COMPARED), number):
                    row = row_of(name, size, variant, seconds)
                    figures.setdefault(name, {}).setdefault(size, {}).setdefault(variant, []).append(row)
    return figures


def cost(by_variant: dict[str, list[dict[str, float]]]) -> float:
    """CPU microseconds of telemetry a request: the median over the rounds."""
    ours, plain = (statistics.median(row["cpu"] for row in by_variant[name]) for name in (OURS, PLAIN))
    return ours - plain


def report(figures: Figures, seconds: float) -> str:
    """A table of all dimensions in Markdown."""
    rows = []
    for name, by_size in figures.items():
        for size, by_variant in by_size.items():
            cpu = [tables.spread([row["cpu"] for row in by_variant[variant]]) for variant in COMPARED]
            p99 = [f"{statistics.median(row['p99'] for row in by_variant[variant]):.2f}" for variant in COMPARED]
            shown = f"{size:,}" if isinstance(size, int) else size
            rows.append([DIMENSIONS[name].title, shown, *cpu, f"{cost(by_variant):.0f}", *p99])
    heads = ["by", "size", "plain CPU µs", "otel-search CPU µs", "telemetry µs", "plain p99 ms", "otel-search p99 ms"]
    growth = "\n".join(f"- {DIMENSIONS[name].title}: {_grown(by_size)}" for name, by_size in figures.items())
    parts = [
        f"`{tables.command('benchmarks.growth')}` on {tables.machine()}; {seconds:g} s for each row and round.",
        "Telemetry's cost a request from the smallest to the largest size:\n\n" + growth,
        tables.table(heads, rows),
    ]
    return "\n\n".join(parts)


def _grown(by_size: dict[Any, dict[str, list[dict[str, float]]]]) -> str:
    costs = [(size, cost(by_variant)) for size, by_variant in by_size.items()]
    return ", ".join(
        f"{value:.0f} µs at {size:,}" if isinstance(size, int) else f"{value:.0f} µs if it {_state(size)}"
        for size, value in costs
    )


def _state(name: str) -> str:
    return name if name in {"answers", "refuses"} else f"is {name}"


def panels(figures: Figures) -> list[chart.Panel]:
    """A panel for each dimension whose sizes are numbers."""
    return [
        chart.Panel(DIMENSIONS[name].title, [(size, cost(by_variant)) for size, by_variant in by_size.items()])
        for name, by_size in figures.items()
        if all(isinstance(size, int) for size in by_size)
    ]


def main() -> None:
    """Run the rounds and say what came of them."""
    parser = tables.parser(__doc__, rounds=1)
    parser.add_argument("--only", nargs="+", choices=DIMENSIONS, default=list(DIMENSIONS))
    parser.add_argument("--seconds", type=float, default=1.0, help="of requests for each size and variant a round")
    parser.add_argument("--sizes", type=int, help="only the first so many sizes of each dimension")
    parser.add_argument(
        "--write", type=Path, metavar="DOCUMENT", help=f"replace its generated part, with {CHART} beside it"
    )
    options = parser.parse_args()
    began = time.monotonic()
    figures = measure(options.only, options.rounds, options.seconds, options.sizes)
    text = report(figures, options.seconds)
    print(text)
    print(f"\n{time.monotonic() - began:.0f} s in all")
    if options.write:
        drawing = options.write.parent / "images" / CHART
        drawing.parent.mkdir(exist_ok=True)
        drawing.write_text(chart.drawn(panels(figures), "telemetry, CPU µs a request"), encoding="utf-8")
        tables.write_part(options.write, "growth", f"![CPU of telemetry by size](images/{CHART})\n\n{text}")


if __name__ == "__main__":
    main()
