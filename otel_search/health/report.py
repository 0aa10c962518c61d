"""What the three health routes say: the whole, readiness, liveness."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from otel_search.aside import in_thread
from otel_search.health import elasticsearch, resources
from otel_search.health.check import READY, HealthCheck, HealthResult, Status
from otel_search.health.component import Component, Policy
from otel_search.health.lifecycle import Lifecycle, LoopWatch
from otel_search.metrics import uptime
from otel_search.settings import Settings

HEALTH, READINESS, LIVENESS = "health", "ready", "live"


@dataclass(frozen=True)
class Report:
    """What a health route says.

    Attributes:
        ok: Whether the answer is 200, and not 503.
        body: The answer.
        found: Whether there is what was asked for; the answer is 404 else.
    """

    ok: bool
    body: dict[str, Any]
    found: bool = True


class Health:
    """The health of this process.

    Args:
        effective: The settings.
        identity: `service` and `version` as they are shown, as far as they are known.
    """

    def __init__(self, effective: Settings, identity: Mapping[str, str | None]) -> None:
        self.lifecycle = Lifecycle()
        self.loop = LoopWatch()
        self.identity = dict(identity)
        self._settings = effective
        self._policy = Policy(
            timeout=effective.health_timeout,
            cache=effective.health_cache,
            failures=effective.health_failure_threshold,
            successes=effective.health_success_threshold,
        )
        self._components: dict[str, Component] = {}
        self._clusters: dict[str, elasticsearch.Cluster] = {}
        self._own = _resource_checks(effective)
        self._looked_at = self._refreshed_at = -math.inf

    async def report(self, kind: str, *, detailed: bool = False, group: str | None = None) -> Report:
        """What to answer, on the event loop.

        Args:
            kind: `health`, `ready` or `live`.
            detailed: Whether details are shown.
            group: Only the checks of this group.
        """
        if kind == LIVENESS:
            return self._liveness()
        if not self._has_looked():
            await asyncio.wrap_future(in_thread(self._look, "health"))
        components = self._chosen(kind, group)
        if not components and group is not None and kind == HEALTH:
            return self._no_such_group(group)
        if kind != READINESS or self.lifecycle.phase == "serving":
            await asyncio.gather(*(component.refreshed() for component in components))
        return self._said(kind, components, detailed)

    def report_in_thread(self, kind: str, *, detailed: bool = False, group: str | None = None) -> Report:
        """What to answer, in a thread; the arguments are those of `report`."""
        if kind == LIVENESS:
            return self._liveness()
        if not self._has_looked():
            self._look()
        components = self._chosen(kind, group)
        if not components and group is not None and kind == HEALTH:
            return self._no_such_group(group)
        if kind != READINESS or self.lifecycle.phase == "serving":
            for component in components:
                component.begin(self.loop.loop)
            for component in components:
                component.refreshed_in_thread(self.loop.loop)
        return self._said(kind, components, detailed)

    def statuses(self) -> dict[str, Status]:
        """The last known status of each component; what is old is refreshed meanwhile, and not waited for."""
        now = time.monotonic()
        if now >= self._refreshed_at + self._policy.cache:
            self._refreshed_at = now
            in_thread(self._refresh, "health")
        return {
            name: component.latest.status
            for name, component in list(self._components.items())
            if component.latest is not None
        }

    def _refresh(self) -> None:
        self._look()
        for component in list(self._components.values()):
            component.begin(self.loop.loop)

    def _has_looked(self) -> bool:
        return time.monotonic() < self._looked_at + self._policy.cache

    def _look(self) -> None:
        """See which components there are, in a thread: the first look takes a while."""
        settings = self._settings
        checks: dict[str, HealthCheck] = {}
        try:
            self._clusters = elasticsearch.clusters(
                settings.elasticsearch_url, settings.health_indices, settings.health_timeout * 0.95, self._clusters
            )
        except Exception as error:
            failure = HealthResult.unhealthy(
                "its clients cannot be looked at", reason="failed", error=f"{type(error).__name__}: {error}"[:500]
            )
            checks["elasticsearch"] = _check("elasticsearch", lambda: failure)
        else:
            for name, cluster in self._clusters.items():
                known = self._components.get(name)
                same = known is not None and known.check.function is cluster
                checks[name] = known.check if known is not None and same else _check(name, cluster)
        checks |= self._own
        checks |= {check.name: check for check in HealthCheck.registered()}
        self._components = {
            name: known
            if (known := self._components.get(name)) is not None and known.check is check
            else Component(check, self._policy)
            for name, check in checks.items()
        }
        self._looked_at = time.monotonic()

    def _chosen(self, kind: str, group: str | None) -> list[Component]:
        wanted = READY if kind == READINESS else group
        return [
            component for component in self._components.values() if wanted is None or wanted in component.check.groups
        ]

    def _no_such_group(self, group: str) -> Report:
        """A mistyped group must not look healthy for ever."""
        groups = sorted({name for component in self._components.values() for name in component.check.groups})
        reason = f"group={group[:80]!r} is not accepted; accepted: {' | '.join(groups)}"
        return Report(ok=False, body={**self._head(Status.UNHEALTHY), "reason": reason}, found=False)

    def _said(self, kind: str, components: Iterable[Component], detailed: bool) -> Report:
        seen = [(component, component.latest or HealthResult()) for component in components]
        status = min((_weight(component, result) for component, result in seen), default=Status.HEALTHY)
        body = self._head(status)
        ok = status is not Status.UNHEALTHY
        if kind == READINESS:
            # By hysteresis, and not by the last result alone: one slow answer is no reason to send all traffic away.
            down = [component for component, _ in seen if component.down and component.check.critical]
            phase = self.lifecycle.phase
            ok = phase == "serving" and not down
            if not ok:
                body["status"] = Status.UNHEALTHY.name.lower()
                reasons = [
                    f"{each.check.name}: {(each.latest or HealthResult()).reason or 'unhealthy'}" for each in down
                ]
                body["reason"] = phase if phase != "serving" else ", ".join(reasons)
            elif status is Status.UNHEALTHY:
                body["status"] = Status.DEGRADED.name.lower()
            body["ready"] = ok
        if kind == HEALTH or detailed:
            body["components"] = [_entry(component, result, detailed) for component, result in seen]
        return Report(ok, body)

    def _liveness(self) -> Report:
        lag = self.loop.lag()
        stalled = lag >= self._settings.health_loop_lag > 0
        body = self._head(Status.UNHEALTHY if stalled else Status.HEALTHY)
        if stalled:
            body["reason"] = "event_loop_stalled"
        body["event_loop_lag_ms"] = round(lag * 1000, 1)
        return Report(not stalled, body)

    def _head(self, status: Status) -> dict[str, Any]:
        return {
            "status": status.name.lower(),
            "timestamp": datetime.now(UTC).isoformat(),
            **self.identity,
            "uptime_seconds": round(uptime(), 3),
        }


def _check(name: str, function: Any, *groups: str) -> HealthCheck:
    check = HealthCheck(name[:64].replace("[", "").replace("]", ""), groups=groups or (READY,))
    check.function = function
    return check


def _resource_checks(effective: Settings) -> dict[str, HealthCheck]:
    # Not of the group that decides on readiness: no request sent elsewhere frees a disk, and what fills
    # one instance's memory mostly fills all of them at the same time.
    checks = {"memory": _check("memory", resources.memory(*effective.health_memory), "resources")}
    paths = effective.health_disk_paths
    for path in paths:
        name = "disk" if len(paths) == 1 else f"disk:{path}"
        check = _check("disk", resources.disk(path, *effective.health_disk), "resources")
        check.name = name
        checks[name] = check
    return checks


def _weight(component: Component, result: HealthResult) -> Status:
    return result.status if component.check.critical else max(result.status, Status.DEGRADED)


def _entry(component: Component, result: HealthResult, detailed: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": component.check.name,
        "status": result.status.name.lower(),
        "message": result.message,
        "response_time_ms": round(component.took * 1000, 2),
    }
    if result.reason is not None:
        entry["reason"] = result.reason
    if detailed:
        entry["critical"] = component.check.critical
        entry["details"] = dict(result.details)
    return entry
