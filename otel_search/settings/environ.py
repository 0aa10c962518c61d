"""The environment of this process: what is read from it, and the few things that are written to it."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, MutableMapping

from otel_search.settings.declared import Settings
from otel_search.settings.values import words

DEFAULTS = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    # The stable names; without it contrib's instrumentors still speak the old ones.
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    # An export takes its time whatever is in it, and requests wait meanwhile: fewer of them, and room for what comes meanwhile.
    # A thousand spans are within the four megabytes that a gRPC receiver takes.
    "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1024",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "8192",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "1024",
    # Captured headers (off by default) must not carry what lets people in.
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS": (
        ".*authorization.*,.*cookie.*,.*api[-_]?key.*,.*token.*,.*secret.*,.*password.*,.*session.*"
    ),
}
"""What otel-search sets for OpenTelemetry where the user has set nothing."""


@functools.cache
def current() -> Settings:
    """The settings of this process, read from its environment at the first call."""
    return Settings.read(os.environ)


def set_defaults() -> None:
    """Set the standard variables that have a default of ours and no value yet; an empty one has none."""
    for variable, value in DEFAULTS.items():
        if not os.environ.get(variable, "").strip():
            os.environ[variable] = value


def environment() -> MutableMapping[str, str]:
    """The environment itself, for the one who corrects what the SDK cannot read."""
    return os.environ


@contextlib.contextmanager
def without_exporter(variable: str, name: str) -> Iterator[None]:
    """The environment without one of the exporters that a variable names, for as long as the SDK looks at it."""
    given = os.environ.get(variable, "")
    others = [word for word in words(given) if word != name]
    if name not in words(given):
        yield
        return
    os.environ[variable] = ",".join(others) or "none"
    try:
        yield
    finally:
        os.environ[variable] = given


def look_at(*variables: str) -> Callable[[], object] | None:
    """A look at some variables, whose result is another one when one of them has changed.

    It takes a fraction of the time of reading them; `None` where this Python has no such way.
    """
    raw, encoded = getattr(os.environ, "_data", None), getattr(os.environ, "encodekey", None)
    if not isinstance(raw, dict) or encoded is None:
        return None
    keys = [encoded(variable) for variable in variables]
    return lambda: [raw.get(key) for key in keys]


def shown(*variables: str) -> str:
    """Variables with their values, for a message."""
    return ", ".join(f"{name}={os.environ[name]}" for name in variables if name in os.environ)


def is_any_set(part: str) -> bool:
    """Whether a variable with `part` in its name has a value."""
    return any(value for name, value in os.environ.items() if part in name)


def sanitized_headers() -> list[str]:
    """Patterns of captured headers whose values are hidden: the built-in ones, whatever the user adds."""
    variable = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"
    return list(dict.fromkeys([*words(DEFAULTS[variable]), *words(os.environ.get(variable, ""))]))
