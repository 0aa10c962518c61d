"""Names of metrics and labels as Prometheus has them.

The rule is that of Prometheus' own OTLP receiver and of the Collector's exporters
(github.com/prometheus/otlptranslator), so that a metric has one name on every way it may take.
"""

from __future__ import annotations

import functools
import re

from otel_search.metrics.snapshot import COUNTER, GAUGE

_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "1": "",
    "%": "percent",
}
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_IN_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")


@functools.lru_cache(maxsize=4096)
def metric_name(name: str, unit: str, kind: str) -> tuple[str, str]:
    """The name of a metric, without the `_total` of a counter, and its unit if the name ends with it.

    Args:
        name: As the instrument has it.
        unit: In UCUM, as the instrument has it.
        kind: As in a snapshot.
    """
    words = [word for word in _NOT_IN_A_NAME.split(name) if word]
    main, slash, per = unit.partition("/")
    main_words = "" if "{" in main else _words(_UNITS.get(main.strip(), main))
    per_words = "" if "{" in per or not slash else _words(_PER.get(per.strip(), per))
    if main_words and main_words not in words:
        words.append(main_words)
    if per_words and per_words not in words:
        words += ["per", per_words]
    if kind == COUNTER:
        words = [word for word in words if word != "total"]
    elif kind == GAUGE and unit == "1":
        words = [*(word for word in words if word != "ratio"), "ratio"]
    full = "_".join(words) or "_"
    if full[0].isdigit():
        full = f"_{full}"
    return full, main_words if main_words and not per_words and full.endswith(f"_{main_words}") else ""


@functools.lru_cache(maxsize=4096)
def label_name(key: str) -> str:
    """The name of a label for an attribute's key."""
    name = _NOT_IN_A_LABEL.sub("_", key)
    return f"key_{name}" if name[:1].isdigit() else name or "_"


def _words(unit: str) -> str:
    return _NOT_IN_A_NAME.sub("_", unit).strip("_")
