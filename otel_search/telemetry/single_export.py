"""One export of everything: a second exporter to the same place, added by the application, is ignored."""

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

_logger = logging.getLogger("otel_search.telemetry")

Target = tuple[Any, ...]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OTLP_PORTS = frozenset({4317, 4318})


def keep_single_export(traces: Any, metrics: Any, logs: Any) -> None:
    """Ignore exporters that the application adds to where ours go already.

    Args:
        traces: The tracer provider.
        metrics: The meter provider.
        logs: The logger provider.
    """
    refusals = _Refusals()
    for name in ("opentelemetry.trace", "opentelemetry.metrics._internal", "opentelemetry._logs._internal"):
        logging.getLogger(name).addFilter(refusals)
    _guard(traces, "add_span_processor", _processors(traces, "_active_span_processor", "_span_processors"))
    _guard(logs, "add_log_record_processor", _processors(logs, "_multi_log_record_processor", "_log_record_processors"))
    if hasattr(metrics, "add_metric_reader"):
        metrics.add_metric_reader = _flushed(metrics, metrics.add_metric_reader)
    _guard(metrics, "add_metric_reader", getattr(metrics, "_metric_readers", ()))


class ExportsToTheSame:
    """Whether another logger provider exports where ours does: it would send each log record once more.

    Args:
        provider: Our logger provider.
    """

    def __init__(self, provider: Any) -> None:
        self._targets = {target_of(processor) for processor in _log_processors(provider)}
        self._known: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()

    def __call__(self, provider: Any) -> bool:
        """Whether all that `provider` exports goes to where ours goes."""
        known = self._known.get(provider)
        if known is None:
            targets = {target_of(processor) for processor in _log_processors(provider)}
            known = self._known[provider] = bool(targets) and targets <= self._targets - {None}
            if known:
                _logger.warning("ignored a LoggingHandler of the application's own: otel-search exports there already")
        return known


class _Refusals(logging.Filter):
    """Says in full what OpenTelemetry's API only hints at when a second provider is set."""

    def filter(self, record: logging.LogRecord) -> bool:
        """True: the record stays, in our words."""
        found = _REFUSAL.match(str(record.msg))
        if found:
            record.msg = (
                f"ignored the application's own {found[1]}: otel-search has set one already, "
                "which the application's spans, metrics and logs go through"
            )
        return True


_REFUSAL = re.compile(r"Overriding of current (\w+) is not allowed")


def _guard(provider: Any, method: str, present: Any) -> None:
    add = getattr(provider, method, None)
    if add is not None:
        targets = {target for component in present if (target := target_of(component)) is not None}
        setattr(provider, method, _adding_once(add, targets))


def _flushed(provider: Any, add: Callable[[Any], None]) -> Callable[[Any], None]:
    """The SDK flushes only the readers that it began with: let it know those that are added."""

    def add_reader(reader: Any) -> None:
        add(reader)
        provider._metric_readers = (*provider._metric_readers, reader)

    return add_reader


def _adding_once(add: Callable[[Any], None], targets: set[Target]) -> Callable[[Any], None]:
    def add_component(component: Any) -> None:
        target = target_of(component)
        if target is not None and target in targets:
            _logger.warning(
                "ignored a second exporter of the application's own to %s: otel-search exports there already",
                getattr(_exporter(component), "_endpoint", ""),
            )
            if hasattr(component, "_set_collect_callback"):
                # A reader that belongs to nobody complains at each of its intervals.
                component._set_collect_callback(lambda *_, **__: None)
            return
        if target is not None:
            targets.add(target)
        add(component)

    return add_component


def _log_processors(provider: Any) -> tuple[Any, ...]:
    return _processors(provider, "_multi_log_record_processor", "_log_record_processors")


def _processors(provider: Any, multi: str, field: str) -> tuple[Any, ...]:
    processors: tuple[Any, ...] = getattr(getattr(provider, multi, None), field, ())
    return processors


def _exporter(component: Any) -> Any:
    batch = getattr(component, "_batch_processor", None)
    return (
        getattr(component, "span_exporter", None)
        or getattr(component, "_exporter", None)
        or getattr(batch, "_exporter", None)
    )


def target_of(component: Any) -> Target | None:
    """Where the OTLP exporter behind a processor or reader sends to, and as whom; `None` if it is another exporter.

    A Collector's two usual ports, for gRPC and for HTTP, are one place.
    """
    exporter = _exporter(component)
    endpoint = getattr(exporter, "_endpoint", None)
    if exporter is None or not endpoint:
        return None
    text = str(endpoint)
    url = urlsplit(text if "://" in text else f"//{text}")
    try:
        port = url.port
    except ValueError:
        return (text,)
    host = (url.hostname or "").lower()
    headers = getattr(getattr(exporter, "_client", None), "_headers", None) or getattr(exporter, "_headers", None) or {}
    own = {
        (str(name).lower(), str(value))
        for name, value in dict(headers).items()
        if str(name).lower() not in ("content-type", "content-encoding", "user-agent")
    }
    return ("loopback" if host in _LOOPBACK else host, "otlp" if port in _OTLP_PORTS else port, frozenset(own))
