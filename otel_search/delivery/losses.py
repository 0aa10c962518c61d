"""What could not be delivered: counted each time, said when it begins and when it is over."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Any, Self

from opentelemetry import context as otel_context
from opentelemetry import metrics
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

from otel_search import semconv

_logger = logging.getLogger("otel_search.delivery")

_QUIET_SECONDS = 60.0
_MAX_CAUSE = 500
_EXPORTERS_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.sdk._shared_internal",
)


def say(level: int, message: str, **fields: Any) -> None:
    """Log one line of telemetry on itself: written and not exported, since it would be lost as well."""
    token = otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))
    try:
        _logger.log(level, message, extra={"otel_search_fields": fields})
    finally:
        otel_context.detach(token)


class Losses:
    """Counts what is lost, and says it once for each time that it begins, at most once a minute."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        # Reentrant, because a signal handler may report losses in the midst of one.
        self._lock = threading.RLock()
        self._totals: Counter[tuple[str, str]] = Counter()
        self._unsaid: Counter[str] = Counter()
        self._said_at: dict[tuple[str, str], float] = {}
        self._failing: set[str] = set()
        self._counter: Any = None

    def prepare(self) -> None:
        """Make the metric while there is a provider to make it with, if it is not there yet."""
        with self._lock:
            if self._counter is None:
                self._counter = semconv.TELEMETRY_DROPPED.on(metrics.get_meter(semconv.SCOPE))

    def count(self, signal: str, reason: str, count: int) -> None:
        """Count `count` items of `signal` that are lost because of `reason`, and say nothing."""
        self.prepare()
        with self._lock:
            self._totals[signal, reason] += count
        self._counter.add(count, {"search.telemetry.signal": signal, "search.telemetry.reason": reason})

    def add(self, signal: str, reason: str, count: int, **details: str) -> None:
        """Count what is lost, and say it if it is news.

        Args:
            signal: `traces`, `metrics` or `logs`.
            reason: `export_failed` or `queue_full`.
            count: How many spans, data points or log records.
            **details: What else to say of it, as fields of the line.
        """
        self.count(signal, reason, count)
        with self._lock:
            self._unsaid[signal] += count
            is_news = signal not in self._failing and self._is_time(signal, reason)
            if is_news:
                self._failing.add(signal)
        if is_news:
            known = {name: text for name, text in details.items() if text}
            say(logging.WARNING, "telemetry is being lost", signal=signal, reason=reason, dropped=count, **known)

    def _is_time(self, signal: str, reason: str) -> bool:
        now = time.monotonic()
        if now - self._said_at.get((signal, reason), -_QUIET_SECONDS) < _QUIET_SECONDS:
            return False
        self._said_at[signal, reason] = now
        return True

    def delivered(self, signal: str) -> None:
        """A batch of `signal` arrived: say what was lost before it, if its loss was said."""
        if signal not in self._failing:  # the usual case, without the lock
            return
        with self._lock:
            self._failing.discard(signal)
            lost = self._unsaid.pop(signal, 0)
        say(logging.INFO, "telemetry is delivered again", signal=signal, dropped=lost)

    def totals(self) -> dict[str, int]:
        """All losses of this process so far, by `signal reason`."""
        with self._lock:
            return {f"{signal} {reason}": count for (signal, reason), count in sorted(self._totals.items())}

    def after_fork(self) -> None:
        """A child starts with no losses of its own."""
        self._start()


losses = Losses()


class LastWords(logging.Filter):
    """Takes what the SDK says of each failure that we count: it becomes the cause in our one line."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is a line of its own, because nobody listens in this thread."""
        texts = getattr(self._here, "texts", None)
        if texts is None:
            return True
        # The last two: what went wrong is in the line on one attempt, that it was the last in the next.
        self._here.texts = [*texts[-1:], record.getMessage()]
        return False

    def __enter__(self) -> Self:
        self._here.texts = []
        return self

    def __exit__(self, *_: object) -> None:
        self._here.texts = None

    def heard(self) -> str:
        """What was said in this thread since the listening began."""
        return " ".join(getattr(self._here, "texts", None) or ())[:_MAX_CAUSE]

    def listen(self) -> None:
        """Stand at the loggers of the exporters and processors."""
        for name in _EXPORTERS_LOGGERS:
            filters = logging.getLogger(name).filters
            if self not in filters:
                filters.insert(0, self)  # before upstream's own, which let no text through twice


last_words = LastWords()
