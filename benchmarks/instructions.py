"""Instructions a request, which hardly depend on what else the machine does: by `perf`, or else by valgrind.

Counted for two numbers of requests in processes of their own; the difference is that of the requests alone.
Valgrind runs a process some fifty times slower.
"""

from __future__ import annotations

import re
import shutil
import subprocess

from benchmarks import tables
from benchmarks.loads import LOADS
from benchmarks.processes import environment
from benchmarks.receiver import Receiver
from benchmarks.variants import PLAIN, PROJECT, UPSTREAM, VARIANTS

FEW, MANY = 50, 150
_PERF = ["perf", "stat", "-x,", "-e", "instructions:u"]
_VALGRIND = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]


def counter() -> list[str] | None:
    """The command that counts, `None` if the machine has none."""
    if shutil.which("perf"):
        said = subprocess.run([*_PERF, "true"], capture_output=True, text=True, check=False)
        if said.returncode == 0 and "not " not in said.stderr:
            return _PERF
    return _VALGRIND if shutil.which("valgrind") else None


def count(names: list[str], loads: list[str]) -> dict[str, dict[str, float]]:
    """Thousands of instructions a request, by load and variant; a notice if they cannot be counted."""
    counting = counter()
    if counting is None:
        print("NOTICE: neither `perf` with hardware counters nor `valgrind`: instructions are left out")
        return {}
    receiver = Receiver()
    found: dict[str, dict[str, float]] = {}
    for load in loads:
        for name in names:
            few, many = (_instructions(counting, receiver.endpoint, name, load, number) for number in (FEW, MANY))
            # The driver warms up with a fifth more.
            found.setdefault(load, {})[name] = (many - few) / ((MANY - FEW) * 1.2) / 1000
            receiver.take()
    receiver.close()
    return found


def _instructions(counting: list[str], endpoint: str, name: str, load: str, number: int) -> int:
    variant = VARIANTS[name]
    # Valgrind follows what the launcher becomes; nothing but the flush sends, at whatever speed.
    variables = {
        "PYTHONHASHSEED": "0",
        "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        "OTEL_BLRP_SCHEDULE_DELAY": "3600000",
    }
    follow = ["--trace-children=yes"] if counting is _VALGRIND else []
    done = subprocess.run(
        [*counting, *follow, *variant.command("benchmarks.driver", variant.app, load, str(number))],
        cwd=PROJECT,
        env=environment(endpoint, {**variant.variables, **variables}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if "RESULT " not in done.stderr:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    pattern = r"I +refs:\s+([\d,]+)" if counting is _VALGRIND else r"(?m)^(\d+),,instructions"
    return max(int(one.replace(",", "")) for one in re.findall(pattern, done.stderr))


def report(counted: dict[str, dict[str, float]]) -> str:
    """A table of what was counted."""
    rows = []
    for load, by_name in counted.items():
        for name, thousands in by_name.items():
            over = thousands - by_name[PLAIN]
            ratio = f"{over / (by_name[UPSTREAM] - by_name[PLAIN]):.2f}" if UPSTREAM in by_name else ""
            rows.append([name, LOADS[load].title, f"{thousands:.0f}", f"{over:.0f}", ratio])
    return tables.table(["variant", "load", "thousand instructions a request", "over plain", "to upstream"], rows)
