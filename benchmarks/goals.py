"""The goals, and what a run has reached of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.loads import LOADS
from benchmarks.results import Results
from benchmarks.tables import short, table
from benchmarks.variants import BARE, ELASTIC_APM, OURS, UNSAMPLED, UPSTREAM, VARIANTS


@dataclass(frozen=True)
class Goal:
    """A goal and what came of it.

    Attributes:
        text: The goal.
        case: The load, or where it was measured.
        limit: What is allowed.
        reached: What was measured.
        unit: Of both.
    """

    text: str
    case: str
    limit: float
    reached: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it was reached."""
        return self.reached <= self.limit


def goals(results: Results) -> Iterator[Goal]:
    """All goals of which the run has the figures."""
    for load, rows in results.driven.items():
        case = LOADS[load].title
        if {OURS, UPSTREAM} <= rows.keys():
            reached = results.to_upstream(load, OURS)
            yield Goal("CPU overhead at most one fifth of upstream's", case, 0.2, reached, " of upstream's")
        if {UNSAMPLED, UPSTREAM} <= rows.keys():
            reached = results.to_upstream(load, UNSAMPLED)
            yield Goal("unsampled at most a tenth of upstream's", case, 0.1, reached, " of upstream's")
        if {OURS, BARE} <= rows.keys():
            yield Goal("p99 within twice the bare application's", case, 2.0, results.tail(load, OURS), " times bare")
        tracers = [name for name in rows if VARIANTS[name].traces and name not in {OURS, UNSAMPLED, ELASTIC_APM}]
        for name, text in ((ELASTIC_APM, "less than elastic-apm"), ("", "less than every other tracer")):
            others = [name] if name else tracers
            if OURS in rows and others and set(others) <= rows.keys():
                limit = min(results.overhead(load, other) for other in others)
                yield Goal(text, case, limit, results.overhead(load, OURS), " µs a request")
    first = next(iter(results.driven.values()), {})
    if {OURS, UPSTREAM, BARE} <= first.keys():
        added = [results.setup(name) - results.setup(BARE) for name in (OURS, UPSTREAM)]
        yield Goal("set-up at most 60 % of what upstream adds", "CPU time", 0.6, added[0] / added[1], " of upstream's")
    if {OURS, BARE} <= results.served.keys():
        ours, bare = (results.served_median(name, "rss") for name in (OURS, BARE))
        yield Goal("at most 40 MB more than bare", "a worker under load", 40.0, ours - bare, " MB")


def verdict(results: Results) -> str:
    """A table of the goals, and in words which are missed."""
    found = list(goals(results))
    if not found:
        return "This run has not measured what the goals are about."
    rows = [
        [
            goal.text,
            goal.case,
            f"{short(goal.limit)}{goal.unit}",
            f"{short(goal.reached)}",
            "met" if goal.is_met else "**missed**",
        ]
        for goal in found
    ]
    missed = [f"{goal.text} ({goal.case}): {short(goal.reached)}{goal.unit}" for goal in found if not goal.is_met]
    said = f"{len(missed)} of {len(found)} goals are missed in this run" if missed else "All goals are met in this run"
    listed = "".join(f"\n- {one}" for one in missed)
    return table(["goal", "where", "allowed", "reached", ""], rows) + f"\n\n{said}{':' if missed else '.'}{listed}"
