"""Whether telemetry costs more than the ratios kept in `kept.json`, with room for noise. By hand, before releases.

Ratios of figures of one run hardly depend on the machine: CPU overhead in upstream's, p99 in the bare
application's, and what is sent for a request. Ends with 1 if one of them has become worse.

    make bench-check
    make bench-check ARGS=--keep      keep what this run has measured
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks import tables
from benchmarks.loads import LOADS
from benchmarks.overhead import drive
from benchmarks.results import Results
from benchmarks.variants import BARE, OURS, PLAIN, UNSAMPLED, UPSTREAM, VARIANTS, chosen

KEPT = Path(__file__).parent / "kept.json"
COMPARED = (BARE, PLAIN, UPSTREAM, OURS, UNSAMPLED)
ROOM = {"CPU to upstream": (1.15, 0.05), "p99 to bare": (1.5, 1.0), "spans": (1.0, 0.01), "bytes": (1.05, 50.0)}
"""By how much a ratio may be higher than kept: a factor, and an amount beside it."""


def figures(results: Results) -> dict[str, dict[str, float]]:
    """The ratios of a run, by variant and load."""
    return {
        f"{name}, {LOADS[load].title}": {
            "CPU to upstream": round(results.to_upstream(load, name), 3),
            "p99 to bare": round(results.tail(load, name), 2),
            "spans": round(results.sent[load][name]["spans"], 2),
            "bytes": round(results.sent[load][name]["bytes"]),
        }
        for load in results.driven
        for name in (OURS, UNSAMPLED)
    }


def worse(kept: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What has become worse than kept, by more than noise."""
    found = []
    for case, before in kept.items():
        for what, value in before.items():
            factor, amount = ROOM[what]
            if case in now and now[case][what] > value * factor + amount:
                found.append(f"{case}: {what} {now[case][what]:g}, kept is {value:g}")
    return found


def main() -> None:
    """Measure, and compare or keep."""
    parser = tables.parser(__doc__, rounds=3)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.name} anew")
    options = parser.parse_args()
    if not VARIANTS[UPSTREAM].exists:
        raise SystemExit(f"{VARIANTS[UPSTREAM].environment} is missing; `make bench-check` makes it")
    results = Results(tables.command("benchmarks.check"), tables.machine(), options.requests, 0.0)
    drive(results, chosen(COMPARED), list(LOADS), options.rounds)
    now = figures(results)
    kept = {} if options.keep else json.loads(KEPT.read_text(encoding="utf-8"))["ratios"]
    heads = ["case", *ROOM]
    print(
        tables.table(
            heads,
            (
                [case, *(f"{v:g} (kept {kept[case][k]:g})" if case in kept else f"{v:g}" for k, v in row.items())]
                for case, row in now.items()
            ),
        )
    )
    if options.keep:
        said = {"command": results.command, "machine": results.machine, "ratios": now}
        KEPT.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
        return
    if found := worse(kept, now):
        print("\nWorse than kept:", *found, sep="\n- ")
        sys.exit(1)
    print("\nNothing is worse than kept.")


if __name__ == "__main__":
    main()
