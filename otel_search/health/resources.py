"""The process's own resources: memory of its container or machine, and disks."""

from __future__ import annotations

from collections.abc import Callable

import psutil

from otel_search.health.check import HealthResult
from otel_search.metrics import container


def memory(degraded: float, unhealthy: float) -> Callable[[], HealthResult]:
    """A check of the memory in use against the container's limit, or the machine's.

    Args:
        degraded: From how many percent on it is degraded.
        unhealthy: From how many percent on it is unhealthy.
    """

    def check() -> HealthResult:
        found = container.memory()
        details = {"used_bytes": found.used, "limit_bytes": found.limit, "limit": found.source}
        return _judge("memory", found.utilization * 100, degraded, unhealthy, details)

    return check


def disk(path: str, degraded: float, unhealthy: float) -> Callable[[], HealthResult]:
    """A check of the disk that holds `path`.

    Args:
        path: Any path on the disk.
        degraded: From how many percent on it is degraded.
        unhealthy: From how many percent on it is unhealthy.
    """

    def check() -> HealthResult:
        try:
            found = psutil.disk_usage(path)
        except OSError as error:
            return HealthResult.unhealthy(f"{path} cannot be looked at: {error.strerror}", reason="missing_path")
        details = {"path": path, "used_bytes": found.used, "free_bytes": found.free, "total_bytes": found.total}
        return _judge(f"disk of {path}", found.percent, degraded, unhealthy, details)

    return check


def _judge(name: str, percent: float, degraded: float, unhealthy: float, details: dict[str, object]) -> HealthResult:
    message = f"{name} is {percent:.0f} % full"
    details = {**details, "used_percent": round(percent, 1)}
    if percent >= unhealthy:
        return HealthResult.unhealthy(message, reason="full", **details)
    if percent >= degraded:
        return HealthResult.degraded(message, reason="filling", **details)
    return HealthResult.healthy(message, **details)
