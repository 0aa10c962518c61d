"""Metrics of the process and its machine: a documented subset of what the SDK's contrib can measure.

Everything at once is some sixty instruments and a good part of an export's cost; these are what
one looks at when a search service is slow. Contrib knows nothing of containers: memory and
processors against the container's limit are ours. All of it is read when metrics are collected, in
the thread that collects them.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from otel_search import __version__, semconv
from otel_search.metrics import container

_logger = logging.getLogger("otel_search.metrics")

SYSTEM_METRICS: dict[str, list[str] | None] = {
    "process.cpu.utilization": None,
    "process.memory.usage": None,
    "process.memory.virtual": None,
    "process.thread.count": None,
    "process.open_file_descriptor.count": None,
    "process.context_switches": ["involuntary", "voluntary"],
    "cpython.gc.collections": None,
    "system.cpu.utilization": ["idle", "user", "system", "iowait"],
    "system.memory.utilization": ["used", "free", "cached"],
    "system.network.io": ["transmit", "receive"],
    "system.disk.io": ["read", "write"],
}
"""The metrics of `opentelemetry-instrumentation-system-metrics` that are on, with their states."""

_SAME_COLLECTION = 0.05
_QUOTA_SECONDS = 10.0
"""A container's quota may be changed while it runs, but not often."""

_READ_BY: dict[str, Callable[[], Any]] = {
    "process.cpu.utilization": lambda: psutil.Process().cpu_percent(),
    "process.memory.usage": lambda: psutil.Process().memory_info(),
    "process.memory.virtual": lambda: psutil.Process().memory_info(),
    "process.thread.count": lambda: psutil.Process().num_threads(),
    "process.open_file_descriptor.count": lambda: psutil.Process().num_fds(),
    "process.context_switches": lambda: psutil.Process().num_ctx_switches(),
    "system.cpu.utilization": psutil.cpu_times_percent,
    "system.memory.utilization": psutil.virtual_memory,
    "system.network.io": lambda: psutil.net_io_counters(pernic=True),
    "system.disk.io": lambda: psutil.disk_io_counters(perdisk=True),
}


def instrument_system() -> None:
    """Start observing the process and the machine, through contrib's instrumentor, and the container's limits."""
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

    SystemMetricsInstrumentor(config=available()).instrument(skip_dep_check=True)
    Limits().instrument()


def available() -> dict[str, list[str] | None]:
    """The metrics of `SYSTEM_METRICS` that can be read here; what is left out is said."""
    found, missing = {}, []
    for name, states in SYSTEM_METRICS.items():
        read = _READ_BY.get(name)
        try:
            there = read is None or bool(read() is not None)
        except Exception:
            there = False
        if there:
            found[name] = states
        else:
            missing.append(name)
    if missing:
        _logger.info("metrics that cannot be read on this machine are left out: %s", ", ".join(missing))
    return found


def uptime() -> float:
    """Seconds since this process was started; a forked one, since the fork."""
    return max(0.0, time.time() - _started(os.getpid()))


@functools.lru_cache(maxsize=1)
def _started(pid: int) -> float:
    return float(psutil.Process(pid).create_time())


class Limits:
    """Memory and processors in use, against what the container may use."""

    def __init__(self) -> None:
        self._last: tuple[int, float, float] | None = None
        self._utilization = 0.0
        self._memory: tuple[float, container.Memory] | None = None
        self._quota: tuple[float, float] | None = None

    def instrument(self) -> None:
        """Observe them at each collection."""
        meter = metrics.get_meter(semconv.SCOPE, __version__)
        semconv.MEMORY_UTILIZATION.observed_on(meter, self._of_memory(lambda memory: memory.utilization))
        semconv.MEMORY_LIMIT.observed_on(meter, self._of_memory(lambda memory: memory.limit))
        semconv.CPU_UTILIZATION.observed_on(meter, lambda _: [Observation(self.cpu_utilization())])
        semconv.CPU_LIMIT.observed_on(meter, lambda _: [Observation(self._cpus())])
        semconv.PROCESS_UPTIME.observed_on(meter, lambda _: [Observation(uptime())])

    def _of_memory(
        self, value: Callable[[container.Memory], float]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            # Read once a collection, and not for each of its gauges.
            if self._memory is None or time.monotonic() - self._memory[0] > _SAME_COLLECTION:
                self._memory = time.monotonic(), container.memory()
            memory = self._memory[1]
            return [Observation(value(memory), {semconv.LIMIT_SOURCE: memory.source})]

        return observe

    def cpu_utilization(self) -> float:
        """Processor time of this process since the last look, of what it may use; at most one look a second counts."""
        now, used, pid = time.monotonic(), time.process_time(), os.getpid()
        if self._last is None or self._last[0] != pid:
            self._last = pid, now, used
        elif now - self._last[1] >= 1:
            self._utilization = (used - self._last[2]) / (now - self._last[1]) / self._cpus()
            self._last = pid, now, used
        return self._utilization

    def _cpus(self) -> float:
        now = time.monotonic()
        if self._quota is None or now - self._quota[0] > _QUOTA_SECONDS:
            self._quota = now, container.cpus()
        return self._quota[1]
