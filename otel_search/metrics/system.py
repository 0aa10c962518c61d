"""Metrics of the process and its machine: a documented subset of what the SDK's contrib can measure.

Everything at once is some sixty instruments and a good part of an export's cost; these are what
one looks at when a search service is slow.
"""

from __future__ import annotations

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
}
"""The metrics of `opentelemetry-instrumentation-system-metrics` that are on, with their states."""


def instrument_system() -> None:
    """Start observing the process and the machine, through contrib's instrumentor."""
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

    SystemMetricsInstrumentor(config=SYSTEM_METRICS).instrument(skip_dep_check=True)
