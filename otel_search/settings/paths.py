"""The paths of our own routes: where users put them, none may be another's."""

from __future__ import annotations

from typing import Any

HEALTH, METRICS = "/health", "/metrics"
"""Where they are if nobody says otherwise."""

_ADMIN = frozenset({"/admin/metrics", "/admin/loggers"})


def keep_apart(values: dict[str, Any]) -> tuple[str, ...]:
    """Put routes that would be at one path where they are by default.

    Args:
        values: `health_path` and `metrics_path` as far as they are set, which are changed.

    Returns:
        One line for each of them.
    """
    faults = []
    if _health(values) & _ADMIN:
        faults.append(_back(values, "health_path", HEALTH))
    if _metrics(values) in _health(values) | _ADMIN and _metrics(values) != METRICS:
        faults.append(_back(values, "metrics_path", METRICS))
    if _metrics(values) in _health(values):
        faults.append(_back(values, "health_path", HEALTH))
    return tuple(faults)


def _health(values: dict[str, Any]) -> frozenset[str]:
    base = values.get("health_path", HEALTH)
    return frozenset({base, f"{base}/live", f"{base}/ready"})


def _metrics(values: dict[str, Any]) -> str:
    return str(values.get("metrics_path", METRICS))


def _back(values: dict[str, Any], name: str, default: str) -> str:
    given = values.pop(name)
    return (
        f"OTEL_SEARCH_{name.upper()}={given!r} is not accepted, using {default}; "
        "accepted: a path at which there is no other route of otel-search's"
    )
