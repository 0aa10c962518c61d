"""Elasticsearch's own disk watermarks: which nodes have passed one, and what it means.

Beyond the flood stage Elasticsearch makes the indices on a node read-only; beyond the high watermark it
moves shards away; beyond the low one it allocates none. Both questions need the privilege `monitor`:
who has it not is not asked again for a while, and health is what it is without the answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from otel_search.health.check import HealthResult, Status

Ask = Callable[[str, str, float], tuple[int, bytes]]

_PREFIX = "cluster.routing.allocation.disk."
_SETTINGS = "/_cluster/settings?include_defaults=true&filter_path=*.cluster.routing.allocation.disk"
_ALLOCATION = "/_cat/allocation?format=json&bytes=b&h=node,disk.avail,disk.total"
_EVERY = 30.0
_AGAIN = 600.0
_MEANING = {
    "flood_stage": "writes to its indices are refused",
    "high": "its shards are moved away",
    "low": "no shards are allocated to it",
}
_UNITS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "pb": 1 << 50}


class Watermarks:
    """The watermarks of one cluster, looked at twice a minute.

    Args:
        clock: Seconds, that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = float("-inf")
        self._passed: dict[str, str] = {}

    def added_to(self, result: HealthResult, ask: Ask, seconds: float) -> HealthResult:
        """A cluster's health with what its disks say; what cannot be asked changes nothing.

        Args:
            result: The health of the cluster that answers.
            ask: Asks one of its nodes: method, path and the seconds that it may take.
            seconds: How long this may take.
        """
        if self._clock() >= self._next and seconds > 0.05:
            self._next = self._clock() + _EVERY
            try:
                self._passed = self._looked(ask, seconds / 2)
            except Exception:
                self._passed = {}  # a health check in its time is worth more than all of its details
        if not self._passed:
            return result
        stage = next(name for name in _MEANING if name in self._passed.values())
        nodes = sorted(node for node, passed in self._passed.items() if passed == stage)
        message = f"disk watermark {stage} passed on {', '.join(nodes[:5])}: {_MEANING[stage]}"
        details = {**result.details, "disk_watermarks": self._passed}
        return HealthResult(
            min(result.status, Status.DEGRADED),
            f"{result.message}; {message}",
            result.reason or f"disk_{stage}",
            details,
        )

    def _looked(self, ask: Ask, seconds: float) -> dict[str, str]:
        status, body = ask("GET", _SETTINGS, seconds)
        if status == 200:
            marks = _flat(orjson.loads(body))
            status, body = ask("GET", _ALLOCATION, seconds)
        if status != 200:
            self._next = self._clock() + _AGAIN
            return {}
        if str(marks.get("threshold_enabled", "true")) != "true":
            return {}
        rows = [row for row in orjson.loads(body) if row.get("disk.total")]
        passed = {row["node"]: stage for row in rows if (stage := _stage(marks, row["disk.avail"], row["disk.total"]))}
        return dict(sorted(passed.items())[:20])


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Transient settings win over persistent ones, and these over defaults."""
    found: dict[str, Any] = {}
    for group in ("defaults", "persistent", "transient"):
        for name, value in _leaves(settings.get(group, {}), ""):
            if name.startswith(_PREFIX) and value is not None:
                found[name.removeprefix(_PREFIX)] = value
    return found


def _leaves(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _stage(marks: Mapping[str, Any], available: str, total: str) -> str | None:
    """The worst watermark that a disk has passed."""
    for stage in _MEANING:
        needed = _needed(marks.get(f"watermark.{stage}"), marks.get(f"watermark.{stage}.max_headroom"), int(total))
        if needed is not None and int(available) < needed:
            return stage
    return None


def _needed(mark: Any, headroom: Any, total: int) -> float | None:
    """How many bytes have to be free: said as a share in use, or as the bytes themselves."""
    text = str(mark or "").strip().lower()
    share = re.fullmatch(r"(\d+(?:\.\d+)?)%|(0?\.\d+|1\.0+)", text)
    if share is None:
        return _bytes(text)
    needed = total * (1 - (float(share[1]) / 100 if share[1] else float(share[2])))
    most = _bytes(str(headroom or ""))
    return needed if most is None or most < 0 else min(needed, most)


def _bytes(text: str) -> float | None:
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*([kmgtp]?b)", text.strip().lower())
    return float(found[1]) * _UNITS[found[2]] if found else None
