"""A scripted day of a search service, and what its KPIs are, counted one by one."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from otel_search.semconv import DURATION_BUCKETS

HOUR, IDLE_GAP, LOOKED_BACK = 3600.0, 1800.0, 4 * 3600.0
OUTCOMES = ["hits"] * 80 + ["empty"] * 12 + ["partial"] * 5 + ["timeout"] * 3
STATUSES = [200] * 90 + [404] * 4 + [422] * 2 + [429] + [500] * 2 + [503]


@dataclass(frozen=True)
class Visit:
    """One request.

    Attributes:
        status: `None` for a client that left before it had its answer.
        outcome: Of its search, if it made one.
    """

    time: float
    user: str
    session: str
    status: int | None
    duration: float
    outcome: str | None
    shape: str

    @property
    def kind(self) -> str:
        if self.status is None:
            return "aborted"
        return "failed" if self.status >= 500 else "client_error" if self.status >= 400 else "ok"


def visits(start: float, seed: int = 7) -> list[Visit]:
    """A day that begins at `start`: a quiet night, a busy noon, sessions of any length, some taken up again later."""
    chance = random.Random(seed)
    found: list[Visit] = []
    for number in range(700):
        hour = min(23.5, max(0.0, chance.gauss(13, 5)))
        user, time = f"user {chance.randrange(250)}", start + hour * HOUR
        for _ in range(chance.choice([1, 1, 2, 3, 5, 8, 12])):
            if time >= start + 24 * HOUR:
                break
            status = chance.choice(STATUSES)
            left = chance.random() < 0.02
            found.append(
                Visit(
                    # To the millisecond, and never on the edge of a minute.
                    round(time // 1 + 0.5 + chance.random() / 4, 3),
                    user,
                    f"session {number}",
                    None if left else status,
                    round(min(9.0, chance.lognormvariate(-1.9, 0.9)) + 1e-6, 6),
                    None
                    if left or status in (404, 422, 429)
                    else "error"
                    if status >= 500
                    else chance.choice(OUTCOMES),
                    chance.choice("aaaaaabbc") + "x",
                )
            )
            time += chance.choice([20, 60, 200, 600, 1500, 1500, 2400])
    return sorted(found, key=lambda visit: visit.time)


def stays(seen: list[Visit], start: float, end: float) -> list[float]:
    """How long the sessions with a request between `start` and `end` lasted."""
    lengths = []
    for session in {visit.session for visit in seen}:
        times = [v.time for v in seen if v.session == session and start - LOOKED_BACK <= v.time < end]
        parts: list[list[float]] = []
        for time in times:
            if parts and time - parts[-1][-1] <= IDLE_GAP:
                parts[-1].append(time)
            else:
                parts.append([time])
        lengths += [part[-1] - part[0] for part in parts if part[-1] >= start]
    return lengths


def answers(seen: list[Visit], start: float, end: float) -> dict[str, Any]:
    """The KPIs of the time between two moments; of a latency, the bucket that it lies in."""
    window = [visit for visit in seen if start <= visit.time < end]
    kinds = Counter(visit.kind for visit in window)
    outcomes = Counter(visit.outcome for visit in window if visit.outcome)
    served = kinds["ok"] + kinds["client_error"] + kinds["failed"]
    good = [visit.duration for visit in window if visit.kind == "ok"]
    timed = sorted(visit.duration for visit in window if visit.kind in ("ok", "failed"))
    satisfied = sum(duration <= 0.25 for duration in good)
    tolerating = sum(0.25 < duration <= 1 for duration in good)
    lengths = stays(seen, start, end)

    def bucket(share: float) -> int:
        return bisect.bisect_left(DURATION_BUCKETS, timed[min(len(timed) - 1, int(share * len(timed)))])

    return {
        "request_volume": served * HOUR / (end - start),
        "error_rate": kinds["failed"] / served,
        "availability": 1 - kinds["failed"] / served,
        "aborted_rate": kinds["aborted"] / (served + kinds["aborted"]),
        "apdex": (satisfied + tolerating / 2) / len(timed),
        "search_volume": outcomes.total() * HOUR / (end - start),
        "zero_result_rate": outcomes["empty"] / (outcomes["hits"] + outcomes["empty"]),
        "partial_rate": (outcomes["partial"] + outcomes["timeout"]) / outcomes.total(),
        "search_error_rate": outcomes["error"] / outcomes.total(),
        "unique_users": len({visit.user for visit in window}),
        "session_length": sum(lengths) / len(lengths),
        "latency_p50": bucket(0.5),
        "latency_p95": bucket(0.95),
    }
