"""The limits of the container that the process runs in: cgroup version 1 or 2, or none.

A process in a container sees its machine's memory and processors, and is ended at its container's
limit. What counts here is what is nearer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

# A limit of version 1 that is none: the largest multiple of the page size in 63 bits.
_NO_LIMIT = 1 << 60
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Memory:
    """Memory in use against what there is.

    Attributes:
        used: Bytes in use, without what the kernel gives back by itself.
        limit: Bytes there are.
        source: Whose limit it is: `cgroup v1`, `cgroup v2` or `system`.
    """

    used: int
    limit: int
    source: str

    @property
    def utilization(self) -> float:
        """Used of the limit, 0 to 1."""
        return self.used / self.limit if self.limit else 0.0


def memory(root: Path = Path("/")) -> Memory:
    """The memory of the container if it has a limit, else of the machine.

    Args:
        root: Where `proc/self/cgroup` and `sys/fs/cgroup` are looked for.
    """
    system = psutil.virtual_memory()
    found = _memory_v2(root) or _memory_v1(root)
    if found is not None and found.limit < system.total:
        return found
    return Memory(system.total - system.available, system.total, "system")


def cpus(root: Path = Path("/")) -> float:
    """How many processors the process may use at most: the container's quota or set of processors, else the machine's."""
    quotas = [_processors()]
    for directory in _directories(root, ""):
        words = _read(directory / "cpu.max").split()
        if len(words) == 2 and words[0] != "max":
            quotas.append(_ratio(words[0], words[1]))
    quotas += [
        _ratio(_read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us"))
        for directory in _directories(root, "cpu")
    ]
    return min(quota for quota in quotas if quota > 0)


def _processors() -> float:
    """Those that the process may run on: of a container that has a set of its own, or of `taskset`, not all."""
    try:
        return float(len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):  # not on every system
        return float(psutil.cpu_count() or 1)


def _memory_v2(root: Path) -> Memory | None:
    best: Memory | None = None
    for directory in _directories(root, ""):
        limit, used = _number(directory / "memory.max"), _number(directory / "memory.current")
        if limit is not None and used is not None and (best is None or limit < best.limit):
            best = Memory(max(0, used - _reclaimable(directory, "inactive_file")), limit, "cgroup v2")
    return best


def _memory_v1(root: Path) -> Memory | None:
    best: Memory | None = None
    for directory in _directories(root, "memory"):
        limit, used = _number(directory / "memory.limit_in_bytes"), _number(directory / "memory.usage_in_bytes")
        if limit is not None and used is not None and limit < _NO_LIMIT and (best is None or limit < best.limit):
            best = Memory(max(0, used - _reclaimable(directory, "total_inactive_file")), limit, "cgroup v1")
    return best


def _directories(root: Path, controller: str) -> list[Path]:
    """The directories of the process's cgroup and its parents; in a namespace of its own it is the root alone."""
    mount = root / "sys/fs/cgroup"
    own = ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(",") if controller else controllers == "":
            own = path.strip("/")
    if controller:
        named = (controller, f"{controller},cpuacct", f"cpuacct,{controller}")
        mount = next((mount / name for name in named if (mount / name).is_dir()), mount / controller)
    parts = [part for part in own.split("/") if part not in ("", "..")][:_MAX_DEPTH]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _reclaimable(directory: Path, name: str) -> int:
    for line in _read(directory / "memory.stat").splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdigit() else None


def _ratio(quota: str, period: str) -> float:
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return 0.0
